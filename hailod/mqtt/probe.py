"""One honest attempt to reach the broker, for `hailod check`: what is wrong and what to do about it."""

from __future__ import annotations

import secrets
import socket
import ssl
from typing import Any

from paho.mqtt.client import Client, ConnectFlags
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from hailod.checks import Result, Status
from hailod.clock import Clock, SystemClock
from hailod.config.model import MqttSettings
from hailod.mqtt.tls import tls_context
from hailod.mqtt.trouble import UNSUPPORTED_PROTOCOL, peer_of, refused, unreachable

SUBJECT = "broker"
CONNECT_TIMEOUT = 5.0
ANSWER_TIMEOUT = 5.0

_PROTOCOLS = {
    "auto": (MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311),
    "5": (MQTTProtocolVersion.MQTTv5,),
    "3.1.1": (MQTTProtocolVersion.MQTTv311,),
}


def probe_broker(settings: MqttSettings, clock: Clock | None = None) -> Result:
    """Connect, log in and disconnect; with `protocol = "auto"` MQTT 3.1.1 is tried when 5 is refused.

    Blocks for up to 10 s for each protocol, and for as long as a name look-up takes.
    """
    clock = clock or SystemClock()
    *preferred, last = _PROTOCOLS[settings.protocol]
    for protocol in preferred:
        attempt = _Attempt(settings, protocol, clock)
        result = attempt.run()
        if attempt.refused != UNSUPPORTED_PROTOCOL:
            return result
    return _Attempt(settings, last, clock).run()


class _Attempt:
    """One connection with one protocol version, driven by the calling thread."""

    def __init__(self, settings: MqttSettings, protocol: MQTTProtocolVersion, clock: Clock) -> None:
        self._settings = settings
        self._protocol = protocol
        self._clock = clock
        self._answer: ReasonCode | None = None
        self._peer = peer_of(settings)

    @property
    def refused(self) -> int | None:
        """The reason code with which the broker refused; None if it did not."""
        return self._answer.value if self._answer is not None and self._answer.is_failure else None

    def run(self) -> Result:
        try:
            context = tls_context(self._settings.tls) if self._settings.tls is not None else None
            self._reach(context)
            self._log_in(context)
        except (OSError, ValueError) as error:
            return self._fail(*unreachable(error, self._settings))
        return self._judge()

    def _reach(self, context: ssl.SSLContext | None) -> None:
        """Connect without a word of MQTT: paho leaves its socket open when a handshake fails."""
        host = self._settings.host
        with socket.create_connection((host, self._settings.effective_port), CONNECT_TIMEOUT) as plain:
            if context is None:
                return
            context.wrap_socket(plain, server_hostname=host).close()

    def _log_in(self, context: ssl.SSLContext | None) -> None:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"hailod-check-{secrets.token_hex(4)}",
            protocol=self._protocol,
            reconnect_on_failure=False,
        )
        client.on_connect = self._on_connect
        client.connect_timeout = CONNECT_TIMEOUT
        username, password = self._settings.username, self._settings.password
        if username is not None or password is not None:
            client.username_pw_set(username or "", password.get_secret_value() if password is not None else None)
        if context is not None:
            client.tls_set_context(context)
        try:
            client.connect(self._settings.host, self._settings.effective_port, keepalive=self._settings.keepalive)
            self._await_answer(client)
        finally:
            client.disconnect()

    def _await_answer(self, client: Client) -> None:
        deadline = self._clock.monotonic() + ANSWER_TIMEOUT
        while self._answer is None and self._clock.monotonic() < deadline:
            if client.loop(timeout=0.2) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return

    def _on_connect(
        self, _client: Client, _userdata: Any, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self._answer = reason

    def _judge(self) -> Result:
        version = "5" if self._protocol == MQTTProtocolVersion.MQTTv5 else "3.1.1"
        if self._answer is None:
            plain = "see mqtt.port: 1883 is plain, 8883 is TLS and needs a [mqtt.tls] table"
            secure = "see its log: it may want a certificate of ours, mqtt.tls.cert and mqtt.tls.key"
            return self._fail(
                f"{self._peer} does not answer as an MQTT broker", plain if self._settings.tls is None else secure
            )
        if self._answer.is_failure:
            return self._fail(*refused(self._answer.value, str(self._answer), self._settings))
        secured = ", TLS" if self._settings.tls is not None else ""
        return Result(Status.OK, SUBJECT, f"{self._peer} accepts us (MQTT {version}{secured})")

    def _fail(self, text: str, fix: str) -> Result:
        return Result(Status.FAIL, SUBJECT, text, fix)
