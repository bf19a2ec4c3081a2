"""Empties the device: decodes outputs in place, maps boxes back to the frame, and hands results on.

The results thread never waits for anything but the device. A failed batch has no results: its frames are counted as
failed and nothing is published for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, cast

import structlog

from hailod.clock import Clock
from hailod.decode.base import Tensors
from hailod.device.flight import Batch, Done, Failed, Flight
from hailod.errors import DecodeError
from hailod.geometry import Placement
from hailod.mailbox import Mailboxes, Outcome
from hailod.pipeline.service import CameraRules, Lane, Service
from hailod.types import Detections, Frame
from hailod.worker import Worker

log = structlog.get_logger(__name__)

QUARANTINE_AFTER = 10


class Timing(NamedTuple):
    """Where one frame's time went, in monotonic seconds."""

    captured: float
    taken: float
    started: float
    ended: float
    finished: float

    @property
    def waiting(self) -> float:
        """In the mailbox."""
        return self.taken - self.captured

    @property
    def device(self) -> float:
        """From the host's taking up the job to HailoRT's callback."""
        return self.ended - self.started

    @property
    def host(self) -> float:
        """Everything else: preparing, the way to the device process and back, decoding."""
        return (self.started - self.taken) + (self.finished - self.ended)

    @property
    def total(self) -> float:
        return self.finished - self.captured


class Result(NamedTuple):
    """What `lane`'s model saw in `frame`; boxes are normalised to the frame as decoded."""

    frame: Frame
    lane: Lane
    detections: Detections
    timing: Timing


@dataclass(frozen=True, slots=True)
class ModelTrouble:
    """A model's outputs cannot be decoded, `in_a_row` times now."""

    model: str
    error: DecodeError
    in_a_row: int


class Results:
    """The results thread."""

    def __init__(
        self,
        flight: Flight,
        mailboxes: Mailboxes,
        clock: Clock,
        *,
        on_result: Callable[[Result], None],
        on_trouble: Callable[[ModelTrouble], None],
        on_room: Callable[[], None],
    ) -> None:
        self._flight = flight
        self._mailboxes = mailboxes
        self._clock = clock
        self._on_result = on_result
        self._on_trouble = on_trouble
        self._on_room = on_room
        self._service = Service()
        # In a row, by session: a model that comes into service anew starts anew.
        self._undecodable: Counter[int] = Counter()
        self.worker = Worker("results", self._run, clock)

    def start(self) -> None:
        self.worker.start()

    def apply(self, service: Service) -> None:
        """Judge results by these lanes and cameras from the next one on."""
        self._service = service

    def fail(self, failures: Iterable[Failed], outcome: Outcome = Outcome.FAILED) -> None:
        """End the frames of batches that have no results. Their slots stay with their session, which is lost."""
        for failure in failures:
            self._mailboxes.finish(failure.batch.items, outcome)

    def stop(self, deadline: float) -> bool:
        """End the thread; says whether it ended within `deadline` seconds. The flight must have been closed."""
        self.worker.stop()
        return self.worker.join(deadline)

    # -- the results thread ------------------------------------------------------------------------------------------

    def _run(self, worker: Worker) -> None:
        while not worker.stopping.is_set():
            worker.beat()
            completion = self._flight.receive()
            if isinstance(completion, Done):
                self._finish(completion)
                # Last, when this thread is about to block: woken earlier, the dispatcher would only queue for the GIL.
                self._on_room()
            elif isinstance(completion, Failed):
                log.warning("inference failed", model=completion.batch.session.spec.name, reason=str(completion.error))
                self.fail([completion])
        self._flight.release()

    def _finish(self, done: Done) -> None:
        batch = done.batch
        service = self._service
        lane = service.lanes.get(batch.session.spec.name)
        if lane is None or lane.session is not batch.session:
            # Its model was taken out of service while it ran.
            self._release(batch, Outcome.ABANDONED)
            return
        lane.pace.completed(len(batch.items), taken=batch.taken, started=done.started, ended=done.ended)
        try:
            results = self._decode(service, lane, done)
        except DecodeError as error:
            self._undecodable[lane.session.key] += 1
            self._release(batch, Outcome.FAILED)
            self._on_trouble(ModelTrouble(lane.name, error, self._undecodable[lane.session.key]))
            return
        self._undecodable.pop(lane.session.key, None)
        self._release(batch, Outcome.DONE)
        for result in results:
            self._on_result(result)

    def _decode(self, service: Service, lane: Lane, done: Done) -> list[Result]:
        batch = done.batch
        results = []
        for item, slot, placement in zip(batch.items, batch.slots, batch.context, strict=True):
            rules = service.cameras.get(item.frame.camera)
            if rules is None:
                continue
            raw = lane.decoder.decode(cast(Tensors, batch.session.pool.outputs[slot]), rules.threshold)
            detections = _select(raw, lane, rules, cast(Placement, placement))
            timing = Timing(item.frame.captured, batch.taken, done.started, done.ended, self._clock.monotonic())
            results.append(Result(item.frame, lane, detections, timing))
        return results

    def _release(self, batch: Batch, outcome: Outcome) -> None:
        """Slots home and books closed."""
        batch.session.pool.give(batch.slots)
        self._mailboxes.finish(batch.items, outcome)


def _select(raw: Detections, lane: Lane, rules: CameraRules, placement: Placement) -> Detections:
    """Boxes back in the frame, only the labels that the camera asks for."""
    if not len(raw):
        return raw
    kept = Detections(placement.to_frame(raw.boxes), raw.scores, raw.classes)
    if rules.labels is None:
        return kept
    wanted = [index for index, class_id in enumerate(kept.classes) if lane.label(int(class_id)) in rules.labels]
    return Detections(kept.boxes[wanted], kept.scores[wanted], kept.classes[wanted])
