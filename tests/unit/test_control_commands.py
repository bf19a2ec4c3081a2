"""Commands as they come over MQTT: one at a time, every one answered, nothing run twice."""

from __future__ import annotations

import pytest

from hailod.control.commands import ACCEPT_AFTER_S
from hailod.control.reports import COMMAND_QUEUE
from hailod.control.saver import StateSaved, StateUnsaved
from hailod.device.events import DeviceDown, DeviceReleased, LinkEvent, ModelFailed
from hailod.device.statuses import Fault
from hailod.errors import DeviceRejected
from tests.support.commanding import TOPICS, Rig
from tests.support.desk import FakeDesk

SWAP = TOPICS.reply("model.swap")
PING = TOPICS.reply("ping")
RESTART = TOPICS.reply("device.restart")
RELEASE = TOPICS.reply("device.release")


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_ping_returns_what_it_was_sent(rig: Rig) -> None:
    """A ping is answered at once with its arguments, even while another command is under way."""
    rig.command("model.swap", id="s", args={"model": "two"})
    rig.command("ping", id="p", args={"x": [1, None]})
    reply = rig.reply(PING)
    assert (reply["id"], reply["status"], reply["data"]) == ("p", "ok", {"x": [1, None]})


def test_swap_is_told_in_full(rig: Rig) -> None:
    """A swap is announced by an event, accepted when it takes its time, and answered when it is done."""
    rig.command("model.swap", id="s", args={"model": "two"})
    ((topic, event),) = rig.told()
    assert topic == TOPICS.event
    assert (event["event_type"], event["from"], event["to"]) == ("model_changing", "one", "two")
    rig.tick(ACCEPT_AFTER_S + 0.1)
    accepted = rig.reply(SWAP)
    assert (accepted["status"], accepted["id"], accepted["job"]) == ("accepted", "s", "j-1")
    rig.tick()
    assert rig.told() == []

    rig.ready("two")
    told = dict(rig.told())
    assert (told[SWAP]["status"], told[SWAP]["data"]["revision"]) == ("ok", 2)
    assert told[SWAP]["took_ms"] == 700
    assert (told[TOPICS.event]["event_type"], told[TOPICS.event]["took_ms"]) == ("model_changed", 700)
    assert rig.desk.settings.model == "two"


def test_swap_of_one_camera_leaves_the_others(rig: Rig) -> None:
    """With a camera named, only that camera's model changes."""
    rig.command("model.swap", id="s", args={"model": "two", "camera": "back"})
    rig.ready("two")
    assert rig.desk.settings.model_of("back") == "two"
    assert rig.desk.settings.model_of("front") == "one"


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (ModelFailed("two", DeviceRejected("wrong chip")), "model_incompatible"),
        (DeviceDown(Fault.HUNG, "silent", None), "device_unavailable"),
        (None, "timeout"),
    ],
)
def test_failed_swap_is_rolled_back(rig: Rig, event: LinkEvent | None, code: str) -> None:
    """A swap that fails says why and that the old model runs, which it does."""
    before = rig.desk.settings
    rig.command("model.swap", id="s", args={"model": "two"}, timeout_s=5.0)
    rig.told()
    if event is None:
        rig.tick(5.0)
        assert rig.reply(SWAP)["status"] == "accepted"
        rig.tick()
    else:
        rig.event(event)
    reply = rig.reply(SWAP)
    assert (reply["status"], reply["error"]["code"], reply["rolled_back"]) == ("error", code, True)
    assert rig.desk.settings is before
    assert rig.desk.beside[-1] is None


def test_swap_to_what_runs_already_is_done(rig: Rig) -> None:
    """Asking for the state that is there changes nothing and succeeds."""
    rig.command("model.swap", args={"model": "one"})
    data = {"model": "one", "revision": 1, "restarted": [], "restart_required": False, "persisted": True}
    assert rig.reply(SWAP)["data"] == data
    assert rig.desk.beside == []


@pytest.mark.parametrize(
    ("args", "code", "field"),
    [
        ({"model": "nine"}, "model_not_found", "args.model"),
        ({"model": "two", "camera": "cellar"}, "unknown_camera", "args.camera"),
    ],
)
def test_swap_of_what_is_not_there_says_what_is(rig: Rig, args: dict[str, str], code: str, field: str | None) -> None:
    """An unknown model or camera is refused with the list of known ones, and nothing was changed or rolled back."""
    rig.command("model.swap", args=args)
    reply = rig.reply(SWAP)
    assert (reply["error"]["code"], reply["error"].get("field")) == (code, field)
    assert set(reply["error"]["allowed"]) in ({"one", "two", "three"}, {"front", "back"})
    assert "rolled_back" not in reply


def test_dry_run_changes_nothing(rig: Rig) -> None:
    """A dry run says whether the command would be taken, and leaves device and settings alone."""
    rig.command("model.swap", args={"model": "two"}, dry_run=True)
    rig.command("device.restart", dry_run=True)
    told = dict(rig.told())
    assert told[SWAP]["data"]["dry_run"] is True
    assert told[RESTART]["data"]["dry_run"] is True
    assert (rig.desk.revision, rig.desk.beside, rig.desk.restarts) == (1, [], [])
    rig.command("model.swap", args={"model": "nine"}, dry_run=True)
    assert rig.reply(SWAP)["status"] == "error"


@pytest.mark.parametrize("mode", ["soft", "reset"])
def test_restart_is_answered_when_the_device_serves(rig: Rig, mode: str) -> None:
    """A restart is answered once every model is back."""
    rig.command("device.restart", id="r", args={"mode": mode})
    assert rig.desk.restarts == [mode]
    assert rig.told() == []
    rig.ready("one")
    reply = rig.reply(RESTART)
    assert (reply["status"], reply["data"]) == ("ok", {"mode": mode})


def test_one_changing_command_at_a_time(rig: Rig) -> None:
    """Commands run in the order in which they came, the next when the one before has ended."""
    rig.command("model.swap", id="1", args={"model": "two"})
    rig.command("model.swap", id="2", args={"model": "three"})
    assert rig.desk.beside == ["two"]
    rig.ready("two")
    rig.tick()
    assert rig.desk.beside == ["two", None, "three"]
    rig.ready("three")
    replies = [document for topic, document in rig.told() if topic == SWAP]
    assert [(reply["id"], reply["status"]) for reply in replies] == [("1", "ok"), ("2", "ok")]
    assert rig.desk.settings.model == "three"


def test_too_many_waiting_commands_are_refused_as_busy(rig: Rig) -> None:
    """Sixteen commands wait; the next one is told to come back."""
    rig.command("device.restart", id="first")
    for number in range(COMMAND_QUEUE):
        rig.clock.advance(0.1)
        rig.command("device.restart", id=str(number))
    assert rig.told() == []
    rig.clock.advance(0.1)
    rig.command("device.restart", id="last")
    reply = rig.reply(RESTART)
    assert (reply["id"], reply["error"]["code"], reply["error"]["retryable"]) == ("last", "busy", True)


def test_busy_command_may_be_sent_again(rig: Rig) -> None:
    """A command that never ran is not held to have run: the same one, sent again later, is carried out."""
    rig.command("device.restart", id="first")
    for number in range(COMMAND_QUEUE):
        rig.clock.advance(0.1)
        rig.command("device.restart", id=str(number), timeout_s=3.0)
    rig.command("model.swap", id="again", args={"model": "one"})
    assert rig.reply(SWAP)["error"]["code"] == "busy"
    rig.tick(10.0)
    rig.ready("one")
    rig.tick()
    rig.told()
    rig.command("model.swap", id="again", args={"model": "one"})
    assert rig.reply(SWAP)["status"] == "ok"


def test_command_whose_time_is_over_before_its_turn_has_expired(rig: Rig) -> None:
    """A command that waited beyond its deadline is not run any more."""
    rig.command("device.restart", id="first")
    rig.command("model.swap", id="late", args={"model": "two"}, timeout_s=2.0)
    rig.tick(3.0)
    rig.told()
    rig.ready("one")
    rig.tick()
    replies = {document["id"]: document for _, document in rig.told()}
    assert replies["late"]["error"]["code"] == "expired"
    assert rig.desk.beside == []


def test_message_expiry_is_a_deadline(rig: Rig) -> None:
    """MQTT 5's message expiry bounds how long a command may take, as `timeout_s` does."""
    rig.send("cmd/model.swap", '{"id":"s","args":{"model":"two"}}', expiry=1.0)
    rig.tick(1.2)
    replies = [document["status"] for topic, document in rig.told() if topic == SWAP]
    assert replies[-1] == "error"


def test_revision_conflict_is_refused(rig: Rig) -> None:
    """Who changes settings on the strength of a revision that is no more is told so."""
    rig.command("model.swap", args={"model": "two"}, if_revision=7)
    assert rig.reply(SWAP)["error"]["code"] == "revision_conflict"
    assert rig.desk.beside == []
    rig.command("model.swap", args={"model": "two"}, if_revision=1)
    assert rig.desk.beside == ["two"]


def test_same_command_is_not_run_twice(rig: Rig) -> None:
    """A repeated id with the same content is answered as before, or not while it runs; other content is a new one."""
    rig.command("model.swap", id="s", args={"model": "two"})
    rig.command("model.swap", id="s", args={"model": "two"})
    assert rig.desk.beside == ["two"]
    rig.ready("two")
    rig.told()
    rig.tick()
    rig.command("model.swap", id="s", args={"model": "two"})
    again = rig.reply(SWAP)
    assert (again["status"], again["data"]["revision"]) == ("ok", 2)
    assert rig.desk.revision == 2
    rig.command("model.swap", id="s", args={"model": "three"})
    assert rig.desk.beside[-1] == "three"


def test_flood_is_rate_limited(rig: Rig) -> None:
    """Beyond sixteen at once and ten a second commands are refused, and later they are taken again."""
    for number in range(20):
        rig.command("ping", id=str(number))
    codes = [document.get("error", {}).get("code") for _, document in rig.told()]
    assert codes == [None] * 16 + ["rate_limited"] * 4
    rig.clock.advance(1.0)
    rig.command("ping", id="later")
    assert rig.reply(PING)["status"] == "ok"


@pytest.mark.parametrize(
    ("key", "payload", "value"), [("threshold", "0.7", 0.7), ("enabled", "OFF", False), ("max_fps", "5", 5.0)]
)
def test_setting_a_value_changes_one_camera(rig: Rig, key: str, payload: str, value: object) -> None:
    """A set makes a new revision with that value of that camera, and has no reply of its own."""
    rig.send(f"cam/front/set/{key}", payload)
    assert getattr(rig.desk.settings.cameras["front"], key) == value
    assert rig.desk.settings.cameras["back"] == FakeDesk().settings.cameras["back"]
    assert rig.desk.revision == 2
    assert rig.told() == []
    rig.send(f"cam/front/set/{key}", payload)
    assert rig.desk.revision == 2


@pytest.mark.parametrize(
    ("topic", "payload", "code"),
    [
        ("cam/front/set/threshold", "7", "out_of_range"),
        ("cam/front/set/threshold", "0.06", "out_of_range"),
        ("cam/front/set/threshold", "much", "bad_args"),
        ("cam/cellar/set/threshold", "0.5", "unknown_camera"),
        ("cam/front/set/colour", "red", "unknown_command"),
    ],
)
def test_refused_value_snaps_back(rig: Rig, topic: str, payload: str, code: str) -> None:
    """A set that is refused is told as an event, and the settings are told again so that the control jumps back."""
    before = rig.desk.settings
    rig.send(topic, payload)
    ((where, event),) = rig.told()
    assert (where, event["event_type"], event["code"]) == (TOPICS.event, "command_failed", code)
    assert rig.desk.told == 1
    assert rig.desk.settings is before


def test_retained_command_is_refused_and_cleared(rig: Rig) -> None:
    """What the broker kept is not run; it is told, and cleared so that it does not come back."""
    rig.send("cmd/device.restart", '{"id":"old"}', retain=True)
    told = rig.told()
    assert rig.desk.restarts == []
    assert (f"{TOPICS.base}/cmd/device.restart", None) in told
    assert [document["error"]["code"] for topic, document in told if topic == RESTART] == ["retained_ignored"]
    assert [document["code"] for topic, document in told if topic == TOPICS.event] == ["retained_ignored"]


@pytest.mark.parametrize("payload", [b"", b"\xff", b"[]", b"{", b'{"id":1}', b"x" * 9000, b'{"args":' * 100])
def test_nonsense_is_answered_or_ignored(rig: Rig, payload: bytes) -> None:
    """Whatever comes in as a command, nothing is run and the next command is taken."""
    rig.send("cmd/device.restart", payload)
    assert rig.desk.restarts == []
    rig.told()
    rig.command("ping", id="next")
    assert rig.reply(PING)["status"] == "ok"


def test_lending_is_told_in_full(rig: Rig) -> None:
    """A release is answered when the device is free, and an acquire when it serves again."""
    rig.command("device.release", id="r", args={"for_s": 600})
    assert rig.told() == []
    rig.event(DeviceReleased())
    rig.desk.released = True
    reply = rig.reply(RELEASE)
    assert (reply["status"], reply["data"]["for_s"]) == ("ok", 600)
    assert reply["data"]["until"] == rig.clock.wall() + 600
    rig.command("device.acquire", id="a")
    rig.ready("one")
    assert rig.reply(TOPICS.reply("device.acquire"))["status"] == "ok"


def test_dry_run_lends_nothing(rig: Rig) -> None:
    """A rehearsal says that the command would be taken, and does nothing."""
    rig.command("device.release", dry_run=True)
    assert rig.reply(RELEASE)["data"] == {"for_s": 3600, "dry_run": True}
    rig.command("device.acquire", dry_run=True)
    assert (rig.desk.lent, rig.desk.acquired) == ([], 0)


@pytest.mark.parametrize(("name", "args"), [("device.restart", {"mode": "reset"}), ("model.swap", {"model": "two"})])
def test_what_needs_the_device_is_refused_while_it_is_lent(rig: Rig, name: str, args: object) -> None:
    """No command takes the device from its borrower but the one that says so, and the refusal says until when."""
    rig.desk.released, rig.desk.released_until = True, rig.clock.wall() + 600
    rig.command(name, args=args)
    error = rig.reply(TOPICS.reply(name))["error"]
    assert (error["code"], error["retryable"]) == ("device_unavailable", True)
    assert "until " in error["message"]
    assert (rig.desk.restarts, rig.desk.beside, rig.desk.revision) == ([], [], 1)
    rig.command("model.swap", args={"model": "one"})
    assert rig.reply(SWAP)["status"] == "ok"


def test_switch_that_cannot_be_turned_jumps_back(rig: Rig) -> None:
    """A switch has no reply: what it asked for is done in silence, or told as an event and put right."""
    rig.send("set/device", "OFF")
    rig.event(DeviceReleased())
    assert rig.desk.lent == [3600.0]
    assert (rig.told(), rig.desk.told) == ([], 0)
    rig.desk.released = True
    rig.send("set/device", "ON")
    rig.event(DeviceDown(Fault.UNAVAILABLE, "in use", 1.0))
    ((topic, event),) = rig.told()
    assert (topic, event["event_type"], event["code"]) == (TOPICS.event, "command_failed", "device_unavailable")
    assert rig.desk.told == 1


def test_command_waits_for_the_disk_and_the_next_one_for_it(rig: Rig) -> None:
    """A swap is answered when it is on the disk, its event comes then, and the next command is begun at once."""
    rig.desk.tickets = [1, 2]
    rig.desk.serving.add("two")
    rig.command("model.swap", id="s", args={"model": "two"})
    rig.send("cam/front/set/threshold", "0.7")
    assert [event["event_type"] for topic, event in rig.told() if topic == TOPICS.event] == ["model_changing"]
    assert rig.desk.settings.cameras["front"].threshold == 0.5
    rig.commands.saver_event(StateSaved(1))
    told = rig.told()
    (reply,) = [document for topic, document in told if topic == SWAP]
    assert (reply["status"], reply["data"]["persisted"]) == ("ok", True)
    assert [event["event_type"] for topic, event in told if topic == TOPICS.event] == ["model_changed"]
    assert rig.desk.settings.cameras["front"].threshold == 0.7
    assert len(rig.desk.shown) == 1
    rig.commands.saver_event(StateSaved(2))
    assert len(rig.desk.shown) == 2
    assert rig.desk.kept == {"model": "two", "cameras.front.threshold": 0.7}


def test_command_that_the_disk_refused_is_ok_and_says_so(rig: Rig) -> None:
    """The change runs; the reply says that it does not survive a restart, and why."""
    rig.desk.tickets = [1]
    rig.desk.serving.add("two")
    rig.command("model.swap", id="s", args={"model": "two"})
    rig.tick(ACCEPT_AFTER_S + 0.1)
    assert rig.reply(SWAP)["status"] == "accepted"
    rig.commands.saver_event(StateUnsaved(1, "No space left on device", "make room"))
    reply = rig.reply(SWAP)
    assert reply["status"] == "ok"
    assert (reply["data"]["persisted"], reply["data"]["reason"]) == (False, "No space left on device")
    assert rig.desk.settings.model == "two"


def test_command_may_ask_not_to_be_kept(rig: Rig) -> None:
    """`persist: false` changes what runs and nothing on the disk."""
    rig.desk.tickets = [1]
    rig.desk.serving.add("two")
    rig.command("model.swap", id="s", persist=False, args={"model": "two", "camera": "back"})
    assert rig.reply(SWAP)["data"]["persisted"] is False
    assert rig.desk.settings.model_of("back") == "two"
    assert rig.desk.kept == {}
