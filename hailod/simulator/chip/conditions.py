"""The state of the device over time, as the script has it: on the bus or lost, aborted, hot, throttled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from hailod.simulator.chip import notifications as announced
from hailod.simulator.chip.faults import (
    DeviceFault,
    Faults,
    Lost,
    Notify,
    Overcurrent,
    Rule,
    StreamAbort,
    ThermalShutdown,
    Throttle,
)
from hailod.simulator.chip.memory import DeviceMemory
from hailod.simulator.chip.notifications import Notification
from hailod.simulator.chip.thermal import (
    CORE_CLOCK_HZ,
    GREEN,
    LEVELS,
    ORANGE,
    RED,
    RED_C,
    UNTHROTTLED,
    Curve,
    Heat,
    clock_hz,
    history,
)
from hailod.simulator.native import NotificationId

SENSOR_DIFFERENCE_C = 0.5
_MOMENTARY = (StreamAbort, Notify, ThermalShutdown)
_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Health:
    """What the firmware's health monitor says. Zones: 0 green, 1 orange (overcurrent: red), 2 red; level -1: none."""

    zone: int
    level: int
    clock_hz: int
    overcurrent_zone: int


class Conditions:
    """The device-wide part of a script. Times are of the monotonic clock that the memory was begun with."""

    def __init__(
        self, faults: Faults, rules: Sequence[Rule], memory: DeviceMemory, *, celsius: float, watts: float | None
    ) -> None:
        self._memory = memory
        self._rules = [(index, rule) for index, rule in enumerate(rules) if isinstance(rule, DeviceFault)]
        self._temperature = Curve(faults.temperature or ((0.0, celsius),))
        self._heat = history(self._temperature) if faults.temperature else ()
        # Nothing ever happens; asked several times for each job.
        self._quiet = not self._rules and not self._heat
        self._power = Curve(faults.power) if faults.power else None
        self._watts = watts

    def lost(self, now: float) -> bool:
        """Whether the device is off the bus."""
        return self._any(Lost, now)

    def severed(self, since: float, now: float) -> bool:
        """Whether it was off the bus at any time since then, so that what was open is open no more."""
        return not self._quiet and any(began >= since for rule, began in self._begun(now) if isinstance(rule, Lost))

    def aborted(self, since: float, now: float) -> bool:
        """Whether dataflow was stopped at any time since then, or may not run now."""
        if self._quiet:
            return False
        for rule, began in self._begun(now):
            if isinstance(rule, StreamAbort | ThermalShutdown) and began >= since:
                return True
        reds = (self._memory.began + heat.at for heat in self._heat if heat.red)
        return self._hot(now) or any(since <= at <= now for at in reds)

    def celsius(self, now: float) -> tuple[float, float]:
        """Both sensors. A scripted throttling or shutdown is as hot as it takes."""
        value = self._temperature.at(now - self._memory.began)
        for rule, _ in self._active(now):
            if isinstance(rule, Throttle):
                value = max(value, LEVELS[rule.level][0])
            elif isinstance(rule, ThermalShutdown):
                value = max(value, RED_C)
        return value, value - SENSOR_DIFFERENCE_C

    def watts(self, now: float) -> float | None:
        """Power, None without a sensor."""
        return self._watts if self._power is None else self._power.at(now - self._memory.began)

    def health(self, now: float) -> Health:
        heat, level = self._heat_at(now), self._level(now)
        zone = max(heat.zone if heat else GREEN, GREEN if level == UNTHROTTLED else ORANGE)
        return Health(RED if self._hot(now) else zone, level, clock_hz(level), int(self._any(Overcurrent, now)))

    def pace(self, now: float) -> float:
        """How many times slower than at its full clock the chip runs."""
        return 1.0 if self._quiet else CORE_CLOCK_HZ / clock_hz(self._level(now))

    def next_instant(self, now: float) -> float:
        """When next something changes by itself; inf: never."""
        if self._quiet:
            return _NEVER
        moments = [self._memory.began + heat.at for heat in self._heat]
        for index, rule in self._rules:
            began = self._scheduled(rule) if rule.by_time else self._memory.rule_began(index)
            if began is not None:
                moments += [began, began + (rule.for_ or 0.0)]
        return min((moment for moment in moments if moment > now), default=_NEVER)

    def notifications(self, since: float, until: float) -> list[Notification]:
        """What the firmware announced after `since` up to `until`, in order."""
        found = sorted([*self._of_heat(), *self._of_rules(until)], key=lambda each: each.at)
        return [replace(each, sequence=n) for n, each in enumerate(found, start=1) if since < each.at <= until]

    # -- inside ------------------------------------------------------------------------------------------------------

    def _scheduled(self, rule: Rule) -> float:
        return self._memory.began + (rule.at or 0.0)

    def _begun(self, now: float) -> Iterator[tuple[DeviceFault, float]]:
        """The rules that have begun, and when they last did."""
        for index, rule in self._rules:
            began = self._scheduled(rule) if rule.by_time else self._memory.rule_began(index)
            if began is not None and began <= now:
                yield rule, began

    def _active(self, now: float) -> Iterator[tuple[DeviceFault, float]]:
        for rule, began in self._begun(now):
            lasts = rule.for_ if rule.for_ is not None else 0.0 if isinstance(rule, _MOMENTARY) else _NEVER
            if now < began + lasts:
                yield rule, began

    def _any(self, kind: type[Rule], now: float) -> bool:
        return any(isinstance(rule, kind) for rule, _ in self._active(now))

    def _hot(self, now: float) -> bool:
        heat = self._heat_at(now)
        return (heat is not None and heat.red) or self._any(ThermalShutdown, now)

    def _heat_at(self, now: float) -> Heat | None:
        past = [heat for heat in self._heat if self._memory.began + heat.at <= now]
        return past[-1] if past else None

    def _level(self, now: float) -> int:
        heat = self._heat_at(now)
        scripted = (rule.level for rule, _ in self._active(now) if isinstance(rule, Throttle))
        return max([heat.level if heat else UNTHROTTLED, *scripted])

    def _of_heat(self) -> Iterator[Notification]:
        before = Heat(0.0, 0.0)
        for heat in self._heat:
            at = self._memory.began + heat.at
            yield from _changed(at, heat.celsius, (before.zone, before.level), (heat.zone, heat.level))
            before = heat

    def _of_rules(self, until: float) -> Iterator[Notification]:
        for rule, began in self._begun(until):
            ends = None if rule.for_ is None else began + rule.for_
            cool = self._temperature.at(began - self._memory.began)
            match rule:
                case Throttle():
                    hot = (ORANGE, rule.level)
                    yield from _changed(began, LEVELS[rule.level][0], (GREEN, UNTHROTTLED), hot)
                    if ends is not None:
                        yield from _changed(ends, cool, hot, (GREEN, UNTHROTTLED))
                case ThermalShutdown():
                    yield from _changed(began, RED_C, (GREEN, UNTHROTTLED), (RED, UNTHROTTLED))
                    if ends is not None:
                        yield from _changed(ends, cool, (RED, UNTHROTTLED), (GREEN, UNTHROTTLED))
                case Overcurrent():
                    yield _overcurrent(began, rule, zone=1)
                    if ends is not None:
                        yield _overcurrent(ends, rule, zone=0)
                case Notify():
                    yield Notification(began, int(NotificationId.__members__[rule.id]), dict(rule.fields))


def _changed(at: float, celsius: float, before: tuple[int, int], after: tuple[int, int]) -> Iterator[Notification]:
    """What a change of zone and throttling level makes the firmware say."""
    sensors = {"ts0_temperature": celsius, "ts1_temperature": celsius - SENSOR_DIFFERENCE_C}
    if before[0] != after[0]:
        yield Notification(at, announced.TEMPERATURE_ALARM, {"temperature_zone": after[0], "alarm_ts_id": 0, **sensors})
        if after[0] == RED:
            yield Notification(at, announced.DATAFLOW_SHUTDOWN, sensors)
    if before[1] != after[1]:
        clocks = {"previous_clock": clock_hz(before[1]), "current_clock": clock_hz(after[1])}
        yield Notification(at, announced.CLOCK_CHANGED, clocks)


def _overcurrent(at: float, rule: Overcurrent, *, zone: int) -> Notification:
    fields = {
        "overcurrent_zone": zone,
        "exceeded_alert_threshold": rule.threshold,
        "is_last_overcurrent_violation_reached": False,
    }
    return Notification(at, announced.OVERCURRENT_ALARM, fields)
