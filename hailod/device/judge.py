"""Whose fault it is when a session dies, and how warm the chip is: evidence weighed for the link, which acts on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hailod.config.model import DeviceSettings
from hailod.device.events import ThermalChanged
from hailod.device.flight import Flight, Session, SessionFailed
from hailod.device.holders import HELD, HolderLookup
from hailod.device.protocol import Message, number
from hailod.device.recovery import ModelFaults, Rung
from hailod.device.statuses import Cure, Fault, Stage, cure_of
from hailod.device.thermal import Load, Thermostat

# A chip that aborts a model at this temperature has stopped itself, whether or not its firmware's word came through.
HOT_C = 110.0
_COOLING = "see that the heat sink sits well and the fan turns; ask for less: max_fps"

# What a host finds out by itself has no status of HailoRT.
_OWN_ERRORS = {
    "DeviceUnavailable": Fault.UNAVAILABLE,
    "DeviceRejected": Fault.REJECTED,
    "DeviceLost": Fault.DEVICE_LOST,
    "ModelError": Fault.REJECTED,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A fault of the whole device, or of one model at a rung; in words, and with what people can do."""

    text: str
    fault: Fault | None = None
    rung: Rung | None = None
    fix: str = ""


class Judge:
    """Used by the link, on the control thread."""

    def __init__(self, settings: DeviceSettings, flight: Flight, holders: HolderLookup) -> None:
        self._settings = settings
        self._holders = holders
        self._flight = flight
        self._models = ModelFaults()
        self._thermostat = Thermostat(settings.thermal)
        self._load = Load()
        self._stopped_at = 0.0

    def configure(self, settings: DeviceSettings) -> None:
        self._settings = settings
        self._thermostat.configure(settings.thermal)

    def forget(self, model: str) -> None:
        """The model is no longer wanted: should it come back, it begins anew."""
        self._models.forget(model)

    def refused(self, message: Message, stage: Stage, own: int) -> Verdict:
        """The host `own` could not do what it was asked for; is the device out of service, or is it about one model?"""
        told, text = message.get("status"), str(message.get("text"))
        status = None if told is None else int(number(told))
        cure = Cure("", Fault.DEVICE_LOST) if status is None else cure_of(status, stage)
        fault = _OWN_ERRORS.get(str(message.get("error")), cure.fault)
        fix = cure.fix if cure.fault is fault else ""
        held = self._holders.describe(status, own=own)
        if held.startswith(HELD):
            fix = "end that program, or wait: the device is taken as soon as it is free"
        words = [text, held, "" if held.startswith(HELD) else fix]
        said = "; ".join(word for word in words if word)
        return Verdict(said if stage is Stage.OPEN else f"{message.get('command')}: {said}", fault, fix=fix)

    # -- sessions ----------------------------------------------------------------------------------------------------

    def session_failed(self, failed: SessionFailed, sessions: Iterable[Session], now: float) -> Verdict:
        """A session is dead; is it the model's, the chip's or the driver's fault, and how far up is the cure?"""
        name, cure = failed.session.spec.name, cure_of(failed.status, failed.stage)
        text = f"{failed.stage.value} failed with {cure.name} ({failed.status})"
        if self.temp_c is not None and self.temp_c >= HOT_C:
            return self.too_hot(f"the chip aborted its work at {self.temp_c:g} °C", now)
        if cure.fault is not Fault.SESSION_LOST:
            return Verdict(f"model {name}: {text}", cure.fault, fix=cure.fix)
        others = [
            self._flight.delivering_since(other)
            for other in sessions
            if other is not failed.session and not self._flight.is_condemned(other)
        ]
        rung = self._models.lost(
            name,
            now,
            settled=self._has_settled(failed.session, now),
            others=others,
            losses_to_quarantine=self._settings.recovery.losses_to_quarantine,
        )
        if rung is Rung.HOST:
            return Verdict(f"model {name}, configured anew, failed again at once: {text}", Fault.SESSION_LOST)
        return Verdict(text, rung=rung)

    def _has_settled(self, session: Session, now: float) -> bool:
        """Whether the session delivered for long enough to be called well."""
        since = self._flight.delivering_since(session)
        return since is not None and now - since >= self._settings.recovery.settle_after

    # -- heat --------------------------------------------------------------------------------------------------------

    @property
    def temp_c(self) -> float | None:
        """The chip's temperature as it was last told."""
        return self._thermostat.heat.temp_c

    def count(self, now: float) -> None:
        """Look at how much is being done; to be called a few times a second."""
        self._load.count(self._flight.finished, now)

    def measured(self, temp_c: float | None, now: float, *, throttled: bool | None = None) -> ThermalChanged | None:
        """The chip is this warm, and runs at a lower clock or not (None: as before); what changes by that."""
        before = self._thermostat.heat
        if throttled is not None:
            self._thermostat.throttle(throttled)
        heat = self._thermostat.measure(temp_c, now)
        if (heat.step, heat.throttled) == (before.step, before.throttled):
            return None
        return ThermalChanged(heat, self._load.limit(heat))

    def too_hot(self, text: str, now: float) -> Verdict:
        """The chip stopped itself now."""
        self._stopped_at = now
        return Verdict(text, Fault.TOO_HOT, fix=_COOLING)

    def cool(self, now: float) -> bool:
        """Whether a chip that stopped itself may work again."""
        return self._thermostat.cool(now, self._stopped_at)
