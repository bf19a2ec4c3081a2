"""TLS with a real mosquitto and an authority of one's own: what is trusted, what is not, and what is said of it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from hailod.checks import Result, Status
from hailod.config.model import MqttSettings, TlsSettings
from hailod.mqtt.probe import probe_broker
from hailod.mqtt.reconnect import MQTT_5
from hailod.mqtt.tls import tls_context
from tests.support.broker import Broker
from tests.support.certificates import Authority, Certificate
from tests.support.node import Node, connected
from tests.support.waiting import wait_for

HERE = "IP:127.0.0.1"


class Files:
    """Certificates of one authority, made once."""

    def __init__(self, directory: Path) -> None:
        self.own = Authority(directory / "own", "own")
        self.other = Authority(directory / "other", "other")
        self.broker = self.own.sign("broker", HERE)
        self.expired = self.own.sign("expired", HERE, days=-1)
        self.misnamed = self.own.sign("misnamed", "DNS:broker.example")
        self.client = self.own.sign("client")
        self.foreign_client = self.other.sign("client")
        self.none = directory / "none.pem"
        self.rubbish = directory / "rubbish.pem"
        self.rubbish.write_text("no certificate")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def broker(tmp_path: Path, files: Files) -> Iterator[Broker]:
    with Broker(tmp_path, config=serving(files.broker)) as running:
        yield running


def serving(certificate: Certificate, *more: str) -> list[str]:
    return [f"certfile {certificate.cert}", f"keyfile {certificate.key}", *more]


def probe(port: int, tls: TlsSettings | None) -> Result:
    return probe_broker(MqttSettings(host="127.0.0.1", port=port, tls=tls))


def assert_refused(port: int, tls: TlsSettings | None, text: str, fix: str) -> None:
    """`hailod check` and the daemon both say so, with the same remedy."""
    result = probe(port, tls)
    assert result.status is Status.FAIL
    assert text in result.text
    assert fix in result.fix
    with Node(port, tls=tls) as node:
        trouble = wait_for(lambda: next(filter(None, node.troubles), None), what="the daemon says what is wrong")
        assert not node.connected
    assert text in trouble.text
    assert fix in trouble.fix


def test_own_authority(broker: Broker, files: Files) -> None:
    """A broker whose certificate is of the authority in `mqtt.tls.ca` is trusted."""
    assert probe(broker.port, TlsSettings(ca=files.own.ca)).text.endswith("(MQTT 5, TLS)")
    with connected(broker.port, tls=TlsSettings(ca=files.own.ca)) as node:
        assert node.client.protocol == MQTT_5


def test_authorities_of_the_system(broker: Broker, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `mqtt.tls.ca` the authorities of the system are trusted, and no other."""
    advice = "set mqtt.tls.ca to the authority that signed it"
    assert_refused(broker.port, TlsSettings(), "is not trusted", advice)
    monkeypatch.setenv("SSL_CERT_FILE", str(files.own.ca))
    with connected(broker.port, tls=TlsSettings()):
        pass


def test_unknown_authority(broker: Broker, files: Files) -> None:
    """With an authority of one's own no other is trusted."""
    advice = "set mqtt.tls.ca to the authority that signed it"
    assert_refused(broker.port, TlsSettings(ca=files.other.ca), "is not trusted", advice)


def test_expired_certificate(tmp_path: Path, files: Files) -> None:
    """A certificate that has expired is not trusted, and the advice is to renew it."""
    with Broker(tmp_path, config=serving(files.expired)) as broker:
        assert_refused(broker.port, TlsSettings(ca=files.own.ca), "expired", "renew it")


def test_name_is_checked(tmp_path: Path, files: Files) -> None:
    """A certificate of the right authority for another name is not trusted; only `insecure` takes it."""
    with Broker(tmp_path, config=serving(files.misnamed)) as broker:
        assert_refused(broker.port, TlsSettings(ca=files.own.ca), "is not trusted", "set mqtt.host to a name")
        assert probe(broker.port, TlsSettings(ca=files.own.ca, insecure=True)).status is Status.OK


def test_client_certificate(tmp_path: Path, files: Files) -> None:
    """Where the broker wants a certificate of ours, the right one gets us in; none or a foreign one is told apart."""
    trust = {"ca": files.own.ca}
    right = TlsSettings(**trust, cert=files.client.cert, key=files.client.key)
    wrong = TlsSettings(**trust, cert=files.foreign_client.cert, key=files.foreign_client.key)
    config = serving(files.broker, f"cafile {files.own.ca}", "require_certificate true")
    with Broker(tmp_path, config=config) as broker:
        assert probe(broker.port, right).status is Status.OK
        with connected(broker.port, tls=right):
            pass
        for refused in (TlsSettings(**trust), wrong):
            assert_refused(broker.port, refused, f"127.0.0.1:{broker.port}", "mqtt.tls.cert")


def test_old_versions_are_not_spoken() -> None:
    """A broker that speaks nothing newer than TLS 1.1 is not spoken to, whatever the system's OpenSSL would allow."""
    context = tls_context(TlsSettings())
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_plain_and_tls_are_told_apart(tmp_path: Path, broker: Broker, files: Files) -> None:
    """Plain MQTT to a TLS port and TLS to a plain one both fail with the other port as advice."""
    assert_refused(broker.port, None, f"127.0.0.1:{broker.port}", "[mqtt.tls]")
    plain = tmp_path / "plain"
    plain.mkdir()
    with Broker(plain) as other:
        assert_refused(other.port, TlsSettings(ca=files.own.ca), "no TLS with", "8883")


@pytest.mark.parametrize("wrong", ["no ca", "bad ca", "no cert", "bad cert", "no key", "other key"])
def test_files_that_cannot_be_used(broker: Broker, files: Files, wrong: str) -> None:
    """A file that is missing, no certificate or of another key is named with its setting, as something of our own."""
    good = {"ca": files.own.ca, "cert": files.client.cert, "key": files.client.key}
    what, name = wrong.split()
    put = {"no": files.none, "bad": files.rubbish, "other": files.broker.key}[what]
    setting = "cert" if what == "other" else name
    assert_refused(broker.port, TlsSettings(**{**good, name: put}), f"mqtt.tls.{setting} (", "that the user hailod can")
