"""The engine on a simulated device whose faults outlive the process that met them."""

from __future__ import annotations

from pathlib import Path

from hailod.device.events import DeviceUp, ModelReady, ThermalChanged
from hailod.device.statuses import Fault
from tests.support.engine import Bench, device, plan
from tests.support.waiting import wait_for


def scripted(folder: Path, text: str) -> Path:
    path = folder / "faults.toml"
    path.write_text(text)
    return path


def test_a_device_that_is_away_for_a_while(tmp_path: Path) -> None:
    """Every host that starts meanwhile finds no device; the first one after it came back serves again."""
    script = scripted(tmp_path, '[[fault]]\nkind = "lost"\njob = 4\nfor = 4.0\n')
    with Bench(device(faults=script), plan(tmp_path)) as bench:
        host = bench.host
        bench.run(4)
        bench.replaced(host)
        bench.run(5)
        assert bench.pair().ended == {"done": 8, "expired": 1}
        first, *others = [down.fault for down in bench.down()]
        assert first is Fault.HUNG
        assert set(others) == {Fault.UNAVAILABLE}


def test_no_device_for_some_attempts(tmp_path: Path) -> None:
    """`times` counts the attempts of all hosts together."""
    script = scripted(tmp_path, '[[fault]]\nkind = "open"\ntimes = 2\n')
    with Bench(device(faults=script), plan(tmp_path)) as bench:
        bench.in_service()
        bench.run(2)
        assert [down.fault for down in bench.down()] == [Fault.UNAVAILABLE] * 2
        assert len(bench.of(DeviceUp)) == 1


def test_jobs_count_over_all_hosts(tmp_path: Path) -> None:
    """A fault of one job comes once, not in every host anew."""
    script = scripted(tmp_path, '[[fault]]\nkind = "process_abort"\njob = 2\n')
    with Bench(device(faults=script), plan(tmp_path)) as bench:
        host = bench.host
        bench.run(1)
        bench.offer()
        bench.replaced(host)
        bench.ended()
        bench.run(5)
        assert sum(bench.pair().ended.values()) == 7
        assert bench.pair().ended["done"] >= 6
        assert [down.fault for down in bench.down()] == [Fault.DEVICE_LOST]


def test_a_chip_that_gets_too_hot(tmp_path: Path) -> None:
    """Its load is shed, it rests when it stops itself, and works again when it has cooled: in one and the same host."""
    script = scripted(tmp_path, "temperature = [[0, 48], [1, 60], [2, 126], [2.3, 126], [3, 60]]\n")
    thermal = {"interval": 0.2, "hold": 0.0}
    with Bench(device(faults=script, thermal=thermal), plan(tmp_path)) as bench:
        host = bench.host
        wait_for(lambda: bench.run(1) or bench.down(), what="the chip stops itself")
        wait_for(lambda: len(bench.of(ModelReady)) == 2, what="the model serves again")
        wait_for(lambda: not bench.of(ThermalChanged)[-1].heat.shedding, what="all of the load is back")
        done = bench.pair().ended["done"]
        wait_for(lambda: bench.run(1) or bench.pair().ended["done"] > done, what="frames are run again")
        assert [down.fault for down in bench.down()] == [Fault.TOO_HOT]
        assert 0.25 in [changed.heat.share for changed in bench.of(ThermalChanged)]
        assert bench.engine.link.pid == host.pid
        assert all(len(result.detections) == 2 for result in bench.results)


def test_a_script_with_a_mistake_is_told(tmp_path: Path) -> None:
    """The device is refused with file, line and field of the mistake."""
    script = scripted(tmp_path, '[[fault]]\nkind = "slow"\nfactor = "very"\n')
    with Bench(device(faults=script), plan(tmp_path)) as bench:
        wait_for(bench.down, what="the device is refused")
        (down,) = bench.down()
        assert down.fault is Fault.REJECTED
        assert f"{script}:3: fault 1 (slow): factor: " in down.text
