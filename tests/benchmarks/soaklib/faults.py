"""What goes wrong in a soak, and when: by frame number for what is done to the host process, and by number of the
device's jobs for what the simulated device does by itself."""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# Of a hundred faults so many are of each kind.
SHARES: Mapping[str, int] = {
    "SIGKILL": 16,
    "SIGSTOP": 8,
    "completion": 28,
    "submit": 14,
    "hang": 6,
    "process_abort": 10,
    "stream_abort": 8,
    "garbage": 10,
}
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGSTOP": signal.SIGSTOP}
STATUSES = (63, 4, 6, 36, 8, 62)
# A script has room for so many; those that are due first are written.
IN_A_SCRIPT = 100
# What lies between two faults at least, in jobs, so that one does not hide the other.
APART = 3


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: of kind `SIGKILL` or `SIGSTOP`, or of a script with its fields."""

    kind: str
    at: int
    fields: Mapping[str, object]

    def rule(self, job: int) -> str:
        """As a rule of a script, for a job."""
        lines = [f'kind = "{self.kind}"', f"job = {job}"]
        lines += [f"{key} = {value!r}" for key, value in self.fields.items()]
        return "[[fault]]\n" + "\n".join(lines).replace("'", '"') + "\n"


class Plan:
    """`count` faults, each at a frame number: those that are `due` are to be done by signal, those of `scripted`, in
    the order in which they come, by the device itself."""

    def __init__(self, count: int, frames: int, rng: random.Random) -> None:
        self.count = count
        self.injected = 0
        self._rng = rng
        kinds = [kind for kind, share in SHARES.items() for _ in range(share)]
        chosen = [kinds[index * len(kinds) // count] for index in range(count)]
        rng.shuffle(chosen)
        # The last tenth is left in peace, so that what was injected last is over too.
        moments = sorted(rng.randrange(frames // 50, frames * 9 // 10) for _ in range(count))
        faults = [Fault(kind, at, self._fields(kind)) for kind, at in zip(chosen, moments, strict=True)]
        self.scripted = [fault for fault in faults if fault.kind not in SIGNALS]
        self._signals = [fault for fault in faults if fault.kind in SIGNALS]
        self._told: Counter[str] = Counter()

    def due(self, frames: int) -> Iterator[Fault]:
        """Signals whose frame has come; each is given once."""
        while self._signals and self._signals[0].at <= frames:
            yield self._signals.pop(0)

    def done(self, fault: Fault) -> None:
        """It was brought about."""
        self.injected += 1
        if fault.kind not in SIGNALS:
            self.scripted.remove(fault)
        self._told[fault.kind] += 1

    def told(self) -> Mapping[str, int]:
        return dict(self._told.most_common())

    def _fields(self, kind: str) -> Mapping[str, object]:
        match kind:
            case "completion" | "submit":
                return {"status": self._rng.choice(STATUSES)}
            case "hang":
                return {"times": 1}
            case "stream_abort":
                return {"for": 0.01}
            case "garbage":
                return {"fill": self._rng.choice(("random", "nan"))}
        return {}
