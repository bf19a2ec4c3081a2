"""Fault scripts: what a file may say, which jobs its rules hit, and what outlives a process."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hailod.simulator.chip import faults as script
from hailod.simulator.chip.faults import Faults, FaultsError, load_faults
from hailod.simulator.chip.injector import Fate, Injector
from hailod.simulator.chip.memory import DeviceMemory
from hailod.simulator.options import SimulatorOptions

START = 1000.0


class Device:
    """A script at work, on a clock that tests turn."""

    def __init__(self, faults: Faults, memory: DeviceMemory | None = None) -> None:
        self.now = START
        self.memory = memory or DeviceMemory()
        self.injector = Injector(faults, self.memory, self.now)

    def job(self, model: str = "m", after: float = 0.0) -> Fate:
        return self.numbered(model, after)[1]

    def numbered(self, model: str = "m", after: float = 0.0) -> tuple[int, Fate]:
        self.now += after
        return self.injector.fate(model, self.now)

    def jobs(self, count: int, model: str = "m", after: float = 0.0) -> list[Fate]:
        return [self.job(model, after) for _ in range(count)]


def device(*rules: script.JobFault | script.DeviceFault | script.Open | script.Mismatch, **values: object) -> Device:
    return Device(Faults(fault=rules, **values))  # type: ignore[arg-type]


@pytest.fixture
def shared(tmp_path: Path) -> str:
    """Where a memory can be that others open, too."""
    return str(tmp_path / "memory")


# -- files -------------------------------------------------------------------------------------------------------------


def test_every_kind_can_be_written(tmp_path: Path) -> None:
    """A file with every kind of fault and all its fields loads to the rules it spells."""
    path = tmp_path / "faults.toml"
    path.write_text(
        """
seed = 7
temperature = [[0, 48], [60, 110.5]]
power = [[0, 2.5]]
fault = [
  { kind = "submit", status = 36, job = 3 },
  { kind = "completion", status = "HAILO_STREAM_ABORT", rate = 0.01, model = "yolov8s" },
  { kind = "timeout", after = 2.5, at = 4 },
  { kind = "slow", factor = 3, for = 10 },
  { kind = "hang", at = 3, for = 2 },
  { kind = "process_abort", job = 9 },
  { kind = "garbage", fill = "nan", times = 3 },
  { kind = "open", times = 2 },
  { kind = "configure", status = "internal_failure", model = "yolov8s" },
  { kind = "mismatch", of = "firmware" },
  { kind = "stream_abort", rate = 0.1, times = 2 },
  { kind = "lost", job = 5, for = 3 },
  { kind = "throttle", level = 2, at = 1, for = 1 },
  { kind = "thermal_shutdown", at = 1 },
  { kind = "overcurrent", threshold = 3000.0 },
  { kind = "notification", id = "HEALTH_MONITOR_CPU_ECC_ERROR", fields = { memory_bitmap = 4 } },
]
"""
    )
    loaded = load_faults(path)
    assert (loaded.seed, loaded.temperature, loaded.power) == (7, ((0, 48), (60, 110.5)), ((0, 2.5),))
    kinds = {type(rule) for rule in loaded.rules}
    assert len(loaded.rules) == len(kinds) == 16
    assert loaded.rules[1] == script.Completion(status=63, rate=0.01, model="yolov8s")
    assert loaded.rules[4] == script.Hang(at=3, for_=2)
    assert loaded.rules[8] == script.Configure(status=8, model="yolov8s")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("bogus = 1", [":1: bogus: unknown key"]),
        ("seed = 1\n[[fault]]\nat = 3", [":2: fault 1: kind: missing, one of submit, completion"]),
        ('[[fault]]\nkind = "explode"', [":2: fault 1: kind: 'explode' is not one of submit, completion"]),
        ('\n[[fault]]\nkind = "submit"\nstatus = 999', [":4: fault 1 (submit): status: 999 is no failure status"]),
        ('[[fault]]\nkind="submit"\nstatus="NOPE"', [":3: fault 1 (submit): status: 'NOPE' is no status"]),
        ('[[fault]]\nkind="submit"\njob=1', [":1: fault 1 (submit): status: Field required"]),
        (
            '[[fault]]\nkind="lost"\n[[fault]]\nkind = "slow"\nfactor = -1\nspeed = 2',
            [":5: fault 2 (slow): factor: Input should be greater than 0", ":6: fault 2 (slow): speed: unknown key"],
        ),
        ('[[fault]]\nkind="hang"\nrate=1.5', [":3: fault 1 (hang): rate: Input should be less than or equal to 1"]),
        ('[[fault]]\nkind="open"\njob=3', [":2: fault 1 (open): job and rate are about jobs"]),
        ('[[fault]]\nkind="notification"\nid="NOPE"', [":3: fault 1 (notification): id: 'NOPE' is not one of"]),
        ("temperature = [[3, 1], [2, 1]]", [": temperature: the seconds must not decrease"]),
        ("temperature = [[3, nan]]", [":1: temperature.0.1: "]),
        ("fail_completions = { 3 = 'x' }", [":1: fail_completions.3: 'x' is no status"]),
        ("fail_submits = { 3 = 0 }", [":1: fail_submits.3: 0 is no failure status"]),
        ("seed = [", ["Invalid value"]),
        ("#" * 70_000, ["longer than 65536 bytes"]),
        ("seed = " + "[" * 5000, [""]),
        ('[[fault]]\nkind="lost"\n' * 129, ["fault: Tuple should have at most 128 items"]),
    ],
)
def test_mistakes_are_told_with_line_and_field(tmp_path: Path, text: str, told: list[str]) -> None:
    """Each mistake is one line that names file, line, rule and field."""
    path = tmp_path / "faults.toml"
    path.write_text(text)
    with pytest.raises(FaultsError) as caught:
        load_faults(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(told)
    for line, expected in zip(lines, told, strict=True):
        assert line.startswith(str(path))
        assert expected in line


def test_a_missing_or_binary_file_is_a_mistake(tmp_path: Path) -> None:
    """What cannot be read is refused with its name."""
    with pytest.raises(FaultsError, match="No such file"):
        load_faults(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(FaultsError, match=r"binary\.toml"):
        load_faults(tmp_path / "binary.toml")


LINES = ["[[fault]]", 'kind="slow"', "factor=2", "at=-1", "x=[1]", "for=0", "self=1", "[fault]", "seed=1e400"]


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200) | st.lists(st.sampled_from(LINES)).map("\n".join))
def test_any_text_is_a_script_or_a_mistake(text: str) -> None:
    """Whatever a file holds, the answer is a script or a FaultsError."""
    path = Path(f"/proc/self/fd/{(fd := os.memfd_create('faults'))}")
    try:
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        with contextlib.suppress(FaultsError):
            assert isinstance(load_faults(path), Faults)
    finally:
        os.close(fd)


def test_options_with_a_script_cross_as_json() -> None:
    """A script in options survives JSON, so that it can be handed to another process."""
    given_ = {"faults": {"seed": 3, "fault": [{"kind": "lost", "at": 3, "for": 2}], "fail_submits": {"3": 82}}}
    options = SimulatorOptions(**json.loads(json.dumps(given_)))
    assert options.faults.rules == (script.Lost(at=3, for_=2), script.Submit(job=3, status=82))


# -- which jobs --------------------------------------------------------------------------------------------------------


def test_a_rule_for_one_job_hits_that_job() -> None:
    """`job` alone is that job and no other."""
    chip = device(script.Completion(status=4, job=2))
    assert [(number, fate.status) for number, fate in (chip.numbered() for _ in range(4))] == [
        (1, 0), (2, 4), (3, 0), (4, 0),
    ]  # fmt: skip


def test_a_rule_can_go_on() -> None:
    """`times` counts from the job on; `for` lasts from the job on; both end."""
    assert [f.status for f in device(script.Completion(status=4, job=2, times=2)).jobs(5)] == [0, 4, 4, 0, 0]
    assert [f.factor for f in device(script.Slow(factor=2, job=2, for_=1.5)).jobs(5, after=1.0)] == [1, 2, 2, 1, 1]


def test_a_rule_from_a_time_on() -> None:
    """`at` counts from the script's start; `for` bounds it."""
    assert [f.refusal for f in device(script.Submit(status=82, at=2, for_=2)).jobs(5, after=1.0)] == [0, 82, 82, 0, 0]
    assert [f.refusal for f in device(script.Submit(status=82, at=2)).jobs(4, after=1.0)] == [0, 82, 82, 82]


def test_a_rule_of_one_model_counts_its_jobs() -> None:
    """With `model` other models' jobs neither fail nor count."""
    chip = device(script.Completion(status=4, job=2, model="b"))
    fates = [chip.job(model) for model in "abaab"]
    assert [fate.status for fate in fates] == [0, 0, 0, 0, 4]


def test_a_rate_hits_about_so_many() -> None:
    """With a rate of 0.2 a fifth of the jobs is hit, spread over all."""
    fates = device(script.Completion(status=4, rate=0.2), seed=1).jobs(2000)
    hit = [number for number, fate in enumerate(fates, start=1) if fate.status]
    assert 320 <= len(hit) <= 480
    assert min(hit) < 50
    assert max(hit) > 1950


def test_a_seed_decides_everything() -> None:
    """The same seed hits the same jobs, another one others."""

    def run(seed: int) -> list[Fate]:
        rules = script.Completion(status=4, rate=0.3), script.Slow(factor=2, rate=0.5), script.Garbage(rate=0.1)
        return device(*rules, seed=seed).jobs(200)

    assert run(5) == run(5)
    assert run(5) != run(6)


def test_several_rules_add_up() -> None:
    """A job can be slow, stuck and fail at once; the first status counts."""
    fate = device(
        script.Slow(factor=2), script.Slow(factor=3), script.Timeout(after=7), script.Completion(status=63)
    ).job()
    assert (fate.factor, fate.delay, fate.status) == (6.0, 7.0, 4)


def test_hangs_end_or_not() -> None:
    """Callbacks of jobs from a hang on are held until it ends, or for ever."""
    inf = float("inf")
    assert [f.held_until for f in device(script.Hang(job=2)).jobs(3)] == [-inf, inf, inf]
    held = [f.held_until for f in device(script.Hang(job=2, for_=2)).jobs(4, after=1.0)]
    assert held == [-inf, START + 4, START + 4, -inf]
    assert device(script.Hang(at=1, for_=2)).job(after=1.5).held_until == START + 3


def test_opening_fails_for_a_number_of_attempts() -> None:
    """`times` counts attempts, `at` and `for` bound them in time."""
    chip = device(script.Open(times=3))
    assert [chip.injector.opening(START) for _ in range(5)] == [74, 74, 74, 0, 0]
    chip = device(script.Open(status=73, at=1, for_=1))
    assert [chip.injector.opening(START + after) for after in (0, 1, 1.5, 2)] == [0, 73, 73, 0]
    assert [device(script.Mismatch(of=of)).injector.versions(START) for of in ("driver", "firmware")] == [76, 16]


def test_configuring_fails_for_a_model() -> None:
    """A `configure` fault can be one model's."""
    injector = device(script.Configure(status=8, model="a", times=1)).injector
    assert [injector.configuring(model, START) for model in "baa"] == [0, 8, 0]


# -- the device --------------------------------------------------------------------------------------------------------


def test_a_lost_device_comes_back_for_new_owners() -> None:
    """Lost for 3 s from a job on: what was open is severed for good, what is opened later is not."""
    chip = device(script.Lost(job=2, for_=3))
    chip.jobs(2)
    conditions = chip.injector.conditions
    assert [conditions.lost(START + after) for after in (0, 2.9, 3, 10)] == [True, True, False, False]
    assert conditions.severed(START - 1, START + 10)
    assert not conditions.severed(START + 3, START + 10)
    chip.jobs(5, after=1.0)
    assert not conditions.lost(chip.now), "once"


def test_a_device_can_be_lost_at_a_time_and_again_and_again() -> None:
    """`at` needs no job; with `times` jobs bring it about anew after it came back."""
    conditions = device(script.Lost(at=2, for_=1)).injector.conditions
    assert [conditions.lost(START + after) for after in (1.9, 2, 2.9, 3)] == [False, True, True, False]
    assert conditions.next_instant(START) == START + 2
    chip = device(script.Lost(job=1, for_=1, times=2))
    seen = []
    for _ in range(5):
        chip.job()
        seen.append(chip.injector.conditions.lost(chip.now))
        chip.now += 1.0
    assert seen == [True, True, False, False, False]


def test_streams_abort_what_was_there() -> None:
    """An abort hits what was configured before it."""
    conditions = device(script.StreamAbort(at=2)).injector.conditions
    assert not conditions.aborted(START, START + 1.9)
    assert conditions.aborted(START, START + 2)
    assert not conditions.aborted(START + 2.5, START + 3)


def test_heat_throttles_announces_and_shuts_down() -> None:
    """Along a temperature curve the clock steps down, dataflow stops at the top, and the firmware says so."""
    conditions = device(temperature=[(0, 84), (40, 124), (60, 124), (100, 84)]).injector.conditions
    assert conditions.celsius(START + 10) == (94.0, 93.5)
    assert [conditions.health(START + after).level for after in (0, 20, 24, 28, 32)] == [-1, 0, 1, 2, 3]
    assert [conditions.health(START + after).zone for after in (0, 20, 36, 73, 75, 90)] == [0, 1, 2, 2, 1, 0]
    assert conditions.pace(START + 33) == 2.0
    assert conditions.aborted(START + 20, START + 36)
    assert conditions.aborted(START + 50, START + 51), "still too hot"
    assert not conditions.aborted(START + 80, START + 81)
    told = conditions.notifications(START, START + 40)
    assert [(each.id, round(each.at - START, 6)) for each in told] == [
        (1, 20), (10, 20), (10, 24), (10, 28), (10, 32), (1, 36), (2, 36),
    ]  # fmt: skip
    assert told[0].fields["temperature_zone"] == 1
    assert told[1].fields == {"previous_clock": 400_000_000, "current_clock": 350_000_000}
    assert told[-1].body == "health_monitor_dataflow_shutdown_notification"
    assert conditions.next_instant(START) == START + 20


def test_scripted_throttling_looks_like_heat() -> None:
    """A `throttle` is as hot and as slow as its level, and over when it ends."""
    conditions = device(script.Throttle(level=3, at=1, for_=2)).injector.conditions
    assert conditions.health(START + 1).clock_hz == 200_000_000
    assert conditions.celsius(START + 2)[0] == 116.0
    assert (conditions.pace(START + 3), conditions.celsius(START + 3)[0]) == (1.0, 48.0)
    assert [each.id for each in conditions.notifications(START, START + 5)] == [1, 10, 1, 10]


def test_thermal_shutdown_lasts() -> None:
    """It aborts what runs and what is started while it lasts."""
    conditions = device(script.ThermalShutdown(at=1, for_=2)).injector.conditions
    assert conditions.aborted(START, START + 1)
    assert conditions.aborted(START + 1.5, START + 2)
    assert not conditions.aborted(START + 3, START + 4)
    assert [each.id for each in conditions.notifications(START, START + 5)] == [1, 2, 1]


def test_other_notifications() -> None:
    """Overcurrent is announced at its begin and end; any other notification as it is written."""
    ecc = script.Notify(id="HEALTH_MONITOR_CPU_ECC_ERROR", fields={"memory_bitmap": 4}, at=3)
    conditions = device(script.Overcurrent(at=1, for_=1, threshold=3000.0), ecc).injector.conditions
    begin, end, other = conditions.notifications(START, START + 5)
    assert (begin.id, begin.fields["overcurrent_zone"], end.fields["overcurrent_zone"]) == (3, 1, 0)
    assert begin.fields["exceeded_alert_threshold"] == 3000.0
    assert conditions.health(START + 1.5).overcurrent_zone == 1
    assert (other.id, other.body, dict(other.fields)) == (
        6,
        "health_monitor_cpu_ecc_notification",
        {"memory_bitmap": 4},
    )


def test_power_follows_its_curve() -> None:
    """Between points it is linear, beyond them constant; without a curve it is what the options say."""
    conditions = device(power=[(0, 2.0), (10, 4.0)]).injector.conditions
    assert [conditions.watts(START + after) for after in (-1, 0, 5, 10, 99)] == [2.0, 2.0, 3.0, 4.0, 4.0]
    assert Device(Faults()).injector.conditions.watts(START) is None


# -- what outlives a process -------------------------------------------------------------------------------------------


def test_memory_is_common_to_those_who_name_it(shared: str) -> None:
    """Two that open the same file count jobs together, and share what is spent and under way."""
    faults = Faults(fault=(script.Lost(job=3, for_=5), script.Open(times=2)))
    one, two = Device(faults, DeviceMemory(shared)), Device(faults, DeviceMemory(shared))
    assert [chip.numbered()[0] for chip in (one, two, one)] == [1, 2, 3]
    assert two.injector.conditions.lost(START + 1)
    assert [chip.injector.opening(START) for chip in (one, two, one)] == [74, 74, 0]
    for chip in (one, two):
        chip.memory.close()


def test_another_script_starts_anew_and_jobs_go_on(shared: str) -> None:
    """A changed script has spent nothing, its seconds begin now; job numbers are the device's."""
    first = Device(Faults(fault=(script.Open(times=1),)), DeviceMemory(shared))
    assert first.injector.opening(START) == 74
    first.jobs(3)
    first.memory.close()
    memory = DeviceMemory(shared)
    injector = Injector(Faults(fault=(script.Open(times=1, at=0),)), memory, START + 50)
    assert memory.began == START + 50
    assert injector.opening(START + 50) == 74
    assert injector.fate("m", START + 50)[0] == 4
    memory.close()


def test_memory_of_before_a_reboot_is_forgotten(shared: str) -> None:
    """A record that seems to come from the future is from another life of the machine."""
    chip = Device(Faults(), DeviceMemory(shared))
    chip.jobs(2)
    chip.memory.close()
    memory = DeviceMemory(shared)
    assert Injector(Faults(), memory, 5.0).fate("m", 5.0)[0] == 1
    memory.close()


def test_a_fork_shares_memory_without_a_file() -> None:
    """A forked child's jobs count."""
    memory = DeviceMemory()
    injector = Injector(Faults(), memory, START)
    child = os.fork()
    if not child:
        os._exit(injector.fate("m", START)[0])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert injector.fate("m", START)[0] == 2
    memory.close()


def test_memory_is_a_file_of_ours(tmp_path: Path) -> None:
    """A folder or a device is refused."""
    with pytest.raises(OSError, match="directory"):
        DeviceMemory(str(tmp_path))
    with pytest.raises(ValueError, match="not a file of this user"):
        DeviceMemory("/dev/null")
