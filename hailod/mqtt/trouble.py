"""Why a broker cannot be reached, in words for people: what is wrong, and what to do."""

from __future__ import annotations

import socket
import ssl
from typing import NamedTuple

from hailod.config.model import MqttSettings

# What the broker says in its CONNACK, by reason code of MQTT 5 (paho translates those of 3.1.1), and the remedy.
_REFUSALS = {
    0x84: "set mqtt.protocol to a version that the broker speaks",
    0x85: "the broker limits client ids; allow those that begin with hailod-",
    0x86: "set mqtt.username and mqtt.password as the broker knows them (mosquitto_passwd)",
    0x87: "the broker wants a user, or allows this one nothing; set mqtt.username and mqtt.password, and see its ACL",
    0x88: "the broker is not ready; see its log",
    0x89: "the broker is busy; see its log",
    0x8A: "the broker has banned this client; see its log",
}


class Trouble(NamedTuple):
    """What is wrong and what to do about it."""

    text: str
    fix: str


def peer_of(settings: MqttSettings) -> str:
    """The broker as people write it."""
    return f"{settings.host}:{settings.effective_port}"


def unreachable(error: OSError | ValueError, settings: MqttSettings) -> Trouble:
    """What an error on the way to the broker means."""
    peer = peer_of(settings)
    match error:
        case socket.gaierror():
            return Trouble(f"the name {settings.host} cannot be resolved", "correct mqtt.host, or see the name server")
        case ConnectionRefusedError():
            return Trouble(
                f"nothing listens on {peer}", "start the broker (systemctl start mosquitto), or see mqtt.port"
            )
        case ssl.SSLCertVerificationError():
            return Trouble(
                f"the certificate of {peer} is not trusted: {error.verify_message}",
                "set mqtt.tls.ca to the authority that signed it, and mqtt.host to the name it certifies",
            )
        case ssl.SSLError():
            return Trouble(
                f"no TLS with {peer}: {getattr(error, 'reason', None) or error}",
                "use its TLS port (8883) or remove [mqtt.tls]; it may also want mqtt.tls.cert and mqtt.tls.key",
            )
        case TimeoutError():
            return Trouble(f"{peer} does not answer", "see that it is on, and that no firewall drops it")
        case _:
            return Trouble(f"{peer} cannot be reached: {reason_of(error)}", "see mqtt.host and the network")


def reason_of(error: Exception) -> str:
    """The system's word for an error, else its class; never its text, which may hold what we sent."""
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def refusal_fix(code: int) -> str:
    """What to do about a broker that answers CONNECT with this reason code of MQTT 5."""
    return _REFUSALS.get(code, "see the broker's log")
