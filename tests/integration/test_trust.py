"""No secret leaves a running daemon, whatever it is made of and whatever goes wrong; and a node without control takes
no command."""

from __future__ import annotations

import argparse
import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import psutil
import pytest

from hailod.cli import load_config
from hailod.errors import ConfigError
from hailod.sources import validate_source
from tests.support.broker import Broker, Observer, free_port
from tests.support.daemon import BASE, FRONT, NODE, SEES_TWO, Daemon
from tests.support.waiting import wait_for

MODEL = """
[models.two]
path = "two.sim.toml"
"""
CAMERA = f'{MODEL}[cameras.front]\nsource = "synthetic:?size=320x240&fps=10"\n'

# Signs of URLs, of percent-encoding, of format strings, of JSON and TOML, of expressions, other scripts; short ones. In
# each is something that occurs nowhere else, so that what is found is it.
HOSTILE = [
    "Qz%w!1#a@b",
    "Qz@@host/:p?q=r&s",
    "100%s%(Qz)s%%2",
    "{Qz}{0!r}${HOME}",
    '{"Qz":"a","b":[1]}',
    "Qz'both\"quotes",
    "Qz\\back\\nslash",
    "Qz-pässwört-ключ-密码-😀",
    "Qz with  some spaces",
    "%41Qz%2f%00%zz",
    "(.*)Qz[a-z]+\\d$^|",
    "Qz+plus+b c",
    "Q7z",
    "Q!",
]
BROKER_PASSWORD = "Bx%w!#@ :/?{0}'\"ü"


def urls(secret: str, port: int) -> Iterator[str]:
    """Where a camera's URL can hold a secret: escaped and as it is, in the user-info and in the query."""
    dead = f"127.0.0.1:{port}"
    yield f"rtsp://admin:{quote(secret, safe='')}@{dead}/stream"
    yield f"rtsp://admin:{secret}@{dead}/stream"
    yield f"http://{dead}/picture.jpg?user=admin&pwd={quote_plus(secret)}"
    yield f"http://{dead}/video?token={secret}"


def usable_urls(secret: str, port: int) -> list[str]:
    """Those of them that a configuration may hold."""

    def valid(url: str) -> bool:
        try:
            validate_source(url)
        except ValueError:
            return False
        return True

    return [url for url in urls(secret, port) if valid(url)]


def forms(secret: str) -> set[str]:
    """How a secret could show."""
    plain = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}
    basic = base64.b64encode(f"admin:{secret}".encode()).decode()
    written = (str, json.dumps, repr, lambda text: json.dumps(text, ensure_ascii=False))
    return {form(text).strip("\"'") for text in plain for form in written} | {basic}


def shown_in(text: str, secrets: list[str]) -> list[str]:
    return sorted({form for secret in secrets for form in forms(secret) if form in text})


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HAILOD_") or name == "CREDENTIALS_DIRECTORY"]:
        monkeypatch.delenv(name)


def run(config: Path, *words: str) -> str:
    """What a command of `hailod` says."""
    done = subprocess.run(
        [sys.executable, "-m", "hailod", *words, "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        errors="replace",
    )
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_no_secret_leaves_the_daemon(tmp_path: Path) -> None:
    """Cameras that fail with hostile passwords in every place of a URL, and a broker's password: none of it is in a
    message, a log line, the command line or environment of a child, the file of overrides, or what the commands say."""
    (tmp_path / "two.sim.toml").write_text(SEES_TWO)
    dead = free_port()
    cameras = {
        f"c{number}": (places := usable_urls(secret, dead))[number % len(places)]
        for number, secret in enumerate(HOSTILE)
    }
    patience = "open_timeout = 1.0\nbackoff_initial = 0.2\n"
    tables = "".join(
        f"[cameras.{name}]\nsource = {json.dumps(url, ensure_ascii=False)}\n{patience}" for name, url in cameras.items()
    )
    secrets = [*HOSTILE, BROKER_PASSWORD]
    users = {"node": BROKER_PASSWORD}
    password = f'username = "node"\npassword = {json.dumps(BROKER_PASSWORD, ensure_ascii=False)}\n'
    with (
        Guarded(tmp_path, users=users) as broker,
        Observer(broker.port, "#", username="node", password=BROKER_PASSWORD) as observer,
        Daemon(tmp_path, broker, CAMERA + tables, head='log_level = "debug"\n', mqtt=password) as daemon,
    ):
        daemon.path.chmod(0o600)
        observer.wait_for(f"{FRONT}/detections", timeout=30.0)

        def failed() -> bool:
            health = observer.of(f"{BASE}/health")[-1].json
            told = sum(reason["code"] in ("camera_lost", "camera_stale") for reason in health["reasons"])
            return told + health.get("more", 0) >= len(cameras)

        wait_for(failed, what="every camera has failed", timeout=40.0)
        # Changes, refusals and echoes of names with nasty characters.
        observer.publish(f"{FRONT}/set/threshold", "0.61")
        observer.publish(f"{BASE}/cam/c0/set/threshold", "7")
        observer.publish(f"{BASE}/cam/c0/set/enabled", "OFF")
        observer.publish(f"{BASE}/cmd/model.swap", '{"id":"1","args":{"model":"none"}}')
        observer.publish("homeassistant/status", "online")
        wait_for(lambda: observer.of(f"{FRONT}/settings")[-1].json["threshold"] == 0.61, what="the threshold is set")
        observer.wait_for(f"{BASE}/event")
        observer.wait_for(f"{BASE}/reply/model.swap")

        said = [run(daemon.path, *words) for words in (("config", "show"), ("ctl", "ping"), ("ctl", "no.such"))]
        told = "\n".join(f"{message.topic} {message.payload.decode()}" for message in list(observer.seen))
        children = psutil.Process(daemon.process.pid).children(recursive=True)
        seen_by_others = "\n".join(
            " ".join(child.cmdline()) for child in [*children, psutil.Process(daemon.process.pid)]
        )
        inherited = "\n".join(" ".join(child.environ().values()) for child in children)
        overrides = wait_for(lambda: list(daemon.state.glob("overrides.json")), what="the change is kept")[0]
        assert children
        assert daemon.stop() == 0
    assert "c0" in daemon.output
    # Else nothing would ever be found.
    written = daemon.path.read_text()
    assert [secret for secret in secrets if not shown_in(written, [secret])] == []
    for where, text in {
        "messages": told,
        "log": daemon.output,
        "commands": "\n".join(said),
        "command lines": seen_by_others,
        "environment of children": inherited,
        "overrides": overrides.read_text(),
    }.items():
        assert shown_in(text, secrets) == [], where
    assert "rtsp://***@" in told
    assert overrides.stat().st_mode & 0o077 == 0


class Guarded(Broker):
    """A mosquitto whose passwords are made by mosquitto_passwd one by one: its own file format knows no `:`."""

    def _write_passwords(self, users: dict[str, str]) -> Path:
        file = self._directory / "passwords"
        for user, password in users.items():
            subprocess.run(["mosquitto_passwd", "-c", "-b", str(file), user, password], check=True)
        return file


@pytest.mark.parametrize("secret", HOSTILE)
def test_configuration_that_is_wrong_tells_no_secret(tmp_path: Path, secret: str) -> None:
    """Mistakes around a secret are told without it: a wrong type, an unknown key, a camera of an unknown scheme."""
    text = json.dumps(secret, ensure_ascii=False)
    lines = [
        f"mqtt = {{ password = [{text}] }}",
        f"mqtt = {{ passwort = {text} }}",
        f"mqtt = {{ host = {json.dumps(f'a:{secret}@h', ensure_ascii=False)} }}",
        f"[cameras.front]\nsource = {json.dumps(f'xyz://a:{secret}@h/', ensure_ascii=False)}",
        f"[cameras.front]\nsource = {json.dumps(f'rtsp://a:{secret}@h/', ensure_ascii=False)}\nmax_fps = -1",
        f"[cameras.front]\nsource = {{ url = {text} }}",
        f"[mqtt]\npassword = {text}\nport = 0",
        f"[mqtt]\npassword = {text} x",
    ]
    refused = [url for url in urls(secret, 554) if url not in usable_urls(secret, 554)]
    lines += [f"[cameras.front]\nsource = {json.dumps(url, ensure_ascii=False)}" for url in refused]
    config = tmp_path / "hailod.toml"
    for line in lines:
        config.write_text(line + "\n")
        with pytest.raises(ConfigError) as caught:
            load_config(argparse.Namespace(config=config), {})
        assert shown_in(str(caught.value), [secret]) == [], line


def test_check_tells_no_secret(tmp_path: Path) -> None:
    """`hailod check` says what fails without what must stay secret."""
    dead = free_port()
    sources = [url for secret in HOSTILE[:4] for url in usable_urls(secret, dead)[:2]]
    cameras = "".join(
        f"[cameras.c{number}]\nsource = {json.dumps(url, ensure_ascii=False)}\nopen_timeout = 1.0\n"
        for number, url in enumerate(sources)
    )
    config = tmp_path / "hailod.toml"
    config.write_text(
        f'[mqtt]\nport = {dead}\nusername = "u"\npassword = {json.dumps(BROKER_PASSWORD, ensure_ascii=False)}\n'
        f'[device]\nbackend = "simulated"\n[device.simulated]\nserial = "{os.getpid()}"\n{cameras}'
    )
    said = run(config, "check")
    assert said.count("FAIL  camera") == len(sources)
    assert shown_in(said, [*HOSTILE, BROKER_PASSWORD]) == []
    assert f"chmod 640 {config}" in said


def test_node_without_control(tmp_path: Path) -> None:
    """With `allow_control = false` a node publishes, says that it takes no commands, offers none to Home Assistant and
    carries none out; that Home Assistant has started it hears all the same."""
    (tmp_path / "two.sim.toml").write_text(SEES_TWO)
    config = f"homeassistant/device/hailod_{NODE}/config"
    with (
        Broker(tmp_path) as broker,
        Observer(broker.port) as observer,
        Daemon(tmp_path, broker, CAMERA, mqtt="allow_control = false\n") as daemon,
    ):
        observer.wait_for(f"{FRONT}/detections", timeout=30.0)
        info = observer.wait_for(f"{BASE}/info")[-1].json
        assert "control" not in info["features"]
        assert info["limits"]["cmd_bytes"] == info["limits"]["cmd_queue"] == 0
        assert "command_topic" not in observer.wait_for(config)[-1].payload.decode()
        observer.publish(f"{FRONT}/set/threshold", "0.9")
        observer.publish(f"{BASE}/cmd/ping", "{}")
        told = len(observer.of(config))
        observer.publish("homeassistant/status", "online", qos=0)
        observer.wait_for(config, told + 1, timeout=15.0)
        assert [message.topic for message in observer.seen if message.topic.startswith(f"{BASE}/reply")] == []
        assert {message.json["threshold"] for message in observer.of(f"{FRONT}/settings")} == {0.5}
        assert daemon.stop() == 0
