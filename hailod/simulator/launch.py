"""How a program comes onto the simulator: through its environment alone.

`Launch.environment()` puts a folder with a `hailo_platform` of ours before the installed packages (PYTHONPATH) and says
in a variable what to simulate. So plain Python runs the program, and every Python that it starts finds the same, be it
forked, spawned or another program.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import structlog
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from hailod import simulator
from hailod.errors import ConfigError
from hailod.simulator.chip.device import Simulation
from hailod.simulator.chip.faults import load_faults
from hailod.simulator.options import SimulatorOptions, parse_device
from hailod.simulator.standins import StandIn, StandIns

VARIABLE = "HAILOD_SIMULATOR"
SHADOW = Path(__file__).with_name("shadow")

# In the words of HAILORT_CONSOLE_LOGGER_LEVEL.
_LEVELS = ("trace", "debug", "info", "warning", "error", "critical")


class Launch(BaseModel):
    """What to simulate for a program, as `python -m hailod.simulator` was asked; crosses to the program as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str = "hailo8"
    """A chip, or `model@chip`: every model takes as long as that one on that chip."""
    profile: str | None = None
    faults: Path | None = None
    memory: Path | None = None
    """Where what outlives a process is kept, so that one started later finds the same device."""
    serial: str | None = None
    models: tuple[StandIn, ...] = ()

    def options(self) -> SimulatorOptions:
        """The simulated chip. ConfigError or ModelError says which of what was asked for cannot be, and why."""
        given = parse_device(self.device)
        if self.faults is not None:
            given["faults"] = load_faults(self.faults)
        if self.memory is not None:
            given["memory"] = str(self.memory)
        given |= {key: value for key in ("profile", "serial") if (value := getattr(self, key)) is not None}
        try:
            return TypeAdapter(SimulatorOptions).validate_python(given)
        except ValidationError as error:
            raise ConfigError(_problem(error)) from None

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """`base`, changed so that any Python finds the simulated `hailo_platform`, and anybody its `hailortcli`."""
        return {
            **base,
            VARIABLE: self.model_dump_json(),
            f"{VARIABLE}_PYTHON": sys.executable,
            "PYTHONPATH": os.pathsep.join(filter(None, (str(SHADOW), base.get("PYTHONPATH")))),
            "PATH": os.pathsep.join((str(SHADOW / "bin"), base.get("PATH", os.defpath))),
        }

    def install(self) -> Simulation:
        """Put the simulated `hailo_platform` into this process."""
        if not structlog.is_configured():
            structlog.configure(
                processors=[
                    structlog.stdlib.add_log_level,
                    structlog.processors.format_exc_info,
                    as_hailort_logs,
                ],
                logger_factory=structlog.PrintLoggerFactory(sys.stderr),
            )
        return simulator.install(self.options(), stand_ins=StandIns(self.models))


def inherited() -> Launch:
    """The launch that this process was started with. ImportError, as for a missing library, when there was none."""
    try:
        return Launch.model_validate_json(os.environ[VARIABLE])
    except KeyError:
        raise ImportError(f"hailo_platform: the simulated one, and {VARIABLE} does not say what to simulate") from None
    except ValidationError as error:
        raise ImportError(f"hailo_platform: {VARIABLE} in the environment is damaged: {_problem(error)}") from None


def _problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_context=False)[0]
    return f"{'.'.join(map(str, problem['loc']))} = {problem['input']!r:.80}: {problem['msg']}"


def as_hailort_logs(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    """A line as HailoRT writes to standard error, silenced by the same variable."""
    level = str(event.pop("level"))
    wanted = os.environ.get("HAILORT_CONSOLE_LOGGER_LEVEL")
    if _LEVELS.index(level) < _LEVELS.index(wanted if wanted in _LEVELS else "warning"):
        raise structlog.DropEvent
    text = event.pop("event")
    return " ".join((f"[HailoRT] [{level}]", str(text), *(f"{key}={value}" for key, value in event.items())))
