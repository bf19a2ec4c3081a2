"""The daemon as its users run it: a child process, a real broker, the simulated device in a process of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.broker import Broker, Observer, Seen
from tests.support.daemon import BASE, FRONT, SEES_TWO, Daemon
from tests.support.waiting import wait_for

SECRET = "s3cr3t-p4ss"

ONE_CAMERA = """
[models.two]
path = "two.sim.toml"
[cameras.front]
source = "synthetic:?size=320x240&fps=20"
"""

TWO_MODELS = """
[models.two]
path = "two.sim.toml"
[models.other]
path = "other.sim.toml"
[models.broken]
path = "broken.onnx"
[cameras.front]
source = "synthetic:?size=320x240&fps=20"
"""
DEFAULT_TWO = 'model = "two"\n'


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as running:
        yield running


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "two.sim.toml").write_text(SEES_TWO)
    (tmp_path / "other.sim.toml").write_text(SEES_TWO.replace('"person", "car"', '"cat", "dog"'))
    (tmp_path / "broken.onnx").write_bytes(b"this is no model")
    return tmp_path


def health(observer: Observer) -> dict[str, object]:
    seen = observer.of(f"{BASE}/health")
    document: dict[str, object] = seen[-1].json if seen else {"state": None, "reasons": []}
    return document


def last(observer: Observer, topic: str) -> Seen:
    """The newest message on `topic`; waits for the first."""
    return observer.wait_for(topic)[-1]


def codes(observer: Observer) -> set[str]:
    return {reason["code"] for reason in health(observer)["reasons"]}  # type: ignore[attr-defined]


def test_main_job(models: Path, broker: Broker) -> None:
    """Frames come in, detections go out with labels and boxes, and everything of state is told before `online`."""
    with Observer(broker.port, "hailod/#") as observer, Daemon(models, broker, ONE_CAMERA) as daemon:
        detections = observer.wait_for(f"{FRONT}/detections", 3)[-1].json
        assert [(d["l"], d["s"]) for d in detections["dets"]] == [("person", 0.9), ("car", 0.6)]
        # Letterboxed 320x240 into 128x96: the same aspect, so the scripted boxes come back as they are.
        assert detections["dets"][0]["b"] == pytest.approx([0.1, 0.2, 0.3, 0.8], abs=0.002)
        assert (detections["w"], detections["h"], detections["model"]) == (320, 240, "two")
        wait_for(lambda: [m.payload for m in observer.of(f"{FRONT}/status")][-1:] == [b"online"], what="camera online")
        assert wait_for(lambda: last(observer, f"{FRONT}/state").json["objects"]) == {"car": 1, "person": 1}
        topics = [message.topic for message in observer.seen]
        for name in ("info", "models", "settings", "health"):
            assert topics.index(f"{BASE}/{name}") < topics.index(f"{BASE}/status")
        info = wait_for(lambda: [m.json for m in observer.of(f"{BASE}/info") if m.json["device"]["arch"]])[-1]
        assert info["device"]["simulated"] is True
        metrics = observer.wait_for(f"{BASE}/metrics", 3)[-1].json
        assert metrics["fps"] == pytest.approx(20, abs=6)
        assert daemon.stop() == 0
        assert observer.wait_for(f"{BASE}/status", 2)[-1].payload == b"offline"
    assert "frames accounted for" in daemon.output


def test_interface_is_told_and_kept_to(models: Path, broker: Broker) -> None:
    """A node publishes the form of all that it says and takes, with every flag as the interface has it, and lines of
    its log for those who asked for them."""
    with (
        Observer(broker.port, "hailod/#", "homeassistant/#", as_published=True) as observer,
        Daemon(models, broker, ONE_CAMERA, mqtt='log = "warning"\n') as daemon,
    ):
        index = last(observer, f"{BASE}/schema/index").json
        for name in (*index["documents"], *index["commands"]):
            assert last(observer, f"{BASE}/schema/{name}").json["$schema"] == index["dialect"]
        observer.wait_for(f"{BASE}/status")
        observer.publish(f"{BASE}/cmd/no.such", '{"id":"1"}')
        observer.wait_for(f"{BASE}/reply/no.such")
        lines = observer.wait_for(f"{BASE}/log")
        assert (lines[0].json["level"], lines[0].json["text"]) == ("warning", "message refused")
        observer.wait_for(f"{FRONT}/detections")
        assert daemon.stop() == 0


def test_killed_host_is_replaced(models: Path, broker: Broker) -> None:
    """kill -9 of the device host: health says so, a new one starts, cameras and MQTT stay up, detections go on."""
    with Observer(broker.port, "hailod/#") as observer, Daemon(models, broker, ONE_CAMERA) as daemon:
        observer.wait_for(f"{FRONT}/detections", 2)
        first = daemon.host
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: set(daemon.hosts()) - {first}, what="another host runs")
        wait_for(lambda: "device_lost" in daemon.output, what="the loss is told")
        count = len(observer.of(f"{FRONT}/detections"))
        observer.wait_for(f"{FRONT}/detections", count + 3)
        wait_for(lambda: health(observer)["state"] == "ok", what="health is ok again")
        assert health(observer)["device_restarts"] == 1
        assert [m.payload for m in observer.of(f"{BASE}/status")] == [b"online"]
        assert daemon.output.count("camera online") == 1
        assert daemon.stop() == 0


def test_stopped_host_is_replaced(models: Path, broker: Broker) -> None:
    """kill -STOP of the device host is noticed at once, and a process that cannot answer is killed and replaced."""
    with Observer(broker.port, "hailod/#") as observer, Daemon(models, broker, ONE_CAMERA) as daemon:
        observer.wait_for(f"{FRONT}/detections", 2)
        first = daemon.host
        os.kill(first, signal.SIGSTOP)
        wait_for(lambda: set(daemon.hosts()) - {first}, what="another host runs")
        count = len(observer.of(f"{FRONT}/detections"))
        observer.wait_for(f"{FRONT}/detections", count + 3)
        assert "device_hung" in daemon.output
        assert daemon.stop() == 0


def test_broker_outage(models: Path, broker: Broker) -> None:
    """While the broker is away inference goes on; when it is back with an empty store it is told everything again."""
    with Daemon(models, broker, ONE_CAMERA) as daemon:
        with Observer(broker.port, "hailod/#") as observer:
            before = observer.wait_for(f"{BASE}/metrics", 3)[-1].json["frames_total"]
        broker.stop()
        wait_for(lambda: "broker_down" in daemon.output, what="the outage is logged")
        broker.start()
        with Observer(broker.port, "hailod/#") as observer:
            observer.wait_for(f"{BASE}/status", timeout=20)
            told = {message.topic for message in observer.seen}
            wanted = {f"{BASE}/{name}" for name in ("info", "models", "settings", "health", "status")}
            assert wanted | {f"{FRONT}/{name}" for name in ("status", "state", "settings")} <= told
            after = observer.wait_for(f"{BASE}/metrics", 2)[-1].json["frames_total"]
            assert after > before
            assert daemon.stop() == 0
    assert daemon.output.count("device open") == 1


def test_camera_settings_over_mqtt(models: Path, broker: Broker) -> None:
    """enabled, threshold and max_fps change at once; a refused value snaps back and says why."""
    with Observer(broker.port, "hailod/#") as observer, Daemon(models, broker, ONE_CAMERA) as daemon:
        observer.wait_for(f"{FRONT}/detections", 2)
        observer.publish(f"{FRONT}/set/threshold", "0.7")
        wait_for(lambda: last(observer, f"{FRONT}/settings").json["threshold"] == 0.7, what="the new threshold is told")
        wait_for(lambda: len(last(observer, f"{FRONT}/detections").json["dets"]) == 1, what="only the person is left")

        told = len(observer.of(f"{FRONT}/settings"))
        observer.publish(f"{FRONT}/set/threshold", "7")
        event = observer.wait_for(f"{BASE}/event")[-1].json
        assert (event["event_type"], event["code"], event["field"]) == ("command_failed", "out_of_range", "threshold")
        assert observer.wait_for(f"{FRONT}/settings", told + 1)[-1].json["threshold"] == 0.7

        observer.publish(f"{FRONT}/set/enabled", "OFF")
        wait_for(lambda: last(observer, f"{FRONT}/status").payload == b"disabled", what="the camera is disabled")
        observer.publish(f"{FRONT}/set/enabled", "ON")
        wait_for(lambda: last(observer, f"{FRONT}/status").payload == b"online", what="the camera is back")

        observer.publish(f"{FRONT}/set/max_fps", "2")
        wait_for(lambda: last(observer, f"{FRONT}/settings").json["max_fps"] == 2, what="the new rate is told")
        wait_for(
            lambda: 1.0 <= last(observer, f"{BASE}/metrics").json["cameras"]["front"]["fps_out"] <= 3.0,
            what="two frames a second are run",
        )
        assert daemon.stop() == 0


def test_commands_are_answered(models: Path, broker: Broker) -> None:
    """Every command gets a reply with its id, on its own topic or the one it names."""
    with Observer(broker.port, "hailod/#") as observer, Daemon(models, broker, ONE_CAMERA) as daemon:
        observer.wait_for(f"{FRONT}/detections")
        observer.publish(
            f"{BASE}/cmd/ping", '{"id":"a","args":[1]}', ResponseTopic="hailod/client/me", CorrelationData=b"\x01\x02"
        )
        reply = observer.wait_for("hailod/client/me")[0]
        assert (reply.json["id"], reply.json["status"], reply.json["data"]) == ("a", "ok", [1])
        assert reply.correlation == b"\x01\x02"
        observer.publish(f"{BASE}/cmd/device.restart", '{"id":"r","args":{"mode":"reset"}}')
        restarted = wait_for(
            lambda: [m.json for m in observer.of(f"{BASE}/reply/device.restart") if m.json["status"] != "accepted"],
            what="the restart is answered",
        )[0]
        assert (restarted["id"], restarted["status"]) == ("r", "ok")
        wait_for(lambda: health(observer)["state"] == "ok", what="health is ok again")
        assert "device_lost" not in daemon.output
        observer.publish(f"{BASE}/cmd/no.such", "{}")
        assert observer.wait_for(f"{BASE}/reply/no.such")[0].json["error"]["code"] == "unknown_command"
        assert daemon.stop() == 0


def test_model_swap(models: Path, broker: Broker) -> None:
    """A swap switches between two frames and says what it cost; one that fails leaves the old model running."""
    with Observer(broker.port, "hailod/#") as observer, Daemon(models, broker, TWO_MODELS, head=DEFAULT_TWO) as daemon:
        observer.wait_for(f"{FRONT}/detections")

        def swapped(name: str, number: int) -> dict[str, object]:
            observer.publish(f"{BASE}/cmd/model.swap", f'{{"id":"{number}","args":{{"model":"{name}"}}}}')
            topic = f"{BASE}/reply/model.swap"
            final: list[dict[str, object]] = wait_for(
                lambda: [m.json for m in observer.of(topic) if m.json["id"] == str(number) and "took_ms" in m.json],
                what=f"the swap to {name} is answered",
            )
            return final[0]

        done = swapped("other", 1)
        assert done["status"] == "ok"
        assert done["data"]["model"] == "other"  # type: ignore[index]
        assert done["data"]["gap_ms"] > 0  # type: ignore[index]
        wait_for(lambda: last(observer, f"{FRONT}/detections").json["model"] == "other", what="the new model sees")
        assert last(observer, f"{FRONT}/detections").json["dets"][0]["l"] == "cat"
        assert last(observer, f"{BASE}/settings").json["model"] == "other"

        unknown = swapped("nothing", 2)
        assert unknown["error"]["code"] == "model_not_found"  # type: ignore[index]
        assert unknown["error"]["allowed"] == ["broken", "other", "two"]  # type: ignore[index]

        broken = swapped("broken", 3)
        assert broken["error"]["code"] == "model_incompatible"  # type: ignore[index]
        assert broken["rolled_back"] is True
        count = len(observer.of(f"{FRONT}/detections"))
        assert observer.wait_for(f"{FRONT}/detections", count + 2)[-1].json["model"] == "other"
        assert daemon.stop() == 0


def test_retained_command_is_not_run(models: Path, broker: Broker) -> None:
    """A retained command is refused, told and cleared, so that it cannot come back at every start."""
    with Observer(broker.port, "hailod/#") as observer:
        observer.publish(f"{BASE}/cmd/device.restart", '{"id":"old"}', retain=True)
        with Daemon(models, broker, ONE_CAMERA) as daemon:
            observer.wait_for(f"{FRONT}/detections")
            observer.publish(f"{BASE}/cmd/device.restart", '{"id":"live"}', retain=True)
            reply = observer.wait_for(f"{BASE}/reply/device.restart")[0].json
            assert reply["error"]["code"] == "retained_ignored"
            wait_for(lambda: last(observer, f"{BASE}/cmd/device.restart").payload == b"", what="the topic is cleared")
            assert "model unloaded" not in daemon.output
            assert daemon.stop() == 0


def test_without_hailo_platform(models: Path, broker: Broker) -> None:
    """With the default backend and no library the daemon runs, says what to install, and publishes no detection."""
    with (
        Observer(broker.port, "hailod/#") as observer,
        Daemon(models, broker, ONE_CAMERA, device="") as daemon,
    ):
        wait_for(lambda: "device_unavailable" in codes(observer), what="health says that the device is unavailable")
        text = " ".join(reason["text"] for reason in health(observer)["reasons"])  # type: ignore[attr-defined]
        assert "hailo-all" in text
        assert "hailo-h10-all" in text
        observer.wait_for(f"{BASE}/metrics", 3)
        assert observer.of(f"{FRONT}/detections") == []
        assert last(observer, f"{BASE}/info").json["device"]["simulated"] is False
        assert daemon.process.poll() is None
        assert daemon.stop() == 0
    assert daemon.output.count("device_unavailable") == 1


def test_password_in_camera_url_stays_here(models: Path, broker: Broker) -> None:
    """A camera that refuses us leaves its password in no message, log line, traceback or process list."""
    camera = f"""
[models.two]
path = "two.sim.toml"
[cameras.front]
source = "rtsp://viewer:{SECRET}@127.0.0.1:9/cam?token={SECRET}x"
"""
    with Observer(broker.port, "#") as observer, Daemon(models, broker, camera) as daemon:
        wait_for(lambda: "camera_lost" in codes(observer), what="the camera is lost")
        wait_for(lambda: last(observer, f"{FRONT}/status").payload == b"offline", what="its status is offline")
        for pid in os.listdir("/proc"):
            if pid.isdigit() and int(pid) != os.getpid() and Path(f"/proc/{pid}/cmdline").exists():
                assert SECRET.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert daemon.stop() == 0
        assert not [message for message in observer.seen if SECRET.encode() in message.payload]
    assert SECRET not in daemon.output
    assert "127.0.0.1" in daemon.output


def test_bad_configuration_is_refused(models: Path, broker: Broker) -> None:
    """Unknown keys and bad values end the start with exit code 78 and one line each: file, key, value, allowed."""
    wrong = ONE_CAMERA + "treshold = 0.5\nmax_fps = -1\n"
    with Daemon(models, broker, wrong) as daemon:
        assert daemon.wait() == 78
    assert "cameras.front.treshold" in daemon.output
    assert "threshold" in daemon.output
    assert "cameras.front.max_fps" in daemon.output
    assert str(daemon.path) in daemon.output


def test_missing_model_file_is_refused(tmp_path: Path, broker: Broker) -> None:
    """A model file that does not exist is a configuration error that names it."""
    with Daemon(tmp_path, broker, ONE_CAMERA) as daemon:
        assert daemon.wait() == 78
    assert "two.sim.toml" in daemon.output
    assert "models.two" in daemon.output
