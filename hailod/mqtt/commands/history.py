"""What was asked before: how fast commands may come, and which ones were run already."""

from __future__ import annotations

from collections import OrderedDict

from hailod.clock import Clock
from hailod.errors import CommandError
from hailod.mqtt.bucket import TokenBucket
from hailod.mqtt.commands.parse import Origin
from hailod.mqtt.payloads import Payload

# Home Assistant's buttons send a constant payload; two presses are two commands.
_SHARED_IDS = frozenset({"ha-button"})


class RateLimit:
    """How fast commands may come: 10 a second, 16 at once."""

    def __init__(self, clock: Clock, rate: float = 10.0, burst: float = 16.0) -> None:
        self._clock = clock
        self._bucket = TokenBucket(rate, burst)

    def check(self) -> None:
        """Raises CommandError `rate_limited`."""
        if not self._bucket.take(self._clock.monotonic()):
            raise CommandError("rate_limited", "too many commands: at most 10 a second", retryable=True)


class ReplyCache:
    """Makes commands idempotent: of those with an id, the last 256 and ten minutes are known with their replies."""

    def __init__(self, clock: Clock, *, size: int = 256, ttl: float = 600.0) -> None:
        self._clock = clock
        self._size = size
        self._ttl = ttl
        self._replies: OrderedDict[tuple[str, str, bytes], tuple[float, Payload | None]] = OrderedDict()

    def claim(self, origin: Origin) -> bool:
        """Whether the request is new; True obliges to run it and to `store` its reply."""
        key = self._key(origin)
        if key is None:
            return True
        self._expire()
        if key in self._replies:
            return False
        self._replies[key] = (self._clock.monotonic(), None)
        return True

    def store(self, origin: Origin, reply: Payload) -> None:
        """Remember the final reply."""
        key = self._key(origin)
        if key is not None:
            self._replies[key] = (self._clock.monotonic(), reply)
            self._replies.move_to_end(key)
            self._expire()

    def release(self, origin: Origin) -> None:
        """The request was not run after all: the same one is new when it comes again."""
        key = self._key(origin)
        if key is not None:
            self._replies.pop(key, None)

    def stored(self, origin: Origin) -> Payload | None:
        """The reply to a request that `claim` called known; None while the first one still runs."""
        key = self._key(origin)
        return None if key is None else self._replies.get(key, (0.0, None))[1]

    def _expire(self) -> None:
        oldest = self._clock.monotonic() - self._ttl
        while self._replies and (len(self._replies) > self._size or next(iter(self._replies.values()))[0] < oldest):
            self._replies.popitem(last=False)

    @staticmethod
    def _key(origin: Origin) -> tuple[str, str, bytes] | None:
        if origin.id is None or origin.id in _SHARED_IDS:
            return None
        return origin.name, origin.id, origin.digest
