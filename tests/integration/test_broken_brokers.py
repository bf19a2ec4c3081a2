"""Brokers that do wrong: none stops the client, each is named with what helps, and a healthy one ends the trouble."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from hailod.config.model import TlsSettings
from hailod.mqtt import client as mqtt_client
from hailod.mqtt import tls
from hailod.mqtt.lanes import Drop, Kind
from hailod.mqtt.messages import Trouble
from hailod.mqtt.reconnect import MQTT_5
from hailod.mqtt.session import MAX_READ
from hailod.mqtt.trouble import ANOTHER_CLIENT, CLOSED, GONE_SILENT, NO_MQTT, SILENT
from tests.support.broken_broker import CONNECT, PUBLISH, Behaviour, BrokenBroker
from tests.support.broker import Broker, Observer, free_port
from tests.support.node import FRONT, TOPICS, Node
from tests.support.waiting import wait_for


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a broker less time to answer than users must."""
    monkeypatch.setattr(mqtt_client, "_CONNACK_TIMEOUT", 0.3)


def recovers(node: Node, directory: Path, port: int) -> None:
    """A healthy broker on the same port is found, and told everything."""
    with Broker(directory, port=port) as broker:
        wait_for(lambda: node.connected, what="the healthy broker is found", timeout=20.0)
        with Observer(broker.port, "hailod/pi/#") as observer:
            for topic in (*node.outbox.present, TOPICS.status):
                observer.wait_for(topic)
        assert node.links[-1].connected
        node.client.stop(1.5)


def texts(node: Node) -> list[str]:
    return [trouble.text for trouble in node.troubles if trouble is not None]


def test_absent_broker_is_found_when_it_starts(tmp_path: Path) -> None:
    """A broker that is not there yet is named with where it should be, what helps and when the next attempt comes;
    once it starts all is told, events of before as well."""
    port = free_port()
    with Node(port) as node:
        node.outbox.event(FRONT.event, {"event_type": "early"})
        wait_for(lambda: len(node.links) >= 2, what="an attempt failed")
        link = node.links[-1]
        assert (link.connected, link.trouble and link.trouble.text) == (False, f"nothing listens on 127.0.0.1:{port}")
        assert "systemctl start mosquitto" in link.trouble.fix
        assert link.retry_s is not None
        with Broker(tmp_path, port=port) as broker, Observer(broker.port, FRONT.event) as observer:
            wait_for(lambda: node.connected)
            node.outbox.event(FRONT.event, {"event_type": "late"})
            wait_for(lambda: any(m.json["event_type"] == "late" for m in observer.of(FRONT.event)))
            node.client.stop(1.5)
    assert "event" not in node.client.dropped


def test_password_that_is_put_right_at_the_broker_ends_the_trouble(tmp_path: Path) -> None:
    """A refused password is told without the password and tried on; when the administrator corrects the broker the
    node is in, without a restart."""
    with Broker(tmp_path, users={"pi": "another"}) as broker:
        settings = {"username": "pi", "password": SecretStr("s3cret%#word")}
        with capture_logs() as lines, Node(broker.port, most=0.05, **settings) as node:
            wait_for(lambda: len(node.links) >= 3, what="it is tried again")
            broker.set_users({"pi": "s3cret%#word"})
            wait_for(lambda: node.connected, what="it is accepted")
            assert all("refuses us: not authorized" in text for text in texts(node))
            assert "mqtt.password" in (node.troubles[0] or Trouble("", "")).fix
    assert sum(line["event"] == "mqtt connection refused" for line in lines) == 1
    assert "s3cret" not in repr((node.links, lines))


def test_mute_broker_is_tried_with_both_versions_and_recovers(tmp_path: Path, soon: None) -> None:
    """A broker that takes the connection and never answers costs a time-out each, once for either version, and no
    thread; when it answers again it is spoken to."""
    threads = threading.active_count()
    with BrokenBroker(Behaviour.MUTE) as broken, Node(broken.port) as node:
        wait_for(lambda: node.client.attempts >= 4, what="it is tried again")
        wait_for(lambda: SILENT in node.troubles)
        served = broken.connections
        # The client's own thread and one that opens a connection; the broker has one for each that it accepted.
        assert threading.active_count() <= threads + 2 + 1 + served
        assert node.client.worker.late is False
        broken.make_way()
        recovers(node, tmp_path, broken.port)


def test_mute_broker_is_not_waited_for_in_a_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that takes the connection and never begins with TLS is given up after some seconds, however long the
    keep-alive time is."""
    monkeypatch.setattr(tls, "HANDSHAKE_TIMEOUT", 0.2)
    settings = {"keepalive": 600, "tls": TlsSettings(insecure=True)}
    with BrokenBroker(Behaviour.MUTE) as broken, Node(broken.port, **settings) as node:
        wait_for(lambda: node.client.attempts >= 3, what="it is tried again")
        assert set(texts(node)) == {f"127.0.0.1:{broken.port} does not answer"}


def test_stolen_session_is_not_fought_for(tmp_path: Path) -> None:
    """A broker that says that another client took our session over, as briefly as mosquitto says it, is believed at
    once: the longest delay, a warning with the cause, and health says so also once connected again."""
    with BrokenBroker(Behaviour.TAKING_OVER) as broken, capture_logs() as lines, Node(broken.port, most=0.5) as node:
        wait_for(lambda: ANOTHER_CLIENT in node.troubles, what="the cause is known")
        link = next(link for link in node.links if link.trouble == ANOTHER_CLIENT and not link.connected)
        assert link.retry_s is not None
        assert link.retry_s >= 0.7 * 0.5, "the longest delay at once"
        wait_for(lambda: node.client.attempts >= 3)
        broken.make_way()
        with Broker(tmp_path, port=broken.port):
            wait_for(lambda: node.connected and node.links[-1].connected, what="the healthy broker is found")
            assert node.links[-1].trouble == ANOTHER_CLIENT, "it may come again"
    (warning,) = [line for line in lines if line["event"] == "mqtt connection taken by another client"]
    assert warning["advice"] == ANOTHER_CLIENT.fix


def test_broker_that_only_closes_is_survived(tmp_path: Path) -> None:
    """A broker that accepts and closes without a word is tried on, more and more slowly, until it behaves."""
    with BrokenBroker(Behaviour.CLOSING) as broken, Node(broken.port) as node:
        node.outbox.state(TOPICS.info, {"v": 1})
        wait_for(lambda: node.client.reconnects >= 3)
        assert CLOSED in node.troubles
        assert any("perhaps another client" in text for text in texts(node))
        broken.make_way()
        recovers(node, tmp_path, broken.port)


def test_broker_that_stops_reading_is_given_up_for_one_that_reads(tmp_path: Path) -> None:
    """While the socket is full streams are skipped, state is coalesced and memory stays bounded; the missing answer to
    a ping is noticed, the connection made anew, and the latest state told."""
    padding = "x" * 8000
    with BrokenBroker(Behaviour.STALLING) as broken, Node(broken.port, keepalive=2) as node:
        wait_for(lambda: node.connected)

        def silence_noticed() -> bool:
            for number in range(400):
                node.outbox.stream(FRONT.detections, {"n": number, "x": padding}, 30.0)
                node.outbox.state(FRONT.state, {"n": number, "x": padding})
            waiting = node.outbox.waiting
            assert waiting[Kind.STREAM] <= 1
            assert waiting[Kind.STATE] <= 2
            assert node.client.worker.late is False
            return GONE_SILENT in node.troubles

        silence_noticed()
        tracemalloc.start()
        try:
            wait_for(silence_noticed, every=0.02, what="the silence is noticed")
            assert tracemalloc.get_traced_memory()[1] < 20_000_000
        finally:
            tracemalloc.stop()
        node.outbox.state(FRONT.state, {"n": "last"})
        drops = node.outbox.drops
        assert drops["detections", Drop.BUSY] + drops.get(("detections", Drop.PACED), 0) > 100
        broken.make_way()
        with Broker(tmp_path, port=broken.port) as broker, Observer(broker.port, FRONT.state) as observer:
            wait_for(lambda: [m for m in observer.of(FRONT.state) if m.json["n"] == "last"], what="the latest is told")
            node.client.stop(1.5)


def test_broker_that_answers_nothing_is_noticed(tmp_path: Path) -> None:
    """A broker that reads and acknowledges nothing gets no more messages at once than the window allows; its silence
    ends the connection, and what it never acknowledged is told again."""
    with BrokenBroker(Behaviour.SILENT) as broken, Node(broken.port, keepalive=1) as node:
        for number in range(100):
            node.outbox.event(FRONT.event, {"event_type": "x", "n": number})
        wait_for(lambda: GONE_SILENT in node.troubles, what="the silence is noticed")
        assert len(broken.published(1)) <= 20
        broken.make_way()
        with Broker(tmp_path, port=broken.port) as broker, Observer(broker.port, FRONT.event) as observer:
            wait_for(lambda: {m.json["n"] for m in observer.of(FRONT.event)} >= set(range(20, 100)), what="replayed")
            assert all(m.json["replayed"] for m in observer.of(FRONT.event))
            node.client.stop(1.5)
    assert "event" not in node.client.dropped


def test_frozen_mosquitto_is_left_and_found_again(tmp_path: Path) -> None:
    """A real broker that is stopped in mid-connection is noticed by its silence; it is told the present state when it
    runs again."""
    with Broker(tmp_path) as broker, Node(broker.port, keepalive=1) as node:
        wait_for(lambda: node.connected)
        broker.signal(signal.SIGSTOP)
        try:
            node.outbox.state(TOPICS.info, {"n": 1})
            wait_for(lambda: GONE_SILENT in node.troubles, what="the silence is noticed")
            node.outbox.state(TOPICS.info, {"n": 2})
        finally:
            broker.signal(signal.SIGCONT)
        with Observer(broker.port, TOPICS.info) as observer:
            wait_for(lambda: [m for m in observer.of(TOPICS.info) if m.json["n"] == 2], what="the state is told")


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_broker_that_sends_garbage_is_named(tmp_path: Path, protocol: str) -> None:
    """Bytes that are no MQTT end the connection only: it is said, tried again, and well with a healthy broker."""
    with BrokenBroker(Behaviour.GARBAGE) as broken, Node(broken.port, protocol=protocol) as node:
        wait_for(lambda: NO_MQTT in node.troubles, what="it is named")
        wait_for(lambda: node.client.attempts >= 3)
        broken.make_way()
        recovers(node, tmp_path, broken.port)


def test_huge_packet_is_not_read(tmp_path: Path) -> None:
    """A broker that sends 256 MB at us loses the connection before they are in memory. As a retained message would come
    again with each subscription, nothing is subscribed for a while, which is said; publishing goes on."""
    with BrokenBroker(Behaviour.HUGE) as broken, Node(broken.port) as node:
        tracemalloc.start()
        try:
            wait_for(lambda: node.client.attempts >= 3, what="it is tried again")
            assert tracemalloc.get_traced_memory()[1] < 8 * MAX_READ
        finally:
            tracemalloc.stop()
        assert any(text.startswith("the broker sent a packet of 2684354") for text in texts(node))
        broken.make_way()
        with Broker(tmp_path, port=broken.port) as broker, Observer(broker.port, "hailod/#") as asker:
            wait_for(lambda: node.connected and node.links[-1].connected)
            limits = node.links[-1].limits
            assert limits is not None
            assert "no remote control for some minutes" in limits.text
            assert "clear what is retained" in limits.fix
            asker.publish("hailod/pi/cmd/ping", "{}")
            node.outbox.state(TOPICS.info, {"v": 1})
            asker.wait_for(TOPICS.info)
            assert node.inbound == []
            # The time is over.
            node.client._deaf_until = 0.0
            node.outbox.state(TOPICS.info, {"v": 2})
            wait_for(lambda: node.links[-1].limits is None, what="control is back")
            wait_for(lambda: asker.publish("hailod/pi/cmd/ping", "{}") or node.inbound, what="commands come", every=0.1)
            node.client.stop(1.5)


@pytest.mark.parametrize("after", [0, 3, 6])
def test_interrupted_announcement_is_begun_anew(tmp_path: Path, after: int) -> None:
    """When the broker goes in the middle of the announcement the next connection tells everything, in order."""
    topics = [TOPICS.info, TOPICS.models, TOPICS.settings, TOPICS.health, FRONT.state, FRONT.settings, FRONT.status]
    with BrokenBroker(Behaviour.INTERRUPTING, after=after) as broken:
        node = Node(broken.port)
        for topic in topics:
            node.outbox.state(topic, {"v": 1})
        with node:
            wait_for(lambda: node.client.attempts >= 3, what="it is interrupted twice")
            for connection in (1, 2):
                assert broken.published(connection)[: after + 1] == [*topics, TOPICS.status][: after + 1]
            broken.make_way()
            broker = Broker(tmp_path, port=broken.port)
            with broker:
                wait_for(lambda: node.connected)
                wait_for(lambda: not any(node.outbox.waiting.values()))
                with Observer(broker.port, "hailod/pi/#") as observer:
                    observer.wait_for(TOPICS.status)
                    assert {m.topic for m in observer.seen} == {*topics, TOPICS.status}
                node.client.stop(1.5)


def test_smaller_packets_cost_what_is_larger_and_nothing_else(tmp_path: Path) -> None:
    """A mosquitto with a small packet limit gets all that fits; what does not is dropped, counted and said once, with
    its topic, its size and the setting to raise; when it is raised everything is there."""
    broker = Broker(tmp_path, config=["max_packet_size 2000"])
    with broker, capture_logs() as lines, Node(broker.port) as node:
        with Observer(broker.port, "hailod/pi/#") as observer:
            wait_for(lambda: node.connected)
            for number in range(3):
                node.outbox.state(TOPICS.models, {"n": number, "x": "x" * 4000})
                node.outbox.state(TOPICS.info, {"n": number})
                wait_for(lambda n=number: [m for m in observer.of(TOPICS.info) if m.json["n"] == n])
                node.outbox.event(FRONT.event, {"n": number})
            observer.wait_for(FRONT.event, 3)
            limits = wait_for(lambda: node.links[-1].limits, what="the limit is told")
            assert "the broker takes at most 2000 bytes a message" in limits.text
            assert TOPICS.models in limits.text
            assert "max_packet_size" in limits.fix
            assert node.outbox.drops["state", Drop.TOO_LARGE] == 3
            assert node.client.reconnects == 0, "the broker was never given cause to throw us out"
            assert not [m for m in observer.of(TOPICS.models) if m.payload]
        broker.stop()
        with Broker(tmp_path, port=broker.port) as larger, Observer(larger.port, TOPICS.models) as late:
            late.wait_for(TOPICS.models)
            wait_for(lambda: node.links[-1].connected and node.links[-1].limits is None, what="the limit is over")
            node.client.stop(1.5)
    assert [line["topic"] for line in lines if line["event"] == "document refused"] == [TOPICS.models]


@pytest.mark.parametrize(("behaviour", "limit"), [(Behaviour.SMALL, 500), (Behaviour.FEW, 2)])
def test_limits_of_the_broker_are_kept_to_the_letter(behaviour: Behaviour, limit: int) -> None:
    """No packet is larger, and no more wait for an acknowledgement, than the broker said it takes."""
    with BrokenBroker(behaviour, limit=limit) as broken, Node(broken.port) as node:
        wait_for(lambda: node.connected)
        for number in range(30):
            node.outbox.event(FRONT.event, {"n": number, "x": "x" * (600 if number % 10 == 9 else 60)})
        expected = 27 if behaviour is Behaviour.SMALL else 30
        wait_for(lambda: broken.published().count(FRONT.event) >= expected, what="all that may come has come")
        wait_for(lambda: not any(node.outbox.waiting.values()))
        assert node.client.protocol == MQTT_5
        assert broken.refused == 0
        assert broken.published().count(FRONT.event) == expected
    assert broken.published()[-1] == TOPICS.status
    assert {packet.kind for packet in broken.packets} >= {CONNECT, PUBLISH}


@pytest.fixture
def dead_name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Look-ups of `broker.example` do not return before the event is set; they find nothing then."""
    answer = threading.Event()
    real = socket.getaddrinfo

    def look_up(host: object, *args: object, **others: object) -> object:
        if host == "broker.example":
            answer.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return real(host, *args, **others)  # type: ignore[call-overload]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield answer
    answer.set()


def test_name_server_that_never_answers_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, dead_name_server: threading.Event
) -> None:
    """While the broker's name is looked up without an end the MQTT thread gives its sign of life, one thread is left
    behind however often it is tried, health can say what is wrong, and the node still stops at once."""
    monkeypatch.setattr(mqtt_client, "_OPEN_TIMEOUT", 0.3)
    with Node(free_port(), host="broker.example") as node:
        threads = threading.active_count()
        wait_for(lambda: node.client.attempts >= 5, what="it is tried again")
        assert threading.active_count() <= threads + 1
        assert node.client.worker.late is False
        wait_for(lambda: texts(node))
        assert set(texts(node)) == {"looking up broker.example and connecting to it does not come to an end"}
        assert "name server" in (node.troubles[-1] or Trouble("", "")).fix
        node.client.stop(1.5)
        assert not node.client.worker.alive, "it stopped in time"
        dead_name_server.set()


def test_daemon_ends_when_told_to_while_a_name_is_looked_up(tmp_path: Path) -> None:
    """SIGTERM ends a daemon whose broker's name never comes to be known, in order and with success."""
    config = tmp_path / "hailod.toml"
    config.write_text(
        'schema = 1\nnode = "pi"\nstate_dir = "state"\n'
        '[mqtt]\nhost = "broker.example"\n[device]\nbackend = "simulated"\n'
    )
    program = f"""
import socket, sys, threading
real = socket.getaddrinfo
def look_up(host, *args, **others):
    if host == "broker.example":
        print("looking up", flush=True)
        threading.Event().wait()
    return real(host, *args, **others)
socket.getaddrinfo = look_up
from hailod.cli import main
sys.exit(main(["run", "--config", {str(config)!r}]))
"""
    daemon = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert daemon.stdout is not None
        said = []
        for line in daemon.stdout:
            said.append(line)
            if line.startswith("looking up"):
                daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(15) == 0
        assert "hailod ends" in said[-1]
        assert not [line for line in said if "left behind" in line]
    finally:
        daemon.kill()
        daemon.wait(10)
        daemon.stdout.close()


def test_stop_does_not_wait_for_a_look_up(dead_name_server: threading.Event) -> None:
    """A node whose first look-up is under way when it is told to stop stops."""
    with Node(free_port(), host="broker.example") as node:
        wait_for(lambda: node.client.attempts == 1)
        node.client.stop(1.5)
        assert not node.client.worker.alive
        dead_name_server.set()
