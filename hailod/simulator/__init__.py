"""A `hailo_platform` for machines without a device, with HailoRT 4.23's contract, its ugly parts included.

    from hailod import simulator
    simulator.install(simulator.SimulatorOptions(arch="hailo8l"))
    import hailo_platform

A model is an `.onnx` file, run on the CPU and presented as the HEF compiled from it, or a `.sim.toml` file, which costs
time and sees what it is told to see. The chip's time is virtual: nothing is computed slower to appear slow.
"""

from __future__ import annotations

from hailod.models.catalogue import resolve_manifest
from hailod.simulator import platform
from hailod.simulator.device import Simulation, set_current
from hailod.simulator.loader import Resolve
from hailod.simulator.options import Faults, SimulatorOptions
from hailod.simulator.presets import Preset, preset

__all__ = ["Faults", "Preset", "Simulation", "SimulatorOptions", "install", "preset", "uninstall"]


def install(options: SimulatorOptions | None = None, resolve: Resolve = resolve_manifest) -> Simulation:
    """Put the simulated `hailo_platform` in place of the real one, with a fresh chip; `resolve` finds manifests.

    RuntimeError when the real one is imported already. The chip's faults can be changed on what is returned.
    """
    platform.publish()
    simulation = Simulation(options or SimulatorOptions(), resolve)
    set_current(simulation)
    return simulation


def uninstall() -> None:
    """Undo `install`. Objects made meanwhile keep working until they are released."""
    platform.withdraw()
    set_current(None)
