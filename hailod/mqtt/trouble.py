"""Why a broker cannot be reached, does not take us or does not let everything through, in words for people."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping

from hailod.config.model import MqttSettings
from hailod.mqtt.messages import Trouble
from hailod.mqtt.tls import TlsFilesError

UNSUPPORTED_PROTOCOL = 0x84
SESSION_TAKEN_OVER = 0x8E

# What a broker says in its CONNACK or DISCONNECT, by reason code of MQTT 5 (paho translates those of 3.1.1), and the
# remedy.
_REMEDIES = {
    0x84: "set mqtt.protocol to a version that the broker speaks",
    0x85: "the broker limits client ids; allow those that begin with hailod-",
    0x86: "set mqtt.username and mqtt.password as the broker knows them (mosquitto_passwd)",
    0x87: "the broker wants a user, or allows this one nothing; set mqtt.username and mqtt.password, and see its ACL",
    0x88: "the broker is not ready; see its log",
    0x89: "the broker is busy; see its log",
    0x8A: "the broker has banned this client; see its log",
    0x8B: "the broker is shutting down; start it again",
    0x93: "the broker takes fewer messages at once than it said; see its log",
    0x95: "raise the broker's largest packet (mosquitto: max_packet_size)",
    0x97: "the broker's quota for this client is used up; see its configuration",
    0x98: "somebody ended the connection at the broker; see its log",
}

# By what OpenSSL says of the broker's certificate (X509_V_ERR_...).
_OTHER_AUTHORITY = "set mqtt.tls.ca to the authority that signed it, and mqtt.host to the name it certifies"
_CERTIFICATE_REMEDIES = {
    9: "it is not valid yet: see the clocks of this machine and of the one that made it (timedatectl)",
    10: "renew it on the broker; if it is not that old, see the clock of this machine (timedatectl)",
    62: "set mqtt.host to a name that it certifies, or make one with this name (subjectAltName)",
    64: "set mqtt.host to a name that it certifies, or make one with this address (subjectAltName=IP:...)",
}
# Alerts with which a broker answers a client's certificate, or that there is none.
_OF_OUR_CERTIFICATE = (
    "CERTIFICATE_REQUIRED",
    "ALERT_UNKNOWN_CA",
    "ALERT_BAD_CERTIFICATE",
    "ALERT_CERTIFICATE",
    "ACCESS",
)
_OUR_CERTIFICATE = (
    "the broker does not accept our certificate: set mqtt.tls.cert and mqtt.tls.key to one that it trusts"
)

ANOTHER_CLIENT = Trouble(
    "another client uses the same client id",
    "give each node a name of its own, and see that no second hailod of this name runs",
)
# Many brokers throw the older of two clients out without a word.
PERHAPS_ANOTHER_CLIENT = Trouble(
    "the broker closes every connection after a short time: perhaps another client uses the same client id",
    f"{ANOTHER_CLIENT.fix}; else see the broker's log",
)
SILENT = Trouble(
    "the broker accepts connections and does not answer",
    "see that mqtt.port is the broker's, and that the broker has not stopped; restart it",
)
GONE_SILENT = Trouble("the broker has stopped answering", "see the network, and restart the broker if it hangs")
CLOSED = Trouble("the broker closed the connection", "see the broker's log")
NO_MQTT = Trouble("what the broker sends is no MQTT", "see that mqtt.port is the broker's")


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
        case TlsFilesError() | ssl.SSLError():
            return _no_tls(error, peer)
        case TimeoutError():
            return Trouble(f"{peer} does not answer", "see that it is on, and that no firewall drops it")
        case _:
            return Trouble(f"{peer} cannot be reached: {reason_of(error)}", "see mqtt.host and the network")


def _no_tls(error: TlsFilesError | ssl.SSLError, peer: str) -> Trouble:
    if isinstance(error, TlsFilesError):
        fix = "see that mqtt.tls.ca, cert and key are PEM files that the user hailod can read"
        return Trouble(f"TLS files cannot be used: {error}", fix)
    if isinstance(error, ssl.SSLCertVerificationError):
        text = f"the certificate of {peer} is not trusted: {error.verify_message}"
        return Trouble(text, _CERTIFICATE_REMEDIES.get(error.verify_code, _OTHER_AUTHORITY))
    reason = getattr(error, "reason", None) or "it speaks something else"
    ours = any(word in reason for word in _OF_OUR_CERTIFICATE)
    other_port = "use its TLS port (8883) or remove [mqtt.tls]; it may also want mqtt.tls.cert and mqtt.tls.key"
    return Trouble(f"no TLS with {peer}: {reason.lower().replace('_', ' ')}", _OUR_CERTIFICATE if ours else other_port)


def hung_up(settings: MqttSettings) -> Trouble:
    """The broker closed the connection instead of an answer to our CONNECT."""
    plain = "see mqtt.port: 1883 is plain, 8883 is TLS and needs a [mqtt.tls] table; else see the broker's log"
    secure = "see the broker's log: it may want a certificate of ours, mqtt.tls.cert and mqtt.tls.key"
    fix = plain if settings.tls is None else secure
    return Trouble(f"{peer_of(settings)} closes the connection instead of answering", fix)


def reason_of(error: Exception) -> str:
    """The system's word for an error, else its class; never its text, which may hold what we sent."""
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def refusal_fix(code: int) -> str:
    """What to do about a broker that answers CONNECT with this reason code of MQTT 5."""
    return _REMEDIES.get(code, "see the broker's log")


def unanswered(settings: MqttSettings) -> Trouble:
    """The way to the broker, its name's look-up first of all, takes longer than anybody waits."""
    return Trouble(
        f"looking up {settings.host} and connecting to it does not come to an end",
        "see that the name server answers (resolvectl query), or set mqtt.host to an address",
    )


def refused(code: int, said: str, settings: MqttSettings) -> Trouble:
    """The broker's answer to our CONNECT was no: `code` of MQTT 5, and what it `said`."""
    return Trouble(f"{peer_of(settings)} refuses us: {said.lower()}", refusal_fix(code))


def thrown_out(code: int, said: str) -> Trouble:
    """The broker ended a connection and gave a reason."""
    if code == SESSION_TAKEN_OVER:
        return ANOTHER_CLIENT
    return Trouble(f"the broker ended the connection: {said.lower()}", _REMEDIES.get(code, "see the broker's log"))


def unsubscribed(said: str) -> Trouble:
    """The broker does not let us listen to commands."""
    return Trouble(
        f"no remote control: the broker refuses the subscription ({said.lower()})",
        "let this user read set/+, cmd/+ and cam/+/set/+ of the node",
    )


def unpublished(said: str) -> Trouble:
    """The broker took a message and refused it."""
    return Trouble(f"the broker refuses messages ({said.lower()})", "let this user write everything below the node")


def flooded(said: str, base: str) -> Trouble:
    """The broker has a packet for us that is larger than anything we want; `base` is the node's topic."""
    return Trouble(f"no remote control for some minutes: {said}", f"clear what is retained below {base}/set, cmd, cam")


def oversized(packets: Mapping[str, int], limit: int) -> Trouble:
    """What is larger than the broker takes, in bytes by topic."""
    topic, size = max(packets.items(), key=lambda entry: entry[1])
    more = f" and {len(packets) - 1} more" if len(packets) > 1 else ""
    return Trouble(
        f"the broker takes at most {limit} bytes a message, so these are dropped: {topic} ({size} bytes){more}",
        f"raise its largest packet (mosquitto: max_packet_size) to {size} or more",
    )


def together(*troubles: Trouble | None) -> Trouble | None:
    """Several troubles in one, None if there is none."""
    found = [trouble for trouble in troubles if trouble is not None]
    if not found:
        return None
    return Trouble("; ".join(trouble.text for trouble in found), "; ".join(trouble.fix for trouble in found))
