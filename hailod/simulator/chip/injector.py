"""Which jobs and attempts a fault script hits. Everything random comes from its seed and the number of the job."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter

from hailod.simulator.chip.conditions import Conditions
from hailod.simulator.chip.faults import (
    Completion,
    Configure,
    DeviceFault,
    Faults,
    Garbage,
    Hang,
    JobFault,
    Mismatch,
    Open,
    ProcessAbort,
    Rule,
    Slow,
    Submit,
    Timeout,
)
from hailod.simulator.chip.memory import DeviceMemory

TIMEOUT = 4
_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Fate:
    """What is to happen to one job. Statuses of 0 are success; `held_until` is when its callback may come at last, and
    `stirs` that it has brought about something that concerns the whole device."""

    refusal: int = 0
    status: int = 0
    factor: float = 1.0
    delay: float = 0.0
    held_until: float = -_NEVER
    aborts: bool = False
    fill: str | None = None
    stirs: bool = False


SPARED = Fate()
"""The fate of a job that no rule hits."""


class Injector:
    """A script at work on one device. `conditions` is what it does to the device as a whole."""

    def __init__(
        self, faults: Faults, memory: DeviceMemory, now: float, *, celsius: float = 48.0, watts: float | None = None
    ) -> None:
        self.faults = faults
        rules = faults.rules
        self.conditions = Conditions(faults, rules, memory, celsius=celsius, watts=watts)
        self._memory = memory
        numbered = list(enumerate(rules))
        self._of_jobs = [(index, rule) for index, rule in numbered if isinstance(rule, JobFault)]
        self._of_device = [
            (index, rule) for index, rule in numbered if isinstance(rule, DeviceFault) and not rule.by_time
        ]
        self._of_opening = [(index, rule) for index, rule in numbered if isinstance(rule, Open)]
        self._of_versions = [(index, rule) for index, rule in numbered if isinstance(rule, Mismatch)]
        self._of_configuring = [(index, rule) for index, rule in numbered if isinstance(rule, Configure)]
        memory.begin(hashlib.blake2b(_SCRIPT.dump_json(faults), digest_size=16).digest(), now)

    def fate(self, model: str, now: float) -> tuple[int, Fate]:
        """Number a new job of a model and decide what becomes of it. May begin what a job triggers."""
        number, fate = self._memory.next_job(), SPARED
        for index, rule in self._of_jobs:
            if rule.model in (None, model) and self._hits(index, rule, number, now, counted=rule.model is not None):
                fate = self._apply(fate, index, rule)
        for index, condition in self._of_device:
            if not self._under_way(index, condition, now) and self._hits(index, condition, number, now):
                self._memory.start(index, now, again=True)
                fate = replace(fate, stirs=True)
        return number, fate

    def opening(self, now: float) -> int:
        """The status with which VDevice() fails, 0 for none."""
        return self._attempt(self._of_opening, now)

    def versions(self, now: float) -> int:
        """The status with which the library refuses the driver or the firmware, 0 for none."""
        return self._attempt(self._of_versions, now)

    def configuring(self, model: str, now: float) -> int:
        """The status with which configure() fails, 0 for none."""
        return self._attempt([each for each in self._of_configuring if each[1].model in (None, model)], now)

    def chance(self, rule: int, number: int) -> float:
        """A number in [0, 1) for a rule and a job, the same whenever and wherever it is asked for."""
        key = b"%d/%d/%d" % (self.faults.seed, rule, number)
        return int.from_bytes(hashlib.blake2b(key, digest_size=7).digest(), "little") / (1 << 56)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _hits(self, index: int, rule: Rule, number: int, now: float, *, counted: bool = False) -> bool:
        begin = self._memory.began + (rule.at or 0.0)
        if now < begin:
            return False
        if rule.job is not None:
            ordinal = self._memory.see(index) if counted else number
            if ordinal < rule.job or (rule.alone and ordinal > rule.job):
                return False
        if isinstance(rule, JobFault) and rule.for_ is not None:
            if rule.job is not None:
                begin = self._memory.start(index, now)
            if now >= begin + rule.for_:
                return False
        if rule.rate is not None and self.chance(index, number) >= rule.rate:
            return False
        return self._memory.fire(index, rule.times)

    def _under_way(self, index: int, rule: DeviceFault, now: float) -> bool:
        began = self._memory.rule_began(index)
        return began is not None and rule.for_ is not None and now < began + rule.for_

    def _apply(self, fate: Fate, index: int, rule: JobFault) -> Fate:
        match rule:
            case Submit():
                change: dict[str, Any] = {"refusal": fate.refusal or rule.status}
            case Completion():
                change = {"status": fate.status or rule.status}
            case Timeout():
                change = {"status": fate.status or TIMEOUT, "delay": max(fate.delay, rule.after)}
            case Slow():
                change = {"factor": fate.factor * rule.factor}
            case Hang():
                change = {"held_until": max(fate.held_until, self._release(index, rule))}
            case ProcessAbort():
                change = {"aborts": True}
            case Garbage():
                change = {"fill": fate.fill or rule.fill}
        return replace(fate, **change)

    def _release(self, index: int, rule: Hang) -> float:
        if rule.for_ is None:
            return _NEVER
        began = self._memory.rule_began(index) if rule.job is not None else None
        return (self._memory.began + (rule.at or 0.0) if began is None else began) + rule.for_

    def _attempt(self, rules: Sequence[tuple[int, Open | Mismatch | Configure]], now: float) -> int:
        for index, rule in rules:
            begin = self._memory.began + (rule.at or 0.0)
            over = rule.for_ is not None and now >= begin + rule.for_
            if begin <= now and not over and self._memory.fire(index, rule.times):
                return rule.status
        return 0


_SCRIPT = TypeAdapter(Faults)
