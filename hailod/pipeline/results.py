"""Empties the device: decodes outputs in place, maps boxes back to the frame, and hands results on.

The results thread never waits for anything but the device. A failed batch has no results: its frames are sent again
while they are fresh, or counted as failed, and nothing is published for them. Nor is anything published of a frame
that came home so late that it would be told as news though it is none.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, cast

import structlog

from hailod.clock import Clock
from hailod.decode.base import Tensors
from hailod.device.flight import Batch, Done, Drained, Failed, Flight, FlightEvent, SessionFailed
from hailod.device.statuses import Stage
from hailod.errors import (
    DecodeError,
    DeviceHung,
    InferenceError,
    InferenceSubmitError,
    InferenceTimeoutError,
    InferenceWaitError,
)
from hailod.geometry import Placement
from hailod.mailbox import Item, Mailboxes, Outcome
from hailod.pipeline.service import CameraRules, Lane, Service
from hailod.types import Detections, Frame
from hailod.worker import Worker

log = structlog.get_logger(__name__)


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
        on_flight: Callable[[FlightEvent], None],
        on_lost: Callable[[InferenceError], None],
        on_room: Callable[[], None],
    ) -> None:
        self._flight = flight
        self._mailboxes = mailboxes
        self._clock = clock
        self._on_result = on_result
        self._on_trouble = on_trouble
        self._on_flight = on_flight
        self._on_lost = on_lost
        self._on_room = on_room
        self._service = Service()
        # By the names of their classes; each counted by the one thread that meets it.
        self._lost: Counter[str] = Counter()
        self._guard = threading.Lock()
        # In a row, by session: a model that comes into service anew starts anew.
        self._undecodable: Counter[int] = Counter()
        self.worker = Worker("results", self._run, clock)

    def start(self) -> None:
        self.worker.start()

    def apply(self, service: Service) -> None:
        """Judge results by these lanes and cameras from the next one on."""
        self._service = service

    @property
    def lost(self) -> dict[str, int]:
        """Frames without a result since the start, by the class of their error."""
        with self._guard:
            return dict(self._lost)

    def fail(self, failures: Iterable[Failed]) -> None:
        """Batches have no results: send their frames again, or end them. Their slots stay with their session, which is
        lost. By any thread."""
        service = self._service
        again = False
        for failure in failures:
            items = failure.batch.items
            ended = self._mailboxes.put_back(
                items, max_age=service.max_frame_age, failed=True, retries=service.frame_retries
            )
            again = again or len(ended) < len(items)
            errors = [_error(failure, item) for item in ended]
            with self._guard:
                self._lost.update(type(error).__name__ for error in errors)
            for error in errors:
                self._on_lost(error)
        if again:
            self._on_room()

    def abandon(self, failures: Iterable[Failed]) -> None:
        """Nothing is sent any more: the frames of these batches are abandoned."""
        for failure in failures:
            self._mailboxes.finish(failure.batch.items, Outcome.ABANDONED)

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
                self._failed(completion)
            if completion is not None and completion.last:
                self._on_flight(Drained())
        self._flight.release()

    def _failed(self, failed: Failed) -> None:
        session = failed.batch.session
        if self._flight.condemn(session):
            log.warning("inference failed", model=session.spec.name, stage=failed.stage, reason=str(failed.error))
            assert failed.stage is not None, "what fails with its host is never received"
            self._on_flight(SessionFailed(session, failed.error.status or 0, failed.stage))
        self.fail([failed])

    def _finish(self, done: Done) -> None:
        batch = done.batch
        service = self._service
        lane = service.lanes.get(batch.session.spec.name)
        if lane is None or lane.session is not batch.session:
            # Its model was taken out of service while it ran.
            self._release(batch, Outcome.ABANDONED)
            return
        lane.pace.completed(len(batch.items), taken=batch.taken, started=done.started, ended=done.ended)
        if self._is_old(service, lane, batch):
            self._release(batch, Outcome.EXPIRED)
            return
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

    def _is_old(self, service: Service, lane: Lane, batch: Batch) -> bool:
        """Whether even the batch's newest frame is older than a frame may be, with the time that a full window takes.

        A batch that came home after its device had all but hung is no news. One of a slow model that needs seconds for
        every frame is.
        """
        if service.max_frame_age == math.inf:
            return False
        allowed = service.max_frame_age + lane.session.window * lane.pace.per_frame
        return self._clock.monotonic() - max(item.frame.captured for item in batch.items) > allowed

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


def _error(failure: Failed, item: Item) -> InferenceError:
    """The error of one frame of a failed batch."""
    if isinstance(failure.error, DeviceHung):
        kind: type[InferenceError] = InferenceTimeoutError
    else:
        kind = InferenceSubmitError if failure.stage is Stage.SUBMIT else InferenceWaitError
    return kind(item.frame.camera, item.frame.number, failure.error)


def _select(raw: Detections, lane: Lane, rules: CameraRules, placement: Placement) -> Detections:
    """Boxes back in the frame, only the labels that the camera asks for."""
    if not len(raw):
        return raw
    kept = Detections(placement.to_frame(raw.boxes), raw.scores, raw.classes)
    if rules.labels is None:
        return kept
    wanted = [index for index, class_id in enumerate(kept.classes) if lane.label(int(class_id)) in rules.labels]
    return Detections(kept.boxes[wanted], kept.scores[wanted], kept.classes[wanted])
