"""How a simulated device is to fail: a script of rules, from a TOML file or as Python values.

    seed = 7
    temperature = [[0, 48], [60, 110], [90, 60]]        # degrees Celsius over seconds

    [[fault]]
    kind = "completion"
    status = "STREAM_ABORT"
    job = 100

Rules are about jobs (calls of `run_async`), about opening, or about the whole device. `at` counts seconds from when the
script came into force, `job` the jobs of the device over all its models and processes, from 1. With the same seed the
same jobs are hit.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from hailod.errors import ConfigError
from hailod.simulator.chip.memory import MAX_RULES
from hailod.simulator.native import STATUSES, NotificationId

MAX_FILE_BYTES = 65_536
DRIVER_MISMATCH, FIRMWARE_MISMATCH = 76, 16


class FaultsError(ConfigError):
    """A script that cannot be used; one line per mistake, with file, line and field."""


_NUMBERS = {name: number for number, (name, _, _) in STATUSES.items() if number}
_PREFIX = "HAILO_"


def _status(value: object) -> object:
    """A status by number or by name, with or without its prefix."""
    if isinstance(value, str):
        name = value.upper()
        number = _NUMBERS.get(name if name.startswith(_PREFIX) else _PREFIX + name)
        if number is None:
            raise ValueError(f"{value!r} is no status of HailoRT")
        return number
    if isinstance(value, int) and not isinstance(value, bool) and value not in _NUMBERS.values():
        raise ValueError(f"{value} is no failure status of HailoRT")
    return value


Status = Annotated[int, BeforeValidator(_status)]
Seconds = Annotated[float, Field(ge=0.0, le=1e7, allow_inf_nan=False)]


class Rule(BaseModel):
    """When a fault takes effect.

    `at`: from this second on. `job`: from this job on, and for this job alone if nothing else says how long.
    `rate`: each job with this probability. `times`: at most so often. `for`: for so many seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    at: Seconds | None = None
    job: Annotated[int, Field(ge=1)] | None = None
    rate: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    times: Annotated[int, Field(ge=1)] | None = None
    for_: Annotated[Seconds, Field(gt=0.0)] | None = Field(default=None, alias="for")

    @property
    def alone(self) -> bool:
        """Whether it is about one job and no other."""
        return self.job is not None and self.rate is None and self.for_ is None and self.times is None


class JobRule(Rule):
    """A fault of single jobs; with `model` of that model's only, and `job` counts those from the script's start on."""

    model: Annotated[str, Field(min_length=1, max_length=128)] | None = None


class Submit(JobRule):
    """`run_async` raises `status`, which kills the model."""

    kind: Literal["submit"] = "submit"
    status: Status


class Completion(JobRule):
    """The callback gets `status`, the outputs are zeros, the model is dead."""

    kind: Literal["completion"] = "completion"
    status: Status


class Timeout(JobRule):
    """The chip is stuck on the job for `after` seconds, then its callback gets TIMEOUT."""

    kind: Literal["timeout"] = "timeout"
    after: Seconds = 10.0


class Slow(JobRule):
    """The job takes `factor` times as long."""

    kind: Literal["slow"] = "slow"
    factor: Annotated[float, Field(gt=0.0, le=1e6)]


class Hang(JobRule):
    """No callback comes: until `for` seconds have passed, or never. With `job`: from that job on."""

    kind: Literal["hang"] = "hang"

    @property
    def alone(self) -> bool:
        return False


class ProcessAbort(JobRule):
    """The job's completion aborts the process."""

    kind: Literal["process_abort"] = "process_abort"


class Garbage(JobRule):
    """The outputs are random bytes, or NaN where they are floats (`fill = "nan"`), and nobody is told."""

    kind: Literal["garbage"] = "garbage"
    fill: Literal["random", "nan"] = "random"


class AttemptRule(Rule):
    """A fault of attempts to get at the device: `times` counts those."""

    @model_validator(mode="after")
    def _attempts_are_no_jobs(self) -> Self:
        if self.job is not None or self.rate is not None:
            raise ValueError("job and rate are about jobs; this kind takes at, for and times")
        return self


class DeviceRule(Rule):
    """A fault of the whole device. `for` is how long it lasts; with `times` a job may bring it about again."""

    @property
    def alone(self) -> bool:
        return self.job is not None and self.rate is None and self.times is None

    @property
    def by_time(self) -> bool:
        """Whether it comes by itself, at a moment that is known beforehand."""
        return self.job is None and self.rate is None


class Open(AttemptRule):
    """VDevice() raises `status`: by default that no device is free."""

    kind: Literal["open"] = "open"
    status: Status = 74


class Configure(AttemptRule):
    """configure() raises `status`."""

    kind: Literal["configure"] = "configure"
    status: Status
    model: Annotated[str, Field(min_length=1, max_length=128)] | None = None


class Mismatch(AttemptRule):
    """Device() and VDevice() find a driver or firmware of another version than the library."""

    kind: Literal["mismatch"] = "mismatch"
    of: Literal["driver", "firmware"] = "driver"

    @property
    def status(self) -> int:
        return DRIVER_MISMATCH if self.of == "driver" else FIRMWARE_MISMATCH


class StreamAbort(DeviceRule):
    """Everything configured on the device is aborted."""

    kind: Literal["stream_abort"] = "stream_abort"


class Lost(DeviceRule):
    """The device is off the bus, for `for` seconds or for ever. What was open on it never answers again."""

    kind: Literal["lost"] = "lost"


class Throttle(DeviceRule):
    """The firmware lowers the clock to a throttling level, with the notifications that go with it."""

    kind: Literal["throttle"] = "throttle"
    level: Annotated[int, Field(ge=0, le=3)] = 3


class ThermalShutdown(DeviceRule):
    """The firmware stops all dataflow; for `for` seconds it is too hot to start it again."""

    kind: Literal["thermal_shutdown"] = "thermal_shutdown"


class Overcurrent(DeviceRule):
    """The overcurrent alarm, and its end after `for` seconds."""

    kind: Literal["overcurrent"] = "overcurrent"
    threshold: Annotated[float, Field(gt=0.0, le=1e6)] = 3200.0


class Notify(DeviceRule):
    """Any notification of the firmware, with the fields of its message."""

    kind: Literal["notification"] = "notification"
    id: str
    fields: Mapping[str, bool | int | float] = Field(default_factory=dict, max_length=16)

    @field_validator("id")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in NotificationId.__members__:
            raise ValueError(f"{value!r} is not one of {', '.join(NotificationId.__members__)}")
        return value


JobFault = Submit | Completion | Timeout | Slow | Hang | ProcessAbort | Garbage
DeviceFault = StreamAbort | Lost | Throttle | ThermalShutdown | Overcurrent | Notify
AnyFault = JobFault | Open | Configure | Mismatch | DeviceFault
KINDS = tuple(str(kind.model_fields["kind"].default) for kind in get_args(AnyFault))
Fault = Annotated[AnyFault, Field(discriminator="kind")]
CurvePoints = Annotated[tuple[tuple[Seconds, Annotated[float, Field(ge=-60, le=1000)]], ...], Field(max_length=4096)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Faults:
    """A script. The fields below `fault` are shorthand for the rules most used, by job number."""

    seed: int = 0
    temperature: CurvePoints = ()
    """Chip temperature over time; empty: constant. It throttles and shuts the chip down as the firmware would."""
    power: CurvePoints = ()
    """Watts over time; empty: what the options say."""
    fault: Annotated[tuple[Fault, ...], Field(max_length=MAX_RULES // 2)] = ()

    fail_completions: Annotated[Mapping[int, Status], Field(max_length=MAX_RULES // 8)] = field(default_factory=dict)
    """Job number to the status its callback gets."""
    fail_submits: Annotated[Mapping[int, Status], Field(max_length=MAX_RULES // 8)] = field(default_factory=dict)
    """Job number to the status `run_async` raises."""
    hang_from: Annotated[int, Field(ge=1)] | None = None
    """From this job on no callback comes."""
    abort_at: Annotated[int, Field(ge=1)] | None = None
    """This job's completion aborts the process."""
    vanish_at: Annotated[int, Field(ge=0)] | None = None
    """From this job on (0: at once) the device is off the bus: no callback comes, controls fail, scans are empty."""
    open_status: Status | None = None
    """What every VDevice() raises."""

    @model_validator(mode="after")
    def _curves_go_forward(self) -> Faults:
        for name in ("temperature", "power"):
            times = [seconds for seconds, _ in getattr(self, name)]
            if times != sorted(times):
                raise ValueError(f"{name}: the seconds must not decrease")
        return self

    @property
    def rules(self) -> tuple[AnyFault, ...]:
        """All rules, the shorthand spelt out."""
        short: list[JobFault | Open | DeviceFault] = []
        short += [Completion(job=job, status=status) for job, status in self.fail_completions.items()]
        short += [Submit(job=job, status=status) for job, status in self.fail_submits.items()]
        if self.hang_from is not None:
            short.append(Hang(job=self.hang_from))
        if self.abort_at is not None:
            short.append(ProcessAbort(job=self.abort_at))
        if self.vanish_at is not None:
            short.append(Lost(job=self.vanish_at or None))
        if self.open_status is not None:
            short.append(Open(status=self.open_status))
        return (*self.fault, *short)


def load_faults(path: Path) -> Faults:
    """The script of a TOML file. FaultsError with file, line and field of every mistake."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise FaultsError(f"{path}: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise FaultsError(f"{path}: longer than {MAX_FILE_BYTES} bytes")
    try:
        text = data.decode()
        table = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise FaultsError(f"{path}: {error}") from error
    try:
        return _SCRIPT.validate_python(table)
    except ValidationError as error:
        raise FaultsError("\n".join(f"{path}:{_told(text, mistake)}" for mistake in error.errors())) from error


_SCRIPT = TypeAdapter(Faults)
_WORDS = {
    "extra_forbidden": "unknown key",
    "unexpected_keyword_argument": "unknown key",
    "union_tag_not_found": f"kind: missing, one of {', '.join(KINDS)}",
}


def _told(text: str, mistake: ErrorDetails) -> str:
    """Line, rule, field and what is wrong with it."""
    where = mistake["loc"]
    if mistake["type"] == "union_tag_invalid":
        said = f"kind: {mistake['ctx']['tag']!r} is not one of {', '.join(KINDS)}"
    else:
        said = _WORDS.get(mistake["type"], mistake["msg"].removeprefix("Value error, "))
    rule, named = None, ""
    if len(where) >= 2 and where[0] == "fault" and isinstance(where[1], int):
        # The third is the kind, which pydantic names as the branch that was taken.
        rule, kind, where = where[1], where[2:3], where[3:]
        named = f"fault {rule + 1}{f' ({kind[0]})' if kind else ''}: "
    field_ = ".".join(str(part) for part in where)
    line = _line_of(text, rule, str(where[0]) if where else "kind")
    return f"{line}: {named}{field_ + ': ' if field_ else ''}{said}"


def _line_of(text: str, rule: int | None, key: str) -> int:
    """The line where a key is set, in the given `[[fault]]` or above the first; else where that table begins."""
    found, table = 1, -1
    assigns = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]")
    for number, line in enumerate(text.splitlines(), start=1):
        if re.match(r"\s*\[\[\s*fault\s*\]\]", line):
            table += 1
            if table == rule:
                found = number
        elif table == (-1 if rule is None else rule) and assigns.match(line):
            return number
    return found
