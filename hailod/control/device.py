"""What the device does to the node's health, and which events are told of it.

An outage begins with the first fault of the device or of a model and ends when everything that is wanted is in service
again. It is told twice: `device_lost` with the reason, and `device_recovered` with how long it took and the highest
rung of the ladder that was climbed for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import structlog

from hailod.clock import Clock
from hailod.config.model import DeviceSettings
from hailod.control.conditions import Conditions
from hailod.control.events import Events
from hailod.device.events import (
    DeviceDown,
    DeviceReleased,
    DeviceStuck,
    DeviceUp,
    LinkEvent,
    ModelFailed,
    ModelLost,
    ModelQuarantined,
    ModelReady,
    ModelUnloaded,
    ThermalChanged,
)
from hailod.device.recovery import RUNGS, Rung
from hailod.device.statuses import Fault
from hailod.health import DEVICE_CODES, Code
from hailod.pipeline.engine import Engine
from hailod.pipeline.results import ModelTrouble

log = structlog.get_logger(__name__)

# So long after the last outputs that could not be decoded they are over.
TROUBLE_HOLD_S = 60.0
_OUT_OF_SERVICE = (Code.MODEL_FAILED, Code.MODEL_QUARANTINED)
_MODEL_CODES = frozenset({*_OUT_OF_SERVICE, Code.MODEL_LOST, Code.DECODE_ERRORS})
_CODE_OF = {
    Fault.UNAVAILABLE: Code.DEVICE_UNAVAILABLE,
    Fault.REJECTED: Code.DEVICE_REJECTED,
    Fault.SESSION_LOST: Code.DEVICE_LOST,
    Fault.DEVICE_LOST: Code.DEVICE_LOST,
    Fault.HUNG: Code.DEVICE_HUNG,
    Fault.TOO_HOT: Code.DEVICE_HOT,
}
_CLIMB = list(Rung)


@dataclass(slots=True)
class _Outage:
    """`began` is monotonic; `rung` the highest so far. `asked`: a restart that somebody wanted."""

    began: float
    code: str
    rung: Rung
    asked: bool = False


class DeviceNews:
    """Takes in what the link tells; `lent`: whether the device is, or is about to be. Used by the control thread."""

    def __init__(
        self, clock: Clock, engine: Engine, conditions: Conditions, events: Events, *, lent: Callable[[], bool]
    ) -> None:
        self._lent = lent
        self._clock = clock
        self._engine = engine
        self._conditions = conditions
        self._events = events
        self._settings = DeviceSettings()
        # By model; None: of the whole device.
        self._outages: dict[str | None, _Outage] = {}
        self._trouble_over: dict[str, float] = {}
        self._hot_since: float | None = None

    def configure(self, settings: DeviceSettings, wanted: Collection[str]) -> None:
        """These settings hold and these models are wanted: forget what concerns others."""
        self._settings = settings
        for code in _MODEL_CODES:
            for model in self._conditions.stand(code) - set(wanted):
                self._conditions.clear(code, model)
        for model in [model for model in self._outages if model is not None and model not in wanted]:
            del self._outages[model]

    def starting(self) -> None:
        """The first host is on its way."""
        self._conditions.raise_(Code.DEVICE_STARTING, "the device is being opened")

    def tick(self, now: float) -> None:
        """What passes by itself."""
        for model in [model for model, over in self._trouble_over.items() if now >= over]:
            del self._trouble_over[model]
            self._conditions.clear(Code.DECODE_ERRORS, model)

    def hear(self, event: LinkEvent) -> None:
        """Something happened to the device or to a model."""
        match event:
            case DeviceUp():
                self._up(event)
            case DeviceDown():
                self._down(event)
            case DeviceStuck(pid=pid):
                text = f"device host {pid} does not die: its driver holds it"
                self._conditions.raise_(
                    Code.DEVICE_STUCK, text, doing="a new one starts when it is gone", fix="reboot the machine"
                )
            case DeviceReleased():
                self._conditions.clear_all(DEVICE_CODES - {Code.DEVICE_RELEASED})
                # What was told as lost is told as recovered when it is back, be it after the loan.
                self._outages = {subject: each for subject, each in self._outages.items() if not each.asked}
            case ThermalChanged():
                self._thermal(event)
            case ModelReady():
                self._ready(event)
            case ModelLost(name=name, text=text, rung=rung):
                doing = "it is configured anew in the same process"
                self._conditions.raise_(Code.MODEL_LOST, f"model {name}: {text}", name, doing=doing)
                self._begin(name, Code.MODEL_LOST, text, rung)
            case ModelQuarantined(name=name, text=text, retry_in=retry_in):
                self._quarantined(name, text, retry_in)
            case ModelFailed(name=name, error=error, fix=fix):
                doing = "it is tried again when its file, the driver or the library changes"
                self._conditions.raise_(Code.MODEL_FAILED, f"model {name}: {error}", name, doing=doing, fix=fix)
                self._conditions.clear(Code.MODEL_LOST, name)
            case ModelUnloaded(name=name):
                log.info("model unloaded", model=name)
        if not isinstance(event, DeviceUp) and self._settled():
            self._conditions.clear(Code.DEVICE_CONFIGURING)
            self._recovered(None)

    def trouble(self, trouble: ModelTrouble) -> None:
        """A model's outputs cannot be decoded; too often in a row, and it is taken out of service."""
        text = f"its outputs cannot be decoded: {trouble.error}"
        limit = self._settings.recovery.garbage_to_quarantine
        doing = f"frames of it are counted as failed; after {limit} in a row it is taken out of service"
        self._conditions.raise_(Code.DECODE_ERRORS, f"model {trouble.model}: {text}", trouble.model, doing=doing)
        self._trouble_over[trouble.model] = self._clock.monotonic() + TROUBLE_HOLD_S
        if trouble.in_a_row == limit:
            self._engine.quarantine(trouble.model, f"{limit} times in a row {text}")

    # -- inside ------------------------------------------------------------------------------------------------------

    def _up(self, up: DeviceUp) -> None:
        log.info("device open", **{key: value for key, value in up.identity.items() if value})
        if self._engine.wanted:
            self._conditions.raise_(Code.DEVICE_CONFIGURING, "models are being loaded")
        self._conditions.clear_all(DEVICE_CODES - {Code.DEVICE_CONFIGURING})
        if not self._engine.wanted:
            self._recovered(None)

    def _down(self, down: DeviceDown) -> None:
        asked = Code.DEVICE_RELEASED if self._lent() else Code.DEVICE_STARTING
        code = asked if down.asked else _CODE_OF[down.fault]
        # The one that stands keeps its `since` while it repeats, and at no moment the node seems well.
        self._conditions.raise_(code, down.text, doing=self._doing(down), fix=down.fix)
        self._conditions.clear_all(DEVICE_CODES - {code})
        for model in self._conditions.stand(Code.MODEL_LOST):
            self._conditions.clear(Code.MODEL_LOST, model)
        rung = Rung.HOST if down.asked or down.fault is Fault.SESSION_LOST else RUNGS[down.fault]
        self._begin(None, code, down.text, rung, asked=down.asked)
        if down.retry_in is not None:
            log.debug("device host to be started", in_s=round(down.retry_in, 2))

    def _doing(self, down: DeviceDown) -> str:
        device = self._settings
        if down.asked:
            return ""
        match down.fault:
            case Fault.UNAVAILABLE:
                return f"it is tried again for ever, at the latest every {device.backoff_max:g} s"
            case Fault.REJECTED:
                minutes = device.recovery.rejected_retry / 60
                return f"it is tried again when driver, library or models change, else every {minutes:g} min"
            case Fault.TOO_HOT:
                return f"it rests until it is below {device.thermal.resume_below:g} °C"
        return "another device process takes its place"

    def _ready(self, ready: ModelReady) -> None:
        session, name = ready.session, ready.session.spec.name
        log.info("model in service", model=name, took_ms=ready.took_ms, batch=session.batch_size, window=session.window)
        for code in (*_OUT_OF_SERVICE, Code.MODEL_LOST):
            self._conditions.clear(code, name)
        self._recovered(name)

    def _quarantined(self, name: str, text: str, retry_in: float) -> None:
        self._begin(name, Code.MODEL_QUARANTINED, text, Rung.QUARANTINE, quiet=True)
        self._events.node("model_quarantined", model=name, reason=text, retry_in_s=round(retry_in))
        self._conditions.raise_(
            Code.MODEL_QUARANTINED,
            f"model {name} was taken out of service: {text}",
            name,
            doing=f"it is tried again every {retry_in / 60:g} min and when its file changes",
            fix="is it the right file, compiled for this chip, with the right decoder? model.swap runs another one",
        )
        for code in (Code.MODEL_LOST, Code.DECODE_ERRORS):
            self._conditions.clear(code, name)
        self._trouble_over.pop(name, None)

    def _thermal(self, changed: ThermalChanged) -> None:
        heat, now = changed.heat, self._clock.monotonic()
        if not heat.shedding:
            self._conditions.clear(Code.THERMAL_THROTTLE)
            began, self._hot_since = self._hot_since, None
            if began is not None:
                self._events.node("thermal_normal", temp_c=heat.temp_c, duration_s=round(now - began, 1))
            return
        if self._hot_since is None:
            self._hot_since = now
        limit = None if changed.max_rate is None else round(changed.max_rate, 1)
        # Without the present temperature: it changes all the time, and metrics tell it.
        text = "the chip has lowered its clock, it is too warm" if heat.throttled else "the chip is getting too warm"
        self._conditions.raise_(
            Code.THERMAL_THROTTLE,
            text,
            doing=f"the load is cut to {heat.share:.0%}, {limit} frames a second",
            fix="see that heat sink and fan are well; a lower max_fps keeps it cooler for good",
        )
        self._events.node(
            "thermal_throttle", temp_c=heat.temp_c, share=heat.share, max_fps=limit, chip_throttled=heat.throttled
        )

    def _settled(self) -> bool:
        refused = {model for code in _OUT_OF_SERVICE for model in self._conditions.stand(code)}
        return self._engine.in_service | refused >= self._engine.wanted

    def _begin(
        self,
        subject: str | None,
        code: Code,
        reason: str,
        rung: Rung,
        *,
        asked: bool = False,
        quiet: bool = False,
    ) -> None:
        outage = self._outages.get(subject)
        news = outage is None or (outage.asked and not asked)
        if outage is None:
            self._outages[subject] = _Outage(self._clock.monotonic(), code.value, rung, asked)
        else:
            outage.rung = max(outage.rung, rung, key=_CLIMB.index)
            outage.asked = outage.asked and asked
        if news and not asked and not quiet:
            self._events.node("device_lost", code=code.value, reason=reason, rung=rung.value, **_of(subject))

    def _recovered(self, subject: str | None) -> None:
        outage = self._outages.pop(subject, None)
        if outage is None:
            return
        duration = round(self._clock.monotonic() - outage.began, 3)
        if outage.asked:
            self._events.node("device_restarted", duration_s=duration, rung=outage.rung.value, by="cmd")
        else:
            self._events.node(
                "device_recovered", duration_s=duration, rung=outage.rung.value, code=outage.code, **_of(subject)
            )


def _of(model: str | None) -> Mapping[str, str]:
    return {} if model is None else {"model": model}
