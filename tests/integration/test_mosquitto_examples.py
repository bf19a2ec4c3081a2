"""etc/mosquitto, as it is shipped, in a real mosquitto with a real daemon: who may do what."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from hailod.cli import main
from tests.conftest import REPOSITORY
from tests.support.broker import Broker, Observer, free_port, mosquitto_path
from tests.support.certificates import Authority
from tests.support.daemon import BASE, FRONT, NODE, SEES_TWO, Daemon
from tests.support.waiting import wait_for

EXAMPLES = REPOSITORY / "etc" / "mosquitto"
USERS = (f"hailod-{NODE}", "homeassistant", "node-red", "dashboard", "operator", "stranger")
CAMERA = """
[models.two]
path = "two.sim.toml"
[cameras.front]
source = "synthetic:?size=320x240&fps=10"
"""
NOT_AUTHORISED = 0x87


def password(user: str) -> str:
    return f"pw of {user} %!#@"


class ShippedBroker(Broker):
    """A mosquitto with the files of etc/mosquitto, of which only places, ports and the node's name are changed.

    `port` is the one for this machine, `secure` that of TLS; `log` is what it says of refused messages.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.secure = free_port()
        self.authority = Authority(directory / "certs", "ca")
        self.log: list[str] = []
        self._reader: threading.Thread | None = None

    def start(self) -> None:
        directory = self._directory
        self.authority.sign("broker", "IP:127.0.0.1")
        conf = (EXAMPLES / "hailod.conf").read_text().replace("/etc/mosquitto/", f"{directory}/")
        conf = conf.replace("listener 1883 ", f"listener {self.port} ").replace(
            "listener 8883", f"listener {self.secure}"
        )
        (directory / "hailod.conf").write_text(conf)
        acl = directory / "hailod.acl"
        acl.write_text((EXAMPLES / "hailod.acl").read_text().replace("kitchen", NODE))
        acl.chmod(0o600)
        passwords = directory / "hailod.passwords"
        for user in USERS:
            create = [] if passwords.exists() else ["-c"]
            subprocess.run(["mosquitto_passwd", *create, "-b", str(passwords), user, password(user)], check=True)
        main_file = directory / "mosquitto.conf"
        lines = ["user root", f"persistence_location {directory}/", "log_dest stderr", "log_type all"]
        main_file.write_text("\n".join([*lines, f"include_dir {directory / 'conf.d'}", ""]))
        (directory / "conf.d").mkdir(exist_ok=True)
        (directory / "hailod.conf").rename(directory / "conf.d" / "hailod.conf")
        self._process = subprocess.Popen([mosquitto_path(), "-c", str(main_file)], stderr=subprocess.PIPE)
        self._reader = threading.Thread(target=self._read, name="mosquitto log")
        self._reader.start()
        wait_for(self.listens, what="mosquitto listens")

    def stop(self) -> None:
        process = self._process
        super().stop()
        if process is not None and self._reader is not None:
            self._reader.join(10)
            assert process.stderr is not None
            process.stderr.close()

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.log.append(line.decode(errors="replace"))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[ShippedBroker]:
    directory = tmp_path / "mosquitto"
    directory.mkdir()
    with ShippedBroker(directory) as running:
        assert isinstance(running, ShippedBroker)
        yield running


def as_(broker: Broker, user: str, *filters: str) -> Observer:
    return Observer(broker.port, *filters, username=user, password=password(user))


def code_of(broker: Broker, user: str, topic: str, payload: str = "{}", *, retain: bool = False) -> int:
    """The reason code with which the broker answers a message of `user`."""
    codes: list[int] = []
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.username_pw_set(user, password(user))
    client.on_connect = lambda *_: client.publish(topic, payload, 1, retain)
    client.on_publish = lambda _client, _data, _mid, reason, _properties: codes.append(reason.value)
    client.connect("127.0.0.1", broker.port)
    wait_for(lambda: client.loop(0.1) == 0 and codes, what=f"{topic} is acknowledged", every=0.0)
    client.disconnect()
    client._reset_sockets()
    return codes[0]


def run_node(tmp_path: Path, broker: ShippedBroker) -> Daemon:
    (tmp_path / "two.sim.toml").write_text(SEES_TWO)
    secret = tmp_path / "mqtt.password"
    secret.write_text(password(f"hailod-{NODE}") + "\n")
    secret.chmod(0o600)
    mqtt = f'username = "hailod-{NODE}"\npassword_file = "mqtt.password"\n[mqtt.tls]\nca = "{broker.authority.ca}"\n'
    daemon = Daemon(tmp_path, broker, CAMERA, mqtt=mqtt)
    daemon.path.write_text(daemon.path.read_text().replace(f"port = {broker.port}", f"port = {broker.secure}"))
    return daemon


def ctl(broker: Broker, tmp_path: Path, user: str, *words: str) -> int:
    file = tmp_path / f"{user}.password"
    file.write_text(password(user))
    file.chmod(0o600)
    options = ["--host", "127.0.0.1", "--port", str(broker.port), "--node", NODE, "--username", user]
    return main(["ctl", *words, *options, "--password-file", str(file)])


def test_node_works_fully(tmp_path: Path, broker: ShippedBroker) -> None:
    """With TLS, its user and its rights a node says and hears everything it has to; nothing is refused."""
    with as_(broker, "operator", "#") as operator, run_node(tmp_path, broker) as daemon:
        operator.wait_for(f"{FRONT}/detections", timeout=30.0)
        assert operator.wait_for(f"{BASE}/status")[-1].payload == b"online"
        assert ctl(broker, tmp_path, "operator", "ping") == 0
        assert main(["ctl", "ping", "--config", str(daemon.path)]) == 0
        with as_(broker, "homeassistant") as home:
            home.publish(f"{FRONT}/set/threshold", "0.7")
            wait_for(lambda: operator.of(f"{FRONT}/settings")[-1].json["threshold"] == 0.7, what="it is set")
            home.publish(f"{BASE}/cmd/no.such", "{}")
            operator.wait_for(f"{BASE}/reply/no.such")
            discovery = len(operator.of(f"homeassistant/device/hailod_{NODE}/config"))
            home.publish("homeassistant/status", "online", qos=0)
            home.publish(f"{FRONT}/set/threshold", "7")
            operator.wait_for(f"{BASE}/event")
            operator.wait_for(f"homeassistant/device/hailod_{NODE}/config", discovery + 1, timeout=15.0)
            operator.wait_for(f"{BASE}/metrics", 2)
        assert daemon.stop() == 0
        wait_for(lambda: operator.of(f"{BASE}/status")[-1].payload == b"offline", what="it says farewell")
    assert [line for line in broker.log if "Denied" in line] == []
    assert "refused" not in daemon.output.replace("message refused  topic=hailod/test-node/cmd/no.such", "").replace(
        "message refused  topic=hailod/test-node/cam/front/set/threshold", ""
    )
    health = operator.of(f"{BASE}/health")[-1].json
    assert {reason["code"] for reason in health["reasons"]} <= {"simulated", "clock_unsynced"}


def test_rights_of_everybody_else(tmp_path: Path, broker: ShippedBroker) -> None:
    """A reader cannot command, nobody publishes as the node, only the operator restarts it, commands are not read by
    others, and a user without rights sees nothing."""
    with (
        as_(broker, "operator", "hailod/#") as operator,
        as_(broker, "dashboard", "#") as dashboard,
        as_(broker, "stranger", "#") as stranger,
        run_node(tmp_path, broker) as daemon,
    ):
        operator.wait_for(f"{FRONT}/detections", timeout=30.0)
        for user, topic in (
            *((user, f"{BASE}/status") for user in ("homeassistant", "node-red", "dashboard", "stranger")),
            ("homeassistant", f"{BASE}/cam/front/state"),
            ("homeassistant", f"homeassistant/device/hailod_{NODE}/config"),
            *(("dashboard", f"{BASE}/{tail}") for tail in ("cmd/ping", "set/device", "cam/front/set/enabled")),
            ("node-red", f"{FRONT}/set/enabled"),
            ("stranger", f"{BASE}/cmd/ping"),
            ("homeassistant", f"{BASE}/set/device"),
            *(
                (user, f"{BASE}/cmd/{command}")
                for user in ("homeassistant", "node-red")
                for command in ("device.release", "device.acquire", "device.restart", "daemon.restart")
            ),
            (f"hailod-{NODE}", "hailod/other/status"),
            (f"hailod-{NODE}", "homeassistant/status"),
        ):
            assert code_of(broker, user, topic, "OFF") == NOT_AUTHORISED, (user, topic)
        for user in ("homeassistant", "node-red"):
            assert code_of(broker, user, f"{BASE}/cmd/ping", f'{{"id":"{user}"}}') == 0
        assert ctl(broker, tmp_path, "node-red", "ping") == 0
        assert ctl(broker, tmp_path, "node-red", "device.restart") == 4
        assert ctl(broker, tmp_path, "operator", "device.restart") == 0

        asked = [message.json["id"] for message in operator.of(f"{BASE}/reply/ping")]
        assert asked == ["homeassistant", "node-red"]
        dashboard.wait_for(f"{FRONT}/detections")
        assert {"online"} == {message.payload.decode() for message in dashboard.of(f"{BASE}/status")}
        assert [message.topic for message in dashboard.seen if "/cmd/" in message.topic] == []
        assert [message.topic for message in operator.seen if "/cmd/" in message.topic] != []
        assert stranger.seen == []
        assert daemon.stop() == 0


@pytest.mark.parametrize(("user", "word"), [(None, None), ("nobody", "x"), ("operator", "wrong"), ("operator", None)])
def test_stranger_does_not_get_in(broker: ShippedBroker, user: str | None, word: str | None) -> None:
    """Without a user and its password nobody is let in."""
    codes: list[int] = []
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    if user is not None:
        client.username_pw_set(user, word)
    client.on_connect = lambda _client, _data, _flags, reason, _properties: codes.append(reason.value)
    client.connect("127.0.0.1", broker.port)
    wait_for(lambda: client.loop(0.1) or codes, what="the broker answers", every=0.0)
    client._reset_sockets()
    assert codes == [NOT_AUTHORISED]


def test_network_port_speaks_tls_only(broker: ShippedBroker) -> None:
    """What comes in clear to the port of the network gets no answer of MQTT."""
    with socket.create_connection(("127.0.0.1", broker.secure), 10) as plain:
        plain.sendall(b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03abc")
        with suppress(ConnectionResetError):
            assert plain.recv(100)[:1] != b"\x20"
