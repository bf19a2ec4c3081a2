"""When to connect again, and with which protocol: pure, fed with how each attempt ended."""

from __future__ import annotations

import math
import random
from enum import Enum, auto
from typing import Literal

MQTT_5 = 5
MQTT_3_1_1 = 4

# A connection that lived so long was a good one; what follows is a new failure.
_GOOD_AFTER = 60.0
# So many in a row that the broker closed before are no accident.
_UNSTABLE = 3
# One of two clients with the same id has the broker to itself for as long as the other waits, a minute and a third.
_TRUSTED_AFTER = 180.0
# After such an outage the broker may be another one.
_FORGET_AFTER = 600.0


class End(Enum):
    """How an attempt to connect, or a connection, ended.

    Of a connection: `LOST` by the network, by silence or with a reason, `CLOSED` by the broker without a word.
    """

    UNREACHABLE = auto()
    NO_ANSWER = auto()
    REFUSED = auto()
    PROTOCOL_REFUSED = auto()
    LOST = auto()
    CLOSED = auto()
    TAKEN_OVER = auto()


class ReconnectPolicy:
    """Exponential delays with jitter; MQTT 5 first, 3.1.1 when the broker does not speak it.

    Delays are `first * 2**n` seconds up to `most`, each times a random factor of 1 +- `jitter`. With `"auto"` a broker
    that refuses version 5, or never answers because it cannot read it, is tried with 3.1.1 at once, and then with each
    in turn; what worked is remembered until an outage of ten minutes, but for 3.1.1 after a silence: a broker that
    merely hung is asked for version 5 again at the next connection.

    Another client of the same id is not fought: once it is known or likely, every delay is the longest.
    """

    def __init__(
        self,
        protocol: Literal["auto", "5", "3.1.1"] = "auto",
        *,
        first: float = 1.0,
        most: float = 60.0,
        jitter: float = 0.3,
        rng: random.Random | None = None,
    ) -> None:
        self._auto = protocol == "auto"
        self._protocol = MQTT_3_1_1 if protocol == "3.1.1" else MQTT_5
        self._first = first
        self._most = most
        self._jitter = jitter
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._failures = 0
        self._short_lived = 0
        self._proven = False
        self._guessed = False
        self._contested = False
        self._connected_at: float | None = None
        self._last_seen: float | None = None

    @property
    def protocol(self) -> int:
        """The protocol level of the next attempt: 5, or 4 for MQTT 3.1.1."""
        return self._protocol

    @property
    def unstable(self) -> bool:
        """Whether the broker accepts every connection and soon closes it, as when two clients share an id: many brokers
        throw the older one out without a word."""
        return self._short_lived >= _UNSTABLE

    def contested(self, now: float) -> bool:
        """Whether another client of the same id took the last connection away, or probably did, and the present one has
        not lasted long enough to say that it is over."""
        if self._connected_at is not None and now - self._connected_at >= _TRUSTED_AFTER:
            self._contested = False
        return self._contested

    def connected(self, now: float) -> None:
        """The broker accepted the connection."""
        self._connected_at = now
        self._proven = True

    def ended(self, end: End, now: float) -> float:
        """Seconds to wait before the next attempt."""
        if self._connected_at is not None:
            self.contested(now)
            if now - self._connected_at >= _GOOD_AFTER:
                self._failures = self._short_lived = 0
            elif end is End.CLOSED:
                self._short_lived += 1
            self._connected_at = None
            self._last_seen = now
        if end is End.TAKEN_OVER or (end is End.CLOSED and self.unstable):
            self._contested = True
        if self._auto and self._choose_protocol(end, now):
            return 0.0
        # Two clients of one id would throw each other out for ever; the slower they are, the sooner a person finds out.
        exponent = math.inf if self._contested else self._failures
        delay = min(self._first * 2.0 ** min(exponent, 32), self._most)
        self._failures += 1
        return delay * self._rng.uniform(1.0 - self._jitter, 1.0 + self._jitter)

    def _choose_protocol(self, end: End, now: float) -> bool:
        """Choose for the next attempt; says whether it is to be made at once."""
        if self._proven and self._last_seen is not None and now - self._last_seen >= _FORGET_AFTER:
            self._proven = self._guessed = False
            self._protocol = MQTT_5
        elif end is End.PROTOCOL_REFUSED or (end is End.NO_ANSWER and not self._proven):
            self._proven = False
            self._guessed = end is End.NO_ANSWER
            self._protocol = MQTT_3_1_1 if self._protocol == MQTT_5 else MQTT_5
            return self._protocol == MQTT_3_1_1
        elif self._guessed and self._proven and self._protocol == MQTT_3_1_1:
            self._proven = self._guessed = False
            self._protocol = MQTT_5
        return False
