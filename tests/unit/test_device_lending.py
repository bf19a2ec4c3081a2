"""The device given away and taken back, as the link steers its hosts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hailod.device.events import DeviceDown, DeviceReleased, DeviceUp
from hailod.device.recovery import State
from hailod.device.spawner import HostFailed
from tests.unit.test_device_link import Rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


def test_device_is_released_when_its_host_is_gone(rig: Rig) -> None:
    """Others can have the device once the kernel has let the host go, not when it was told to; none follows it."""
    host, _ = rig.ready()
    rig.link.release()
    assert rig.spawner.killed == [1]
    (down,) = rig.of(DeviceDown)
    assert down.asked
    assert rig.of(DeviceReleased) == []
    rig.exit(host)
    assert rig.of(DeviceReleased) == [DeviceReleased()]
    assert (rig.link.state, rig.link.pid) == (State.RELEASED, 0)
    rig.pass_time(120.0)
    assert (rig.spawner.spawned, rig.link.restarts) == ([1], 0)


def test_device_that_is_taken_back_serves_what_is_wanted(rig: Rig) -> None:
    """The next host opens the device and loads the models anew."""
    host, _ = rig.ready()
    rig.link.release()
    rig.exit(host)
    rig.link.acquire()
    assert rig.spawner.spawned == [1, 2]
    assert rig.loaded(rig.up()).spec.name == "two"
    assert len(rig.of(DeviceUp)) == 2


def test_device_that_is_not_ours_is_released_at_once(rig: Rig) -> None:
    """Between two tries to open a device nothing holds it."""
    rig.link.start()
    rig.link.handle(HostFailed(1, "no memory"))
    rig.link.release()
    assert rig.of(DeviceReleased) == [DeviceReleased()]
    rig.pass_time(120.0)
    assert rig.spawner.spawned == [1]


def test_host_that_is_being_started_is_given_up(rig: Rig) -> None:
    """A release in the middle of a start does not wait for its end."""
    rig.link.start()
    rig.link.release()
    host = rig.birth()
    assert rig.spawner.killed
    rig.exit(host)
    assert rig.link.state is State.RELEASED


def test_release_can_be_taken_back_before_the_host_is_gone(rig: Rig) -> None:
    """A host that was told to go goes, and another one follows it as after any restart."""
    host, _ = rig.ready()
    rig.link.release()
    rig.link.acquire()
    rig.exit(host)
    rig.pass_time(0.2)
    assert rig.of(DeviceReleased) == []
    assert rig.spawner.spawned == [1, 2]


def test_acquire_ends_the_wait_for_the_next_try(rig: Rig) -> None:
    """Whoever has just ended the other program need not wait for the back-off."""
    host = rig.up()
    rig.says(host, "failed", command="open", error="DeviceUnavailable", text="in use", status=74)
    rig.exit(host)
    assert rig.link.state is State.WAITING
    rig.link.acquire()
    rig.link.tick()
    assert rig.spawner.spawned == [1, 2]
