"""What is known of a camera at one moment, and the line in the log for a change of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import structlog

from hailod.errors import SourceError
from hailod.sources.faults import fix_of

log = structlog.get_logger(__name__)


class Phase(StrEnum):
    """What a camera is doing. `online` only from its first decoded frame on; `lost` while it is tried again.

    `frozen`: it delivers the same picture again and again. `asleep`: one that sleeps is away, which is no fault.
    """

    DISABLED = "disabled"
    STARTING = "starting"
    ONLINE = "online"
    FROZEN = "frozen"
    LOST = "lost"
    ASLEEP = "asleep"
    ENDED = "ended"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class CameraState:
    """A camera at one moment.

    `since` is when the phase began (monotonic). `code` and `reason` say why it is lost, asleep, ended or stuck, and
    `fix` what a person can do, all free of credentials. `failures` counts attempts without a frame in a row. `behind`
    says that frames were skipped to keep up with the stream, `corrupt` that most cannot be decoded. `width` and
    `height` are those of the last picture. Of two states the one with the higher `serial` is the later, whichever is
    told first.
    """

    camera: str
    phase: Phase
    since: float
    generation: int = 0
    code: str | None = None
    reason: str | None = None
    fix: str = ""
    failures: int = 0
    fps_in: float = 0.0
    behind: bool = False
    corrupt: bool = False
    width: int | None = None
    height: int | None = None
    serial: int = 0


class Trouble(NamedTuple):
    """Why a camera is not well: a code for machines, for people what happened and what to do."""

    code: str
    reason: str
    fix: str = ""

    @staticmethod
    def of(error: SourceError) -> Trouble:
        return Trouble(error.code, str(error), fix_of(error))


class Shown(NamedTuple):
    """What a camera's pictures are like."""

    behind: bool
    corrupt: bool
    width: int | None
    height: int | None

    @staticmethod
    def of(state: CameraState) -> Shown:
        return Shown(state.behind, state.corrupt, state.width, state.height)


def log_change(old: CameraState, new: CameraState) -> None:
    """One line per change; of failures in a row only the first is a warning."""
    facts = {key: value for key in ("code", "reason", "fix") if (value := getattr(new, key))}
    if new.phase is old.phase and new.failures > old.failures:
        log.debug(f"camera still {new.phase}", camera=new.camera, failures=new.failures, **facts)
    elif new.behind and not old.behind:
        log.warning("camera behind its stream", camera=new.camera)
    elif new.corrupt and not old.corrupt:
        log.warning("most frames of the camera cannot be decoded", camera=new.camera)
    elif new.phase is old.phase:
        return
    elif new.phase in (Phase.LOST, Phase.STUCK, Phase.FROZEN):
        log.warning(f"camera {new.phase}", camera=new.camera, **facts)
    elif new.phase is Phase.ONLINE:
        log.info("camera online", camera=new.camera, width=new.width, height=new.height)
    else:
        log.info(f"camera {new.phase}", camera=new.camera, **facts)
