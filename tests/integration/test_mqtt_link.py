"""The connection against real brokers: a mosquitto, and an amqtt that speaks 3.1.1 only."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from hailod.config.model import TlsSettings
from hailod.mqtt import commands
from hailod.mqtt.lanes import Drop, Kind
from hailod.mqtt.messages import Inbound
from hailod.mqtt.outbox import CAMERA_STATE
from hailod.mqtt.reconnect import MQTT_3_1_1, MQTT_5
from hailod.mqtt.trouble import PERHAPS_ANOTHER_CLIENT
from tests.support.broker import Broker, Observer, OldBroker, ScriptedBroker
from tests.support.node import CLOCK, FRONT, TOPICS, Node, connected
from tests.support.waiting import wait_for


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as running:
        yield running


def test_announcement_and_farewell(broker: Broker) -> None:
    """A subscriber sees info, models, settings, health, the camera, `online` and only then streams; at the end
    `offline`."""
    with Observer(broker.port, "hailod/pi/#") as observer:
        node = Node(broker.port)
        for topic in (FRONT.status, FRONT.state, TOPICS.health, TOPICS.settings, TOPICS.models, TOPICS.info):
            node.outbox.state(topic, {"v": 1})
        with node:
            wait_for(lambda: node.connected)
            node.outbox.stream(TOPICS.metrics, {"fps": 1.0}, 1.0)
            observer.wait_for(TOPICS.metrics)
        observer.wait_for(TOPICS.status, 2)
        assert [message.topic for message in observer.seen] == [
            TOPICS.info,
            TOPICS.models,
            TOPICS.settings,
            TOPICS.health,
            FRONT.state,
            FRONT.status,
            TOPICS.status,
            TOPICS.metrics,
            TOPICS.status,
        ]
        assert [message.payload for message in observer.of(TOPICS.status)] == [b"online", b"offline"]
    with Observer(broker.port, "hailod/pi/#") as late:
        (status,) = late.wait_for(TOPICS.status)
        assert (status.payload, status.retain) == (b"offline", True)
        late.wait_for(TOPICS.info)
        assert not late.of(TOPICS.metrics), "only state is retained"
    assert [link.connected for link in node.links] == [True, False]


def test_what_waits_is_sent_before_the_farewell(broker: Broker) -> None:
    """State and events put right before the stop still reach the broker, before `offline`."""
    with Observer(broker.port, "hailod/pi/#") as observer:
        with connected(broker.port) as node:
            observer.wait_for(TOPICS.status)
            node.outbox.event(TOPICS.event, {"event_type": "stopping"})
            node.outbox.state(FRONT.status, "offline")
        observer.wait_for(TOPICS.status, 2)
        assert {message.topic for message in observer.seen[1:3]} == {TOPICS.event, FRONT.status}
        assert observer.seen[3].payload == b"offline"


def test_killed_daemon_is_offline_by_its_will(broker: Broker) -> None:
    """When the daemon is killed the broker says `offline`, retained."""
    program = f"""
import threading
from tests.support.node import Node
with Node({broker.port}):
    threading.Event().wait()
"""
    with Observer(broker.port, TOPICS.status) as observer:
        daemon = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[2])
        try:
            assert observer.wait_for(TOPICS.status)[0].payload == b"online"
        finally:
            daemon.kill()
            daemon.wait(10)
        assert observer.wait_for(TOPICS.status, 2)[1].payload == b"offline"


def test_broker_that_forgot_everything_is_told_everything(broker: Broker) -> None:
    """After the broker came back with an empty store, every state is there again, as it is by now."""
    with connected(broker.port) as node:
        topics = [TOPICS.info, TOPICS.models, TOPICS.settings, TOPICS.health, FRONT.settings, FRONT.state, FRONT.status]
        for topic in topics:
            node.outbox.state(topic, {"v": 1})
        with Observer(broker.port, "hailod/pi/#") as observer:
            for topic in topics:
                observer.wait_for(topic)
        broker.stop()
        wait_for(lambda: not node.connected)
        node.outbox.state(TOPICS.settings, {"v": 2})
        broker.start()
        with Observer(broker.port, "hailod/pi/#") as observer:
            for topic in (*topics, TOPICS.status):
                observer.wait_for(topic)
            assert observer.of(TOPICS.settings)[-1].json == {"v": 2}
            assert observer.of(TOPICS.info)[-1].json == {"v": 1}
        assert node.client.reconnects == 1
        assert [link.connected for link in node.links] == [True, False, True]


def test_outage(broker: Broker) -> None:
    """During an outage streams are dropped and counted, state is coalesced; events are replayed, marked, in order."""
    with connected(broker.port) as node:
        node.outbox.event(FRONT.event, {"event_type": "before"})
        with Observer(broker.port, FRONT.event) as observer:
            node.outbox.event(FRONT.event, {"event_type": "before"})
            wait_for(lambda: any(message.json["seq"] == 2 for message in observer.of(FRONT.event)))
        broker.stop()
        wait_for(lambda: not node.connected)
        before = node.outbox.drops.get(("detections", Drop.OFFLINE), 0)
        for number in range(40):
            node.outbox.stream(FRONT.detections, {"n": number}, 30.0)
            node.outbox.state(FRONT.state, {"n": number}, CAMERA_STATE)
            node.outbox.event(FRONT.event, {"event_type": "during"})
        assert node.client.dropped["detections"] == before + 40
        assert node.outbox.waiting[Kind.EVENT] == 40
        broker.start()
        with Observer(broker.port, "hailod/pi/#") as observer:
            wait_for(lambda: node.connected)
            node.outbox.event(FRONT.event, {"event_type": "after"})
            wait_for(lambda: any(message.json["seq"] == 43 for message in observer.of(FRONT.event)))
            events = [(message.json["seq"], message.json["replayed"]) for message in observer.of(FRONT.event)]
            # The observer may come later than the node: what it sees has no gap and ends with the live event.
            assert events == [(seq, seq < 43) for seq in range(events[0][0], 44)]
            assert [message.json for message in observer.of(FRONT.state)] == [{"n": 39}]
            assert not observer.of(FRONT.detections)
        assert "event" not in node.client.dropped


def test_command_round_trip_with_response_topic(broker: Broker) -> None:
    """A command with a Response Topic is answered there, with its correlation data."""
    with connected(broker.port) as node, Observer(broker.port, "hailod/client/#") as asker:
        asker.publish(
            "hailod/pi/cmd/ping",
            '{"id":"1","args":{"x":2}}',
            ResponseTopic="hailod/client/me",
            CorrelationData=b"\x00\xfe",
            MessageExpiryInterval=30,
        )
        wait_for(lambda: node.inbound)
        (message,) = node.inbound
        assert 0 < (message.expiry or 0) <= 30
        request = commands.parse(message, TOPICS)
        assert isinstance(request, commands.Request)
        assert isinstance(request.command, commands.Ping)
        assert request.origin.reply_to is not None
        node.outbox.reply(request.origin.reply_to, commands.ok(request.origin, request.command.args, CLOCK))
        (reply,) = asker.wait_for("hailod/client/me")
        assert reply.correlation == b"\x00\xfe"
        assert (reply.json["status"], reply.json["data"], reply.retain) == ("ok", {"x": 2}, False)


def test_retained_command_is_refused_and_cleared(broker: Broker) -> None:
    """A command published with the retain flag arrives marked, is refused, and the broker forgets it."""
    topic = "hailod/pi/cmd/device.restart"
    with connected(broker.port) as node, Observer(broker.port, TOPICS.reply("device.restart")) as asker:
        asker.publish(topic, '{"id":"1"}', retain=True)
        wait_for(lambda: node.inbound)
        refusal = commands.parse(node.inbound[0], TOPICS)
        assert isinstance(refusal, commands.Refusal)
        assert refusal.clear
        assert refusal.origin.reply_to is not None
        node.outbox.reply(refusal.origin.reply_to, commands.error(refusal.origin, refusal.error, CLOCK))
        node.outbox.forget(refusal.origin.topic)
        (reply,) = asker.wait_for(TOPICS.reply("device.restart"))
        assert reply.json["error"]["code"] == "retained_ignored"
        wait_for(lambda: not any(node.outbox.waiting.values()))
        asker.publish("hailod/pi/cmd/ping", "{}")
        wait_for(lambda: len(node.inbound) == 2)
        assert node.inbound[1].topic == "hailod/pi/cmd/ping", "the clearing did not come back to the node"
    with Observer(broker.port, topic, "hailod/pi/#") as late:
        late.wait_for(TOPICS.status)
        assert not late.of(topic)


def test_commands_of_an_absent_time_are_lost(broker: Broker) -> None:
    """A command sent, even retained, while the daemon is away is not run when it comes."""
    with Observer(broker.port, "x") as asker:
        asker.publish("hailod/pi/cmd/ping", "{}")
        asker.publish("hailod/pi/cmd/ping", "{}", retain=True)
        with connected(broker.port) as node:
            asker.publish("hailod/pi/cmd/device.restart", "{}")
            wait_for(lambda: node.inbound)
            assert [message.topic for message in node.inbound] == ["hailod/pi/cmd/device.restart"]


def test_node_without_control_hears_nothing(broker: Broker) -> None:
    """With `allow_control = false` no command reaches the daemon."""
    with connected(broker.port, allow_control=False) as node, Observer(broker.port, "hailod/pi/#") as asker:
        asker.publish("hailod/pi/cmd/ping", "{}")
        asker.wait_for("hailod/pi/cmd/ping")
        node.outbox.state(TOPICS.info, {"v": 1})
        asker.wait_for(TOPICS.info)
        assert node.inbound == []


def test_huge_command_arrives_cut(broker: Broker) -> None:
    """A command above the limit is handed over cut to a byte more than allowed, enough to be refused by name; one that
    no command could be is not delivered at all."""
    with connected(broker.port) as node, Observer(broker.port, "x") as asker:
        asker.publish("hailod/pi/cmd/ping", b"x" * 1_000_000)
        asker.publish("hailod/pi/cmd/ping", b"x" * 20_000)
        wait_for(lambda: node.inbound)
        (message,) = node.inbound
        assert len(message.payload) == commands.MAX_BYTES + 1
        refusal = commands.parse(message, TOPICS)
        assert isinstance(refusal, commands.Refusal)
        assert refusal.error.code == "too_large"


def test_failing_handler_does_not_end_the_connection(broker: Broker) -> None:
    """An exception in the handler of a message is logged and counted; the next message is handled."""
    with connected(broker.port) as node, Observer(broker.port, "x") as asker, capture_logs() as lines:

        def fail(_message: Inbound) -> None:
            raise RuntimeError("handler")

        node.handler = fail
        asker.publish("hailod/pi/cmd/ping", "{}")
        wait_for(lambda: node.client.dropped.get("inbound") == 1)
        node.handler = node.inbound.append
        asker.publish("hailod/pi/cmd/ping", "{}")
        wait_for(lambda: node.inbound)
        assert node.connected
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["inbound message not handled"]


def test_broker_of_3_1_1_is_spoken_to(tmp_path: Path) -> None:
    """A broker that does not know MQTT 5 is found with 3.1.1; state, commands and replies work there."""
    with OldBroker(tmp_path) as broker, connected(broker.port) as node:
        assert node.client.protocol == MQTT_3_1_1
        with Observer(broker.port, "hailod/pi/#", protocol=4) as observer:
            observer.publish("hailod/pi/cmd/ping", '{"id":"1"}')
            wait_for(lambda: node.inbound)
            request = commands.parse(node.inbound[0], TOPICS)
            assert isinstance(request, commands.Request)
            assert request.origin.reply_to is not None
            node.outbox.reply(request.origin.reply_to, commands.ok(request.origin, None, CLOCK))
            assert observer.wait_for(TOPICS.reply("ping"))[0].json["id"] == "1"
            node.outbox.state(TOPICS.info, {"v": 1})
            observer.wait_for(TOPICS.info)


def test_stalled_broker_blocks_nobody(broker: Broker) -> None:
    """While the broker reads nothing, putting goes on, what waits stays bounded, and afterwards the latest arrives."""
    with connected(broker.port) as node:
        node.outbox.state(TOPICS.info, {"v": 1})
        wait_for(lambda: not any(node.outbox.waiting.values()))
        broker.signal(signal.SIGSTOP)
        try:
            padding = "x" * 8000
            for number in range(5000):
                node.outbox.stream(FRONT.detections, {"n": number, "x": padding}, 30.0)
                node.outbox.stream(TOPICS.metrics, {"n": number, "x": padding}, 30.0)
                node.outbox.state(FRONT.settings, {"n": number, "x": padding})
                node.outbox.event(FRONT.event, {"n": number, "x": padding})
            waiting = node.outbox.waiting
            assert waiting[Kind.EVENT] <= 1000
            assert waiting[Kind.STATE] <= 1
            assert waiting[Kind.STREAM] <= 2
            assert node.client.worker.alive
        finally:
            broker.signal(signal.SIGCONT)
        # The last events follow once the broker reads again: none is lost uncounted.
        with Observer(broker.port, FRONT.settings) as observer:
            wait_for(lambda: any(message.json["n"] == 4999 for message in observer.of(FRONT.settings)))
        wait_for(lambda: node.outbox.waiting[Kind.EVENT] == 0)
        assert node.outbox.dropped["event"] >= 3900


def test_wrong_password_is_named_once_and_never_shown(tmp_path: Path) -> None:
    """A refused password is one warning that says what to do, for many attempts; the password is in no log line."""
    with Broker(tmp_path, users={"pi": "right%#secret"}) as broker:
        with capture_logs() as lines:
            node = Node(broker.port, username="pi", password=SecretStr("wrong%#secret"), most=0.05)
            refused = "not authorized"
            with node:
                wait_for(lambda: sum(refused in str(line.get("reason")) for line in lines) >= 1)
                wait_for(lambda: node.client.attempts >= 5)
        warnings = [line for line in lines if line["log_level"] == "warning"]
        assert len(warnings) == 1
        assert "mqtt.password" in warnings[0]["advice"]
        assert "secret" not in repr((lines, node.links))
        assert {link.connected for link in node.links} == {False}


def test_two_nodes_of_one_id_are_named(broker: Broker) -> None:
    """Two nodes that throw each other out each say so, in the log and in health, though this broker does not; and each
    waits the longest delay from then on, so that there is no fight."""
    with capture_logs() as lines, Node(broker.port) as first, Node(broker.port) as second:
        nodes = (first, second)
        wait_for(lambda: all(PERHAPS_ANOTHER_CLIENT in node.troubles for node in nodes), what="both know")
        # One of them is in again, and says what may befall it.
        wait_for(lambda: any(node.connected and node.links[-1].trouble for node in nodes), what="the winner says so")
        for node in nodes:
            known = [link for link in node.links if link.trouble == PERHAPS_ANOTHER_CLIENT and not link.connected]
            assert all(link.retry_s is not None and link.retry_s >= 0.7 * 0.2 for link in known)
    named = [line["advice"] for line in lines if line["event"] == "mqtt connection taken by another client"]
    assert len(named) == 2, "each says it once"
    assert all("give each node a name of its own" in advice for advice in named)


def test_broker_that_refuses_version_5_is_asked_for_3_1_1_at_once() -> None:
    """A broker that refuses the version gets 3.1.1 in the next connection."""
    with ScriptedBroker(b"\x20\x02\x00\x01", b"\x20\x02\x00\x00") as broker, Node(broker.port, most=30.0) as node:
        wait_for(lambda: node.client.protocol == MQTT_3_1_1)
        assert node.client.attempts == 2


@pytest.mark.parametrize(
    "packet", [b"\x20\x03\x00", b"\x00" * 20, b"\xff" * 50, b"\x20\x08\x00\x00\x05\x99xxxx", b"HTTP/1.1 400"]
)
def test_nonsense_of_a_broker_ends_the_connection_only(packet: bytes) -> None:
    """Packets that mean nothing cost the connection, not the thread: the client tries again."""
    with ScriptedBroker(*[packet] * 8) as broker, Node(broker.port) as node:
        wait_for(lambda: node.client.attempts >= 3)
        assert node.client.worker.alive


def test_absent_broker_is_one_warning(free_port: int) -> None:
    """A broker that is not there is one warning, repeated at debug level; start and stop do not wait for it."""
    with capture_logs() as lines, Node(free_port) as node:
        wait_for(lambda: node.client.attempts >= 4)
        assert not node.connected
    levels = [line["log_level"] for line in lines if line["event"].startswith("mqtt")]
    assert levels[0] == "warning"
    assert set(levels[1:]) == {"debug"}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make certificates")
def test_tls(tmp_path: Path) -> None:
    """Over TLS a broker with a certificate of the given authority is trusted, and any other is not."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", *subject]
    subprocess.run([*make, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    with Broker(tmp_path, config=[f"certfile {certificate}", f"keyfile {key}"]) as broker:
        with connected(broker.port, tls=TlsSettings(ca=certificate)) as node:
            assert node.client.protocol == MQTT_5
        with connected(broker.port, tls=TlsSettings(insecure=True)) as node:
            assert node.client.protocol == MQTT_5
        with capture_logs() as lines, Node(broker.port, tls=TlsSettings()) as node:
            wait_for(lambda: node.client.attempts >= 2)
            assert not node.connected
        assert "is not trusted" in repr(lines)
