"""What of the settings is told to everybody who may read, and what never is."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from pydantic import SecretStr

from hailod.config.diff import leaves
from hailod.config.model import CameraSettings, MqttSettings, Reach, Settings
from hailod.mqtt import payloads
from hailod.mqtt.outbox import encode
from tests.support.desk import settings

HOSTILE = (
    "p%ss!w#rd@1",
    "pässwörd☃",
    "a/b?c=d&e",
    "100%25@home",
    "'\"\\{}",
    "%40%23%21",
    "p:w:d@x",
    "$(reboot)",
    "пароль",
)
# What is told under another name or form, and what is a matter of the connection, not of what is seen.
TOLD_OTHERWISE = {"source", "model", "labels"}


def shown(source: str) -> str:
    camera = CameraSettings(source=SecretStr(source))
    return encode(payloads.camera_settings(revision=1, camera=camera, models=["one"])).decode()


@pytest.mark.parametrize("secret", HOSTILE)
@pytest.mark.parametrize(
    "form",
    ["rtsp://user-name:{0}@192.0.2.10/stream", "http://192.0.2.10/shot.jpg?user=x&password={0}", "rtsp://{0}@h/s"],
)
@pytest.mark.parametrize("escaped", [True, False])
def test_no_password_of_a_camera_is_told(secret: str, form: str, escaped: bool) -> None:
    """Neither a password nor a user's name, in user-info or in a query, shows in the settings of a camera."""
    written = quote(secret, safe="") if escaped else secret
    told = shown(form.format(written))
    assert secret not in told
    assert written not in told
    assert "user-name" not in told
    assert "***" in told


@pytest.mark.parametrize("secret", HOSTILE)
def test_no_password_of_the_broker_is_told(secret: str) -> None:
    """The settings of the node hold nothing of the connection to the broker."""
    mqtt = MqttSettings(username="user-name", password=SecretStr(secret))
    told = encode(payloads.settings(revision=1, settings=settings(mqtt=mqtt))).decode()
    assert secret not in told
    assert "user-name" not in told


def test_what_people_can_set_of_a_camera_while_it_runs_is_told() -> None:
    """Every setting of a camera that takes effect at once is in its settings document."""
    live = {path[0] for path, reach in leaves(CameraSettings).items() if reach is Reach.LIVE}
    camera = CameraSettings(
        source=SecretStr("csi:0"), max_fps=12.3456, crop=(0.0, 0.1, 1.0, 0.9), rotate=90, sleeps=True
    )
    told = payloads.camera_settings(revision=3, camera=camera, models=["one"])
    assert live - TOLD_OTHERWISE <= set(told)
    assert told == {
        "v": 1,
        "revision": 3,
        "enabled": True,
        "privacy": False,
        "threshold": 0.5,
        "max_fps": 12.3456,
        "frozen_after": None,
        "sleeps": True,
        "rotate": 90,
        "flip": "none",
        "crop": [0.0, 0.1, 1.0, 0.9],
        "labels": [],
        "models": ["one"],
        "source": "csi:0",
    }


def test_what_is_not_on_the_list_is_not_told() -> None:
    """Of the node only what is named is told, and how frames are batched only where there is a default model."""
    told = payloads.settings(revision=3, settings=settings(), lent=True)
    assert told == {
        "v": 1,
        "revision": 3,
        "model": "one",
        "batch_size": 1,
        "max_delay_ms": 0.0,
        "log_level": "info",
        "privacy": False,
        "device": "OFF",
        "pending": None,
    }
    assert payloads.settings(revision=1, settings=Settings(node="pi"))["batch_size"] is None
