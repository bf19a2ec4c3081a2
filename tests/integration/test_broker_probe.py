"""`hailod check` against real brokers: every way in which a connection fails has its own remedy."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from hailod.checks import Status
from hailod.config.model import MqttSettings, TlsSettings
from hailod.mqtt import probe
from hailod.mqtt.probe import probe_broker
from tests.support.broker import Broker, OldBroker, free_port


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a self-signed certificate for 127.0.0.1, and one of somebody else."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl: apt-get install openssl")
    directory = tmp_path_factory.mktemp("certificates")
    for name in ("broker", "other"):
        subprocess.run(
            f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name}"
            f" -keyout {name}.key -out {name}.pem -addext subjectAltName=IP:127.0.0.1".split(),
            cwd=directory,
            check=True,
            capture_output=True,
        )
    return directory


@pytest.fixture
def secured(tmp_path: Path, certificates: Path) -> Iterator[Broker]:
    config = [f"certfile {certificates / 'broker.pem'}", f"keyfile {certificates / 'broker.key'}"]
    with Broker(tmp_path, config=config) as broker:
        yield broker


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path, users={"hailod": "geheim"}) as broker:
        yield broker


def settings(port: int, **others: object) -> MqttSettings:
    return MqttSettings.model_validate({"host": "127.0.0.1", "port": port} | others)


def test_accepted(tmp_path: Path) -> None:
    """A broker that takes us is ok, with the protocol that was agreed upon."""
    with Broker(tmp_path) as broker:
        assert probe_broker(settings(broker.port)).text == f"127.0.0.1:{broker.port} accepts us (MQTT 5)"
        assert probe_broker(settings(broker.port, protocol="3.1.1")).text.endswith("(MQTT 3.1.1)")


def test_old_broker(tmp_path: Path) -> None:
    """A broker without MQTT 5 is spoken to in 3.1.1, unless the user insists."""
    with OldBroker(tmp_path) as broker:
        assert probe_broker(settings(broker.port)).text.endswith("(MQTT 3.1.1)")
        insisting = probe_broker(settings(broker.port, protocol="5"))
        assert insisting.status is Status.FAIL
        assert "mqtt.protocol" in insisting.fix


def test_user_and_password(guarded: Broker) -> None:
    """A broker that wants a user says so, and the password is not repeated."""
    known = {"username": "hailod", "password": SecretStr("geheim")}
    assert probe_broker(settings(guarded.port, **known)).status is Status.OK
    for protocol in ("auto", "3.1.1"):
        wrong = probe_broker(settings(guarded.port, protocol=protocol, username="hailod", password=SecretStr("falsch")))
        assert wrong.status is Status.FAIL
        assert "mqtt.password" in wrong.fix
        assert "falsch" not in repr(wrong)
        assert "mqtt.username" in probe_broker(settings(guarded.port, protocol=protocol)).fix


def test_nothing_listens() -> None:
    """A port without a broker says to start one."""
    result = probe_broker(settings(free_port()))
    assert result.text.startswith("nothing listens on")
    assert "systemctl start mosquitto" in result.fix


def test_unknown_host() -> None:
    """A name that cannot be resolved says to correct it."""
    result = probe_broker(MqttSettings(host="no-such-host.invalid"))
    assert "cannot be resolved" in result.text
    assert "mqtt.host" in result.fix


def test_tls(secured: Broker, certificates: Path) -> None:
    """With the right authority TLS is ok; with a wrong one the remedy is `mqtt.tls.ca`."""
    good = probe_broker(settings(secured.port, tls=TlsSettings(ca=certificates / "broker.pem")))
    assert good.text.endswith("(MQTT 5, TLS)")
    assert probe_broker(settings(secured.port, tls=TlsSettings(insecure=True))).status is Status.OK
    for tls in (TlsSettings(), TlsSettings(ca=certificates / "other.pem")):
        untrusted = probe_broker(settings(secured.port, tls=tls))
        assert "is not trusted" in untrusted.text
        assert "mqtt.tls.ca" in untrusted.fix


def test_tls_files(tmp_path: Path, secured: Broker) -> None:
    """TLS files that are missing or no certificates are told as such."""
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    for tls in (TlsSettings(ca=tmp_path / "none.pem"), TlsSettings(ca=bad), TlsSettings(cert=bad, key=bad)):
        result = probe_broker(settings(secured.port, tls=tls))
        assert result.text.startswith("TLS files cannot be used"), tls
        assert "mqtt.tls.ca" in result.fix


def test_tls_to_a_plain_port(tmp_path: Path) -> None:
    """TLS spoken to a plain port says that it is no TLS port."""
    with Broker(tmp_path) as broker:
        result = probe_broker(settings(broker.port, tls=TlsSettings()))
    assert result.status is Status.FAIL
    assert "8883" in result.fix


def test_plain_to_a_tls_port(secured: Broker) -> None:
    """Plain MQTT spoken to a TLS port says that it may need TLS."""
    result = probe_broker(settings(secured.port))
    assert result.status is Status.FAIL
    assert "[mqtt.tls]" in result.fix


def test_broker_that_wants_a_certificate(tmp_path: Path, certificates: Path) -> None:
    """A broker that asks for the client's certificate says which settings hold it."""
    files = {"certfile": "broker.pem", "keyfile": "broker.key", "cafile": "other.pem"}
    config = [f"{key} {certificates / file}" for key, file in files.items()]
    trusting = TlsSettings(ca=certificates / "broker.pem")
    own = TlsSettings(ca=trusting.ca, cert=certificates / "other.pem", key=certificates / "other.key")
    with Broker(tmp_path, config=[*config, "require_certificate true"]) as broker:
        assert "mqtt.tls.cert" in probe_broker(settings(broker.port, tls=trusting)).fix
        assert probe_broker(settings(broker.port, tls=own)).status is Status.OK


def test_something_else_that_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that accepts and then says nothing is given up after the time-out."""
    monkeypatch.setattr(probe, "ANSWER_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        result = probe_broker(settings(mute.getsockname()[1]))
    assert "does not answer as an MQTT broker" in result.text
