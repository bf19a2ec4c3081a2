"""A token bucket: how often something may happen, and when next."""

from __future__ import annotations


class TokenBucket:
    """Allows `rate` per second on average and `burst` at once. Time is monotonic seconds and is handed in."""

    def __init__(self, rate: float, burst: float = 1.0) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError("a bucket has a positive rate and room for at least one token")
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._filled: float | None = None

    def take(self, now: float) -> bool:
        """Use one token if there is one."""
        if self.ready_at(now) > now:
            return False
        self._tokens = max(0.0, self._tokens - 1.0)
        return True

    def ready_at(self, now: float) -> float:
        """When the next token can be taken: `now`, or a moment after it."""
        if self._filled is not None:
            self._tokens = min(self._burst, self._tokens + max(0.0, now - self._filled) * self._rate)
        self._filled = now
        # A waiter that sleeps until exactly this moment must find the token, whatever the rounding.
        missing = 1.0 - self._tokens
        return now if missing <= 1e-9 else now + missing / self._rate
