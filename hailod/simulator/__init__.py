"""A `hailo_platform` for machines without a device, with HailoRT 4.23's contract or 5.2's, its ugly parts included.

    from hailod import simulator
    simulator.install(simulator.SimulatorOptions(arch="hailo8l"))
    import hailo_platform

A model is an `.onnx` file, run on the CPU and presented as the HEF compiled from it; a real `.hef`, whose outputs are
scripted or random; or a `.sim.toml` file, which costs time and sees what it is told to see. The chip's time is virtual:
nothing is computed slower to appear slow.
"""

from __future__ import annotations

from hailod.models.catalogue import resolve_manifest
from hailod.simulator.chip.device import Simulation, installed, set_current
from hailod.simulator.chip.faults import FaultsError, load_faults
from hailod.simulator.networks.loader import Resolve
from hailod.simulator.networks.nms import Boxes
from hailod.simulator.options import Faults, SimulatorOptions, parse_device
from hailod.simulator.presets import Preset, preset
from hailod.simulator.pyhailort import platform
from hailod.simulator.standins import NO_STAND_INS, StandIn, StandIns

__all__ = [
    "Boxes",
    "Faults",
    "FaultsError",
    "Preset",
    "Simulation",
    "SimulatorOptions",
    "StandIn",
    "StandIns",
    "install",
    "load_faults",
    "parse_device",
    "preset",
    "uninstall",
]


def install(
    options: SimulatorOptions | None = None,
    resolve: Resolve = resolve_manifest,
    stand_ins: StandIns = NO_STAND_INS,
) -> Simulation:
    """Put the simulated `hailo_platform` in place of the real one, with a fresh chip.

    `resolve` finds manifests; `stand_ins` say which files stand behind the HEFs that a program names.

    RuntimeError when the real one is imported already. The chip's faults can be changed on what is returned.
    """
    chosen = options or SimulatorOptions()
    platform.publish(chosen.profile)
    simulation = Simulation(chosen, resolve, stand_ins)
    set_current(simulation)
    return simulation


def uninstall() -> None:
    """Undo `install`. Objects made meanwhile keep working until they are released."""
    platform.withdraw()
    if (simulation := installed()) is not None:
        simulation.close()
    set_current(None)
