"""Commands that change settings: all or nothing, in the words of the files, and never what must not be set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import SecretStr

from hailod.config.load import Loaded
from hailod.config.model import CameraSettings, MqttSettings, Settings
from hailod.config.store import Overrides
from hailod.control.commands import ACCEPT_AFTER_S
from hailod.device.events import ModelFailed, ModelLost
from hailod.device.recovery import Rung
from hailod.errors import ConfigError, DeviceRejected, ModelError
from hailod.mqtt.commands import COMMANDS
from tests.support.commanding import TOPICS, Rig
from tests.support.desk import settings

URL = "rtsp://user:geh%eim@192.0.2.1/live?token=geheim2"


@pytest.fixture
def rig() -> Rig:
    return Rig()


def events(told: list[tuple[str, Any]]) -> list[str]:
    return [document["event_type"] for topic, document in told if topic == TOPICS.event]


class TestSet:
    def test_any_number_of_settings_are_set_together(self, rig: Rig) -> None:
        """Node, models and cameras change in one revision, are kept, and the reply says what was restarted."""
        args = {
            "node": {"log_level": "debug", "device": {"recovery": {"frame_retries": 2}}},
            "models": {"three": {"batch_size": 4}},
            "cameras": {"front": {"threshold": 0.7, "crop": [0, 0, 0.5, 1]}, "back": {"labels": ["person"]}},
        }
        reply = rig.ask("settings.set", args)
        told = {"restarted": ["cameras.front"], "restart_required": False, "revision": 2, "persisted": True}
        assert (reply["status"], reply["data"]) == ("ok", told)
        changed = rig.desk.settings
        assert (changed.log_level, changed.device.recovery.frame_retries) == ("debug", 2)
        assert changed.models["three"].batch_size == 4
        assert changed.cameras["front"].crop == (0.0, 0.0, 0.5, 1.0)
        assert rig.desk.kept == {
            "log_level": "debug",
            "device.recovery.frame_retries": 2,
            "models.three.batch_size": 4,
            "cameras.front.threshold": 0.7,
            "cameras.front.crop": [0, 0, 0.5, 1],
            "cameras.back.labels": ["person"],
        }

    @pytest.mark.parametrize(
        ("args", "code", "field", "words"),
        [
            ({"cameras": {"front": {"threshold": 7}}}, "out_of_range", "cameras.front.threshold", "from 0.05 to 0.95"),
            ({"cameras": {"front": {"threshold": 0.06}}}, "out_of_range", "cameras.front.threshold", "drops scores"),
            ({"cameras": {"front": {"threshold": "0.5"}}}, "bad_args", "cameras.front.threshold", "must be a number"),
            ({"cameras": {"front": {"enabled": "perhaps"}}}, "bad_args", "cameras.front.enabled", "true or false"),
            ({"cameras": {"front": {"rotate": 45}}}, "bad_args", "cameras.front.rotate", "one of 0, 90, 180, 270"),
            ({"cameras": {"front": {"crop": [1, 1, 0, 0]}}}, "bad_args", "cameras.front.crop", "x1 < x2"),
            ({"cameras": {"front": {"treshold": 1}}}, "bad_args", "cameras.front.treshold", "no such setting"),
            ({"cameras": {"front": {"threshold": {"a": 1}}}}, "bad_args", "cameras.front.threshold", "must be"),
            ({"cameras": {"cellar": {"threshold": 0.5}}}, "unknown_camera", "cameras.cellar", "no camera 'cellar'"),
            ({"cameras": {"front": {"model": "nine"}}}, "model_not_found", "cameras.front.model", "no such model"),
            ({"cameras": {"front": {"source": URL}}}, "forbidden", "cameras.front.source", "not set over MQTT"),
            ({"models": {"nine": {"batch_size": 1}}}, "model_not_found", "models.nine", "no model 'nine'"),
            ({"models": {"one": {"batch_size": 0}}}, "out_of_range", "models.one.batch_size", "a whole number"),
            ({"models": {"one": {"batch_size": 1.5}}}, "bad_args", "models.one.batch_size", "a whole number"),
            ({"models": {"one": {"path": "/etc/shadow"}}}, "forbidden", "models.one.path", "not set over MQTT"),
            ({"models": {"one": {"labels": "/etc/shadow"}}}, "forbidden", "models.one.labels", "not set over MQTT"),
            ({"node": {"log_level": "loud"}}, "bad_args", "log_level", "must be one of"),
            ({"node": {"mqtt": {"host": "evil"}}}, "forbidden", "mqtt.host", "not set over MQTT"),
            ({"node": {"mqtt": {"password": "x"}}}, "forbidden", "mqtt.password", "not set over MQTT"),
            ({"node": {"device": {"backend": "hailo"}}}, "forbidden", "device.backend", "not set over MQTT"),
            ({"node": {"state_dir": "/tmp"}}, "forbidden", "state_dir", "not set over MQTT"),
            ({"node": {"node": "other"}}, "forbidden", "node", "not set over MQTT"),
            ({"node": {"cameras": {}}}, "bad_args", "node.cameras", "a place of their own"),
            ({"node": {"colour": 1}}, "bad_args", "colour", "no such setting"),
            ({}, "bad_args", "args", "nothing to set"),
            ({"cameras": {"FRONT": {}}}, "bad_args", "args.cameras", "pattern"),
        ],
    )
    def test_what_cannot_be_is_refused_whole(
        self, rig: Rig, args: dict[str, Any], code: str, field: str, words: str
    ) -> None:
        """One wrong value is told with its place and what is allowed, and nothing of the rest is done."""
        before = rig.desk.settings
        if "cameras" in args and "FRONT" not in args["cameras"]:
            args = {**args, "cameras": {"back": {"enabled": False}, **args["cameras"]}}
        error = rig.ask("settings.set", args)["error"]
        assert (error["code"], error["field"]) == (code, field)
        assert words in error["message"]
        assert "geh" not in json.dumps(error)
        assert (rig.desk.settings is before, rig.desk.kept) == (True, {})

    def test_refusal_says_what_is_allowed(self, rig: Rig) -> None:
        """Ranges in words, names as a list."""
        error = rig.ask("settings.set", {"models": {"one": {"batch_size": 99}}})["error"]
        assert error["allowed"][0].startswith("a whole number from 1 to ")
        error = rig.ask("settings.set", {"cameras": {"cellar": {}, "front": {"enabled": False}, "attic": {"fps": 1}}})
        assert error["error"]["allowed"] == ["back", "front"]

    def test_what_is_so_already_changes_nothing(self, rig: Rig) -> None:
        """A value that is set already is `ok` and no new revision."""
        assert rig.ask("settings.set", {"cameras": {"front": {"threshold": 0.5}}})["data"]["revision"] == 1

    def test_bigger_batches_are_proven_or_taken_back(self, rig: Rig) -> None:
        """A model in use is loaded beside itself; when it is refused the old settings run and the reply says so."""
        args = {"models": {"one": {"batch_size": 8}}}
        assert rig.ask("settings.set", args) is None
        assert rig.desk.beside == ["one"]
        rig.event(ModelFailed("one", DeviceRejected("too big")))
        reply = rig.reply(TOPICS.reply("settings.set"))
        assert (reply["error"]["code"], reply["rolled_back"]) == ("model_incompatible", True)
        assert (rig.desk.settings.models["one"].batch_size, rig.desk.kept) == (1, {})
        assert rig.ask("settings.set", args) is None
        rig.ready("one")
        reply = rig.reply(TOPICS.reply("settings.set"))
        assert (reply["data"]["restarted"], reply["data"]["gap_ms"]) == (["models.one"], 250.0)
        assert rig.desk.settings.models["one"].batch_size == 8


class TestProof:
    def swap(self, rig: Rig) -> None:
        """A swap whose model is in service and has yet to deliver."""
        rig.desk.proof = False
        rig.command("model.swap", id="s", args={"model": "two"})
        rig.ready("two")
        assert rig.desk.settings.model == "two"
        assert [topic for topic, _ in rig.told() if topic == TOPICS.reply("model.swap")] == []

    def test_swap_succeeds_with_the_first_inference(self, rig: Rig) -> None:
        """While frames flow a swapped model has to complete one before the swap is done; the old one waits beside."""
        self.swap(rig)
        rig.tick()
        assert rig.desk.beside == ["two"]
        rig.desk.proof = True
        rig.tick()
        reply = rig.reply(TOPICS.reply("model.swap"))
        assert (reply["status"], reply["data"]["proven"], rig.desk.kept) == ("ok", True, {"model": "two"})
        assert rig.desk.beside == ["two", None]

    def test_without_frames_there_is_nothing_to_wait_for(self, rig: Rig) -> None:
        """Where no camera delivers, a model in service is all that can be had, and the reply says it."""
        self.swap(rig)
        rig.desk.proof = None
        rig.tick()
        assert rig.reply(TOPICS.reply("model.swap"))["data"]["proven"] is False

    @pytest.mark.parametrize(
        ("event", "code"), [(None, "timeout"), (ModelLost("two", "it aborted", Rung.SESSION), "model_incompatible")]
    )
    def test_swap_that_delivers_nothing_goes_back(self, rig: Rig, event: ModelLost | None, code: str) -> None:
        """A model that fails or stays silent beyond the deadline is taken back, and nothing of it is kept."""
        self.swap(rig)
        if event is None:
            rig.tick(61.0)
        else:
            rig.event(event)
        reply = [document for topic, document in rig.told() if topic == TOPICS.reply("model.swap")][-1]
        assert (reply["error"]["code"], reply["rolled_back"]) == (code, True)
        assert (rig.desk.settings.model, rig.desk.kept, rig.desk.beside[-1]) == ("one", {}, None)
        assert rig.desk.shown[-1].model == "one"


class TestGetAndReset:
    def test_settings_are_told_without_secrets(self, rig: Rig) -> None:
        """What may be set is told with its values, sources without credentials, and what was set by whom."""
        front = CameraSettings(source=SecretStr(URL))
        secret = rig.desk.settings.model_copy(
            update={"cameras": {"front": front}, "mqtt": MqttSettings(password=SecretStr("geheim"))}
        )
        rig.desk.settings = secret
        rig.ask("settings.set", {"node": {"log_level": "debug"}})
        data = rig.ask("settings.get")["data"]
        assert (data["revision"], data["set"]) == (2, ["log_level"])
        assert data["settings"]["cameras"]["front"]["source"] == "rtsp://***@192.0.2.1/live?token=***"
        assert data["settings"]["models"]["one"]["batch_size"] == 1
        assert not {"mqtt", "state_dir", "node"} & data["settings"].keys()
        assert "geh" not in json.dumps(data)
        assert rig.ask("settings.get", {"path": "cameras.front.threshold"})["data"]["settings"] == {
            "cameras": {"front": {"threshold": 0.5}}
        }

    def test_settings_of_many_cameras_fit_into_a_reply(self, rig: Rig) -> None:
        """Of many cameras what they have by default is left out, and what still does not fit is asked for in parts."""
        many = {f"camera-{number}": CameraSettings(source=SecretStr("synthetic:")) for number in range(60)}
        rig.desk.settings = settings(cameras=many)
        data = rig.ask("settings.get")["data"]
        assert "omitted" in data
        assert data["settings"]["cameras"]["camera-59"] == {"source": "synthetic:"}
        long = {name: CameraSettings(source=SecretStr("synthetic:" + "x" * 300)) for name in many}
        rig.desk.settings = settings(cameras=long)
        assert rig.ask("settings.get")["error"]["code"] == "too_large"

    def test_reset_returns_to_the_files(self, rig: Rig) -> None:
        """All of what was set, or what lies at a path, is as the files say again, also on the disk."""
        rig.ask("settings.set", {"cameras": {"front": {"threshold": 0.7, "max_fps": 3}, "back": {"enabled": False}}})
        rig.ask("settings.set", {"cameras": {"back": {"threshold": 0.6}}}, persist=False)
        assert rig.ask("settings.reset", {"path": "cameras.front.threshold"})["status"] == "ok"
        assert rig.desk.settings.cameras["front"].threshold == 0.5
        assert rig.desk.settings.cameras["front"].max_fps == 3
        assert set(rig.desk.overrides.values) == {"cameras.front.max_fps", "cameras.back.enabled"}
        assert rig.ask("settings.reset", {"path": "colour"})["error"]["code"] == "bad_args"
        assert rig.ask("settings.reset")["data"]["revision"] == 5
        assert rig.desk.settings == rig.desk.files
        assert rig.desk.overrides.values == {}

    def test_reset_of_what_was_added_goes_back_to_how_it_came(self, rig: Rig) -> None:
        """A camera that was added is as it was added, or with all else gone."""
        rig.ask("camera.add", {"camera": "porch", "source": "synthetic:", "settings": {"threshold": 0.6}})
        rig.ask("settings.set", {"cameras": {"porch": {"threshold": 0.9}}})
        rig.ask("settings.reset", {"path": "cameras.porch.threshold"})
        assert rig.desk.settings.cameras["porch"].threshold == 0.6
        rig.ask("settings.reset", {"path": "cameras"})
        assert rig.desk.settings == rig.desk.files
        assert rig.desk.overrides.tables == {}


class TestCameras:
    def test_camera_comes_with_its_settings_and_its_password_stays_secret(self, rig: Rig) -> None:
        """A new camera is kept whole, the others are not touched, and no message holds a part of its URL."""
        more = {"threshold": 0.6, "rotate": 90}
        rig.command("camera.add", id="a", args={"camera": "porch", "source": URL, "settings": more})
        told = rig.told()
        (reply,) = [document for topic, document in told if topic == TOPICS.reply("camera.add")]
        assert (reply["data"]["camera"], reply["data"]["restarted"]) == ("porch", ["cameras.porch"])
        porch = rig.desk.settings.cameras["porch"]
        assert (porch.source.get_secret_value(), porch.threshold, porch.rotate) == (URL, 0.6, 90)
        assert rig.desk.overrides.tables == {"cameras.porch": {"source": URL, **more}}
        assert "geh" not in json.dumps(told)

    @pytest.mark.parametrize(
        ("args", "code", "field"),
        [
            ({"camera": "front", "source": URL}, "bad_args", "args.camera"),
            ({"camera": "../x", "source": URL}, "bad_args", "args.camera"),
            ({"camera": "porch", "source": "gopher://user:geheim@h/x"}, "bad_args", "args.source"),
            ({"camera": "porch", "source": "relative.mp4"}, "bad_args", "args.source"),
            ({"camera": "porch", "source": ""}, "bad_args", "args.source"),
            ({"camera": "porch", "source": "/v/a\0b.mp4"}, "bad_args", "args.source"),
            ({"camera": "porch"}, "bad_args", "args.source"),
            ({"camera": "porch", "source": URL, "settings": {"source": "x"}}, "forbidden", None),
            ({"camera": "porch", "source": URL, "settings": {"threshold": 7}}, "out_of_range", None),
            ({"camera": "porch", "source": URL, "settings": {"threshold": "0.5"}}, "bad_args", None),
            ({"camera": "porch", "source": URL, "settings": {"colour": 7}}, "bad_args", "cameras.porch.colour"),
            ({"camera": "porch", "source": URL, "settings": {"model": "nine"}}, "model_not_found", None),
        ],
    )
    def test_camera_that_cannot_be_is_refused(
        self, rig: Rig, args: dict[str, Any], code: str, field: str | None
    ) -> None:
        """Names, sources and settings are checked before anything is opened; no answer holds a credential."""
        reply = rig.ask("camera.add", args)
        assert reply["status"] == "error"
        assert reply["error"]["code"] == code
        assert field in (None, reply["error"]["field"])
        assert "geh" not in json.dumps(reply)
        assert rig.desk.revision == 1

    def test_camera_goes_and_is_remembered_to_be_gone(self, rig: Rig) -> None:
        """Of a camera of the files it is kept that it was removed; it is brought back by a reset."""
        assert rig.ask("camera.remove", {"camera": "back"})["data"]["restarted"] == ["cameras.back"]
        assert rig.desk.overrides.tables == {"cameras.back": None}
        assert "settings.reset" in rig.ask("camera.add", {"camera": "back", "source": URL})["error"]["message"]
        assert rig.ask("camera.remove", {"camera": "back"})["error"]["allowed"] == ["front"]
        rig.ask("settings.reset", {"path": "cameras.back"})
        assert (rig.desk.settings, rig.desk.overrides.tables) == (rig.desk.files, {})

    def test_camera_is_switched_and_restarted(self, rig: Rig) -> None:
        """Enable and disable are settings, a restart is none."""
        rig.ask("camera.disable", {"camera": "front"})
        assert rig.desk.settings.cameras["front"].enabled is False
        rig.ask("camera.enable", {"camera": "front"})
        assert rig.desk.settings.cameras["front"].enabled is True
        assert rig.ask("camera.restart", {"camera": "front"})["data"]["restarted"] == ["cameras.front"]
        assert rig.desk.cameras_restarted == ["front"]
        assert rig.ask("camera.restart", {"camera": "cellar"})["error"]["code"] == "unknown_camera"


class TestModels:
    def test_model_is_verified_before_it_is_listed(self, rig: Rig) -> None:
        """Its file is read by somebody else; when that has found it well the model is there, at its real place."""
        assert rig.ask("model.add", {"name": "four", "path": "four.hef", "settings": {"batch_size": 4}}) is None
        assert "four" not in rig.desk.settings.models
        rig.errand()
        reply = rig.reply(TOPICS.reply("model.add"))
        assert (reply["status"], reply["data"]["model"], reply["data"]["persisted"]) == ("ok", "four", True)
        assert rig.desk.settings.models["four"].path == Path("/models/four.hef")
        assert rig.desk.overrides.tables == {"models.four": {"path": "/models/four.hef", "batch_size": 4}}

    def test_only_model_stays_the_default(self, rig: Rig) -> None:
        """Where one model was the default by being the only one, it is named, so that a second can come."""
        one = rig.desk.settings.models["one"]
        rig.desk.settings = rig.desk.files = settings(models={"one": one}, model=None)
        rig.ask("model.add", {"name": "four", "path": "four.hef"})
        rig.errand()
        assert rig.desk.settings.model == "one"
        assert rig.desk.kept == {"model": "one"}

    def test_file_that_is_no_model_is_refused(self, rig: Rig) -> None:
        """What is wrong with the file is told, and no model is listed."""

        def damaged(_: object) -> Path:
            raise ModelError("the hash does not agree with the file")

        rig.desk.found = damaged
        rig.ask("model.add", {"name": "four", "path": "four.hef"})
        rig.errand()
        error = rig.reply(TOPICS.reply("model.add"))["error"]
        assert (error["code"], error["message"]) == ("model_incompatible", "the hash does not agree with the file")
        assert "four" not in rig.desk.settings.models

    @pytest.mark.parametrize(
        ("args", "code"),
        [
            ({"name": "one", "path": "x.hef"}, "bad_args"),
            ({"name": "four"}, "bad_args"),
            ({"name": "four", "url": "https://h/x.hef"}, "bad_args"),
            ({"name": "four", "url": "https://h/x.hef", "sha256": "a" * 63}, "bad_args"),
            ({"name": "four", "url": "https://h/x.hef", "sha256": "a" * 64, "path": "x"}, "bad_args"),
            ({"name": "four", "path": "x.hef", "settings": {"batch_size": 99}}, "out_of_range"),
            ({"name": "four", "path": "x.hef", "settings": {"labels": "/etc/shadow"}}, "forbidden"),
            ({"name": "four", "path": "x.hef", "settings": {"path": "/etc/shadow"}}, "forbidden"),
        ],
    )
    def test_model_that_cannot_be_is_refused_before_a_file_is_read(
        self, rig: Rig, args: dict[str, Any], code: str
    ) -> None:
        """Everything but the file is judged at once."""
        assert rig.ask("model.add", args)["error"]["code"] == code
        assert rig.desk.errands == []

    def test_model_in_use_is_not_removed(self, rig: Rig) -> None:
        """A model that a camera runs, or would, stays; any other goes, and what is kept says so."""
        assert rig.ask("model.remove", {"name": "one"})["error"]["code"] == "forbidden"
        assert rig.ask("model.remove", {"name": "nine"})["error"]["code"] == "model_not_found"
        assert rig.ask("model.remove", {"name": "three"})["status"] == "ok"
        assert rig.desk.overrides.tables == {"models.three": None}

    def test_download_that_takes_too_long_goes_on(self, rig: Rig) -> None:
        """After the deadline the reply says that asking again may help."""
        rig.ask("model.add", {"name": "four", "path": "four.hef"}, timeout_s=5.0)
        rig.tick(6.0)
        error = rig.reply(TOPICS.reply("model.add"))["error"]
        assert (error["code"], error["retryable"]) == ("timeout", True)


class TestScalars:
    @pytest.mark.parametrize(
        ("key", "payload", "path", "value"),
        [
            ("log_level", "debug", ("log_level",), "debug"),
            ("max_delay_ms", "12.5", ("models", "one", "max_delay_ms"), 12.5),
        ],
    )
    def test_scalar_of_the_node_is_set(
        self, rig: Rig, key: str, payload: str, path: tuple[str, ...], value: object
    ) -> None:
        """One word sets one thing of the node, or of its default model; its answer is the settings document."""
        rig.send(f"set/{key}", payload)
        assert rig.told() == []
        assert rig.desk.kept == {".".join(path): value}
        assert len(rig.desk.shown) == 1

    def test_batch_size_and_model_are_set_when_the_device_has_them(self, rig: Rig) -> None:
        """What the device must load is set when that is done."""
        rig.send("set/batch_size", "4")
        assert rig.desk.settings.models["one"].batch_size == 1
        rig.ready("one")
        assert rig.desk.settings.models["one"].batch_size == 4
        rig.send("set/model", "two")
        rig.ready("two")
        assert rig.desk.settings.model == "two"

    @pytest.mark.parametrize(
        ("key", "payload", "code"),
        [
            ("batch_size", "0", "out_of_range"),
            ("batch_size", "1.5", "bad_args"),
            ("batch_size", "many", "bad_args"),
            ("max_delay_ms", "-1", "out_of_range"),
            ("max_delay_ms", "nan", "bad_args"),
            ("log_level", "loud", "bad_args"),
            ("model", "nine", "model_not_found"),
            ("model", "a/b", "bad_args"),
            ("privacy_", "ON", "unknown_command"),
        ],
    )
    def test_refused_scalar_snaps_back(self, rig: Rig, key: str, payload: str, code: str) -> None:
        """What cannot be set is told as an event, and the settings are told again."""
        rig.send(f"set/{key}", payload)
        ((topic, event),) = rig.told()
        assert (topic, event["event_type"], event["code"]) == (TOPICS.event, "command_failed", code)
        assert (rig.desk.told, rig.desk.revision) == (1, 1)


class TestAllCommands:
    ARGS: ClassVar[dict[str, object]] = {
        "settings.set": {"cameras": {"front": {"rotate": 90}}},
        "settings.reset": {},
        "model.swap": {"model": "two"},
        "model.add": {"name": "four", "path": "four.hef"},
        "model.remove": {"name": "three"},
        "camera.enable": {"camera": "front"},
        "camera.disable": {"camera": "front"},
        "camera.restart": {"camera": "front"},
        "camera.add": {"camera": "porch", "source": "synthetic:"},
        "camera.remove": {"camera": "back"},
        "device.restart": {"mode": "reset"},
        "device.release": {"for_s": 60},
        "device.acquire": {},
        "daemon.restart": {},
    }

    @pytest.mark.parametrize("name", [name for name, spec in COMMANDS.items() if spec.changes])
    def test_rehearsal_says_the_plan_and_does_nothing(self, rig: Rig, name: str) -> None:
        """Every command that changes something can be rehearsed."""
        if name not in self.ARGS:
            pytest.skip("a command of another desk")
        reply = rig.ask(name, self.ARGS[name], dry_run=True)
        assert (reply["status"], reply["data"]["dry_run"]) == ("ok", True)
        if name in ("settings.set", "camera.add", "camera.remove"):
            assert len(reply["data"]["restarted"]) == 1
        desk = rig.desk
        assert (desk.revision, desk.kept, desk.beside, desk.restarts, desk.errands) == (1, {}, [], [], [])
        assert (desk.lent, desk.acquired, desk.daemon_restarts, desk.cameras_restarted) == ([], 0, 0, [])

    def test_questions_are_answered_while_something_is_under_way(self, rig: Rig) -> None:
        """What changes nothing waits for nobody."""
        assert rig.ask("model.swap", {"model": "two"}) is None
        assert rig.ask("settings.get")["status"] == "ok"
        assert rig.ask("models.list")["data"]["models"] == ["one", "three", "two"]
        assert rig.ask("health.get")["data"]["state"] == "ok"
        assert rig.ask("state.refresh")["status"] == "ok"
        assert rig.desk.refreshed == 1
        # Asked for as a rehearsal, or at a revision that has passed, it is not done.
        assert rig.ask("state.refresh", dry_run=True)["data"] == {"dry_run": True}
        assert rig.ask("state.refresh", if_revision=99)["error"]["code"] == "revision_conflict"
        assert rig.desk.refreshed == 1
        assert rig.ask("settings.get", {"path": "a b"})["error"]["code"] == "bad_args"

    def test_restart_of_the_daemon_is_answered_first(self, rig: Rig) -> None:
        """The reply says what will happen, and is on its way before it does."""
        reply = rig.ask("daemon.restart")
        assert (reply["data"]["restarted"], rig.desk.daemon_restarts) == (["hailod"], 1)

    def test_progress_is_told_once_a_second(self, rig: Rig) -> None:
        """A command that was accepted says how far it is, at most once a second, and how it ended."""
        rig.command("model.swap", id="s", args={"model": "two"})
        rig.tick(ACCEPT_AFTER_S + 0.1)
        job = rig.reply(TOPICS.reply("model.swap"))["job"]
        for _ in range(30):
            rig.tick()
        told = [document for topic, document in rig.told() if topic == TOPICS.job(job)]
        assert 2 <= len(told) <= 3
        assert {(each["state"], each["id"], each["cmd"]) for each in told} == {("running", "s", "model.swap")}
        assert told[0]["step"] == "loading models beside those that run"
        rig.ready("two")
        assert [document["state"] for topic, document in rig.told() if topic == TOPICS.job(job)] == ["ok"]

    def test_command_without_a_handler_is_unknown(self, rig: Rig) -> None:
        """A node that was not given what a command needs does not offer it."""
        del rig.commands._handlers[COMMANDS["camera.restart"].args]
        assert rig.ask("camera.restart", {"camera": "front"})["error"]["code"] == "unknown_command"


class TestReload:
    def reload(self, rig: Rig, result: Settings | ConfigError) -> list[str]:
        over: list[str] = []

        def read() -> Loaded:
            if isinstance(result, ConfigError):
                raise result
            return Loaded(result, {}, Path("/"), files=result, overrides=Overrides())

        rig.commands.reload(rig.desk, read, over=lambda: over.append("over"))
        if rig.desk.errands:
            rig.errand()
        return over

    def test_files_take_effect_as_far_as_they_can(self, rig: Rig) -> None:
        """What can change changes in one step and without being kept; what needs a new process is told."""
        new = settings(log_level="debug", mqtt=MqttSettings(host="elsewhere"), state_dir=Path("/tmp"))
        assert self.reload(rig, new) == ["over"]
        ((_, event),) = rig.told()
        assert (event["event_type"], event["restart_required"]) == ("config_reloaded", True)
        assert event["pending"] == ["state_dir", "mqtt.host"]
        assert rig.desk.settings == settings(log_level="debug")
        assert rig.desk.kept == {}
        assert [loaded.settings for loaded in rig.desk.read_again] == [new]

    def test_files_that_are_wrong_leave_everything_as_it_was(self, rig: Rig) -> None:
        """A mistake in the files is told in full, and the old settings run on."""
        before = rig.desk.settings
        assert self.reload(rig, ConfigError("a.toml: x = 1: unknown key\nb.toml: y")) == ["over"]
        ((_, event),) = rig.told()
        assert (event["event_type"], event["reason"]) == ("config_rejected", "a.toml: x = 1: unknown key; b.toml: y")
        assert (rig.desk.settings is before, rig.desk.read_again) == (True, [])

    def test_reload_waits_its_turn(self, rig: Rig) -> None:
        """A reload comes after the command that is under way, and only once however often it was asked for."""
        rig.command("model.swap", args={"model": "two"})
        for _ in range(3):
            assert self.reload(rig, settings(log_level="debug")) == []
        assert rig.desk.errands == []
        rig.ready("two")
        rig.tick()
        assert len(rig.desk.errands) == 1
        rig.errand()
        rig.tick()
        assert len(rig.desk.errands) == 1
        assert (rig.desk.settings.log_level, rig.desk.settings.model) == ("debug", "one")
