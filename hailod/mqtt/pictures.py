"""The lane of pictures: one of each topic waits or is on its way, and its sender hears what became of it. Pure.

Pictures are bytes, larger than any document, and perishable: one that cannot go now is lost. Used by `Outbox` alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hailod.mqtt.lanes import Drop, Drops, Kind, Queued

MAX_PICTURE = 262_144
# So many wait or are on their way at once, of all topics together: 2 MB.
MAX_WAITING = 8
# How long a broker retains one (MQTT 5 has it forget by itself; where it cannot, nothing is retained).
RETAINED_S = 86_400

# Told whether the picture left the process; may be called on any thread and must not block.
Fate = Callable[[bool], None]


@dataclass(slots=True, eq=False)
class _Picture:
    message: Queued
    fate: Fate
    on_its_way: bool = False


class PictureLane:
    """Pictures by topic. What a method gives up it returns, to be told outside the lock."""

    def __init__(self, drops: Drops) -> None:
        self._drops = drops
        self._pictures: dict[str, _Picture] = {}

    def __len__(self) -> int:
        return sum(not picture.on_its_way for picture in self._pictures.values())

    def put(self, topic: str, jpeg: bytes, fate: Fate, *, retain: bool, online: bool) -> bool:
        """Says whether it will be sent, if nothing happens to the connection; `fate` is called only then."""
        if not online:
            self._drops[Kind.PICTURE, Drop.OFFLINE] += 1
        elif topic in self._pictures:
            self._drops[Kind.PICTURE, Drop.BUSY] += 1
        elif len(self._pictures) >= MAX_WAITING:
            self._drops[Kind.PICTURE, Drop.OVERFLOW] += 1
        else:
            message = Queued(Kind.PICTURE, topic, jpeg, expiry=RETAINED_S if retain else None)
            self._pictures[topic] = _Picture(message, fate)
            return True
        return False

    def withdraw(self, topic: str) -> Fate | None:
        """One that still waits is not sent."""
        picture = self._pictures.get(topic)
        if picture is None or picture.on_its_way:
            return None
        self._drops[Kind.PICTURE, Drop.WITHDRAWN] += 1
        return self._pictures.pop(topic).fate

    def pick(self, _now: float) -> Queued | None:
        for picture in self._pictures.values():
            if not picture.on_its_way:
                picture.on_its_way = True
                return picture.message
        return None

    def landed(self, topic: str) -> Fate | None:
        """The one on its way is out of the process, or came to nothing."""
        picture = self._pictures.pop(topic, None)
        return picture.fate if picture is not None else None

    def clear(self) -> list[Fate]:
        """The connection is gone, and with it all that was to go."""
        fates = [picture.fate for picture in self._pictures.values()]
        self._drops[Kind.PICTURE, Drop.OFFLINE] += len(fates)
        self._pictures.clear()
        return fates

    def ready_at(self, now: float) -> float | None:
        return now if len(self) else None
