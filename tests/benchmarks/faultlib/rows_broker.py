"""What the broker does wrong, or the network before it. Inference goes on, state is right again, no event is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import psutil
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from hailod.app import client_id
from tests.benchmarks.faultlib.patience import wait_for
from tests.benchmarks.faultlib.proxy import Mode
from tests.benchmarks.faultlib.recorder import retained_by
from tests.benchmarks.faultlib.row import Rows
from tests.benchmarks.faultlib.trial import HARMLESS, Trial
from tests.support.broken_broker import Behaviour, BrokenBroker
from tests.support.broker import Broker
from tests.support.daemon import BASE, NODE

broker = Rows("broker")

DOWN = "broker_down"


def frames_total(trial: Trial) -> int:
    return int(trial.fresh_metrics()["frames_total"])


def away(trial: Trial, meanwhile: Callable[[], object], back: Callable[[], object]) -> None:
    """The broker is out of reach, which the log tells; inference goes on all the while; then it is back."""
    before = frames_total(trial)
    trial.inject(meanwhile)
    trial.detected(DOWN)
    trial.watch(2.0)
    trial.mend(back)
    trial.recovered()
    trial.check(frames_total(trial) > before + 40, "inference did not go on without the broker")


@broker("absent at the start")
def absent(trial: Trial) -> None:
    trial.start(ready=False, before=lambda: trial.proxy.set(Mode.REFUSE))
    trial.from_start()
    trial.detected(DOWN)
    trial.mend(lambda: trial.proxy.set(Mode.FORWARD))
    trial.recovered()


@broker("gone for a while, and back")
def gone(trial: Trial) -> None:
    trial.start()
    away(trial, lambda: trial.proxy.set(Mode.REFUSE, cut=True), lambda: trial.proxy.set(Mode.FORWARD))


@broker("gone while the device host dies: events are kept")
def gone_with_events(trial: Trial) -> None:
    trial.start()
    host = trial.node.host

    def worse() -> None:
        trial.proxy.set(Mode.REFUSE, cut=True)
        trial.watch(0.5)
        os.kill(host, signal.SIGKILL)

    away(trial, worse, lambda: trial.proxy.set(Mode.FORWARD))
    wait_for(lambda: trial.events("device_recovered"), what="the events of the outage are told")
    trial.check(all(event["replayed"] for event in trial.events("device_lost")), "a kept event is not marked as such")


@broker("restarted without what it retained", short=True)
def forgetful(trial: Trial) -> None:
    trial.start()

    def restart() -> None:
        trial.recorder.disconnect()
        trial.broker.stop()
        trial.broker.start()
        trial.recorder.connect(trial.broker.port, trial.login)

    def cut() -> None:
        trial.proxy.set(Mode.REFUSE, cut=True)

    trial.inject(cut)
    trial.detected(DOWN)
    restart()
    trial.mend(lambda: trial.proxy.set(Mode.FORWARD))
    trial.recovered()


@broker("refuses the password, then takes it")
def refused(trial: Trial) -> None:
    users = {"watcher": "watching-only", NODE: "another-one"}
    trial.login = ("watcher", users["watcher"])
    trial.secrets = ["geheimer-als-geheim", "another-one"]
    server = Broker(trial.folder, users=users)
    trial.start(broker=server, mqtt=f'username = "{NODE}"\npassword = "{trial.secrets[0]}"\n', ready=False)
    trial.from_start()
    trial.detected(DOWN)
    wait_for(lambda: trial.node.logged("not authori") or trial.node.logged("Not authori"), what="the log says why")
    trial.proxy.set(Mode.REFUSE, cut=True)
    trial.recorder.disconnect()
    server.stop()
    users[NODE] = trial.secrets[0]
    server.start()
    trial.recorder.connect(server.port, trial.login)
    trial.mend(lambda: trial.proxy.set(Mode.FORWARD))
    trial.recovered()


@broker("another client of our name takes over", slow=True)
def taken_over(trial: Trial) -> None:
    # Without a relay, which would tell of the end of a connection before it had passed on why.
    trial.start(relay=False)
    before = frames_total(trial)
    other = Client(CallbackAPIVersion.VERSION2, client_id(NODE), protocol=MQTTProtocolVersion.MQTTv5)

    def take_over() -> None:
        other.connect("127.0.0.1", trial.broker.port)
        other.loop_start()

    try:
        trial.inject(take_over)
        trial.detected(DOWN)
        wait_for(lambda: trial.node.logged("same client id"), what="the log says why")
    finally:
        trial.mend(other.disconnect)
        other.loop_stop()
        other._reset_sockets()
    # It may wait for a minute or so: two clients that are quick would throw each other out for ever.
    trial.recovered(timeout=100.0)
    # And for some minutes it warns of the other one, which may be waiting likewise.
    trial.ends = None
    wait_for(lambda: trial.reasons() - HARMLESS == {"broker_unstable"}, what="health warns of the other client")
    trial.check(trial.health_says("broker_unstable", "same client id"), "health does not say what it may be")
    trial.check(frames_total(trial) > before + 40, "inference did not go on without the broker")


@broker("accepts the connection and never answers")
def mute(trial: Trial) -> None:
    trial.start()
    away(
        trial,
        lambda: trial.proxy.set(Mode.SILENT, cut=True),
        lambda: trial.proxy.set(Mode.FORWARD, cut=True),
    )


@broker("stalls with a full socket buffer")
def stalled(trial: Trial) -> None:
    trial.start(mqtt="keepalive = 5\n")
    daemon = psutil.Process(trial.node.process.pid)
    before = daemon.memory_info().rss
    away(trial, lambda: trial.proxy.set(Mode.STALL), lambda: trial.proxy.set(Mode.FORWARD, cut=True))
    grown = (daemon.memory_info().rss - before) / 2**20
    trial.check(grown < 40, f"grew by {grown:.0f} MB meanwhile")


@broker("sends what is no MQTT, then it does")
def garbage(trial: Trial) -> None:
    with BrokenBroker(Behaviour.GARBAGE) as broken:
        trial.start()

        def mislead() -> None:
            trial.proxy.lead_to(broken.port)
            trial.proxy.set(Mode.FORWARD, cut=True)

        def correct() -> None:
            trial.proxy.lead_to(trial.broker.port)
            trial.proxy.set(Mode.FORWARD, cut=True)

        away(trial, mislead, correct)
        trial.check(trial.node.logged("is no MQTT"), "the log does not say what is wrong")
        trial.check(broken.connections < 20, f"{broken.connections} connections: tried without a pause")


@broker("takes packets of 700 bytes at most")
def narrow(trial: Trial) -> None:
    # What is larger cannot be told; the connection and what is smaller must not suffer by it.
    trial.tells_all, trial.ends = False, None
    server = Broker(trial.folder, config=["max_packet_size 700"])
    trial.start(broker=server, ready=False)
    trial.from_start()
    wait_for(lambda: all(len(trial.frames(name)) > 20 for name in trial.online), what="detections come")
    trial.detected("broker_limited")
    wait_for(lambda: trial.node.logged("reason=too_large"), what="the log says what is too large")
    trial.check(len(trial.recorder.of(f"{BASE}/status")) == 1, "the connection did not last")
    kept = retained_by(trial.broker.port)
    trial.check(f"{BASE}/health" not in kept, "an old health is kept, though no newer one can be told")
