"""Takes frames from the mailboxes when the batch rule says so, lays them into slots and sends them.

Nothing is prepared in advance: under overload a frame that is superseded has cost nothing but its decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import structlog

from hailod.clock import Clock
from hailod.device.flight import Batch, Flight
from hailod.geometry import Placement
from hailod.mailbox import Item, Mailboxes, Outcome
from hailod.pipeline.batcher import RateCap, Send, Situation, Wait, decide
from hailod.pipeline.service import Lane, Service
from hailod.worker import Worker

log = structlog.get_logger(__name__)

IDLE_S = 1.0


class Dispatcher:
    """The dispatcher thread and its prep workers. `apply` and `kick` may be called by any thread."""

    def __init__(self, mailboxes: Mailboxes, flight: Flight, clock: Clock, *, prep_workers: int = 1) -> None:
        self._mailboxes = mailboxes
        self._flight = flight
        self._clock = clock
        self._prep_workers = prep_workers
        self._service = Service()
        self._cap = RateCap()
        self._bad_pictures = 0
        # By model: since when less than a batch waits. The dispatcher's thread alone.
        self._partial_since: dict[str, float] = {}
        self._pool: ThreadPoolExecutor | None = None
        self.worker = Worker("dispatcher", self._run, clock)

    @property
    def bad_pictures(self) -> int:
        """Frames that could not be laid into the model's input."""
        return self._bad_pictures

    def start(self) -> None:
        if self._prep_workers > 1:
            self._pool = ThreadPoolExecutor(self._prep_workers, thread_name_prefix="prep")
        self.worker.start()

    def apply(self, service: Service) -> None:
        """Serve these lanes and cameras from the next batch on."""
        self._service = service
        self._mailboxes.kick()

    def room(self) -> None:
        """There is room on the device again."""
        self._mailboxes.room()

    def stop(self, deadline: float) -> bool:
        """End the thread; says whether it ended within `deadline` seconds."""
        self.worker.stop()
        self._mailboxes.kick()
        ended = self.worker.join(deadline)
        if self._pool is not None:
            self._pool.shutdown(wait=ended)
        return ended

    # -- the dispatcher thread ---------------------------------------------------------------------------------------

    def _run(self, worker: Worker) -> None:
        first = 0
        while not worker.stopping.is_set():
            worker.beat()
            seen = self._mailboxes.offers
            service = self._service
            lanes = list(service.lanes.values())
            sent = False
            pause = IDLE_S
            has_room = False
            if (rest := self._cap.rest(service.max_rate, self._clock.monotonic())) > 0:
                # Frames go on being superseded where they wait; only the sending is slower.
                self._mailboxes.wait(min(rest, pause), seen=None)
                continue
            for turn in range(len(lanes)):
                lane = lanes[(first + turn) % len(lanes)]
                room = self._flight.room(lane.session)
                if room <= 0:
                    continue
                has_room = True
                match decide(self._situation(lane, lanes, room)):
                    case Send(frames):
                        sent = self._send(service, lane, frames) or sent
                    case Wait(float(seconds)):
                        pause = min(pause, seconds)
            first += 1
            if not sent:
                self._mailboxes.wait(pause, seen=seen if has_room else None)

    def _situation(self, lane: Lane, lanes: Sequence[Lane], room: int) -> Situation:
        waiting, batch_size = self._mailboxes.pending(lane.name), lane.session.batch_size
        if not 0 < waiting < batch_size:
            self._partial_since.pop(lane.name, None)
            return Situation(waiting, room, batch_size, 0.0, lane.pace.turnaround)
        now = self._clock.monotonic()
        dry_in = sum(each.pace.dry_in(now, self._flight.frames(each.session)) for each in lanes)
        waited = now - self._partial_since.setdefault(lane.name, now)
        return Situation(waiting, room, batch_size, dry_in, lane.pace.turnaround, waited, lane.max_delay)

    def _send(self, service: Service, lane: Lane, frames: int) -> bool:
        """Take, prepare and submit one batch; says whether anything was taken."""
        taken = self._clock.monotonic()
        self._partial_since.pop(lane.name, None)
        items = self._mailboxes.take(lane.name, frames, per_camera=lane.per_camera, max_age=service.max_frame_age)
        if not items:
            return False
        slots = lane.session.pool.take(len(items))
        if slots is None:
            self._mailboxes.finish(items, Outcome.SUPERSEDED)
            return True
        placements = self._prepare(service, lane, items, slots)
        good = [index for index, placement in enumerate(placements) if placement is not None]
        if len(good) < len(items):
            lost = set(range(len(items))) - set(good)
            lane.session.pool.give([slots[index] for index in lost])
            self._mailboxes.finish([items[index] for index in lost], Outcome.FAILED)
            if not good:
                return True
        batch = Batch(
            session=lane.session,
            items=[items[index] for index in good],
            slots=[slots[index] for index in good],
            context=[placements[index] for index in good],
            taken=taken,
        )
        error = self._flight.submit(batch)
        if error is None:
            self._cap.sent(len(batch.items), service.max_rate, self._clock.monotonic())
        else:
            # Its session is over. The frames were never on the device, so this was no attempt.
            log.debug("batch not sent", model=lane.name, frames=len(batch.items), reason=str(error))
            lane.session.pool.give(batch.slots)
            self._mailboxes.put_back(batch.items, max_age=service.max_frame_age, failed=False, retries=0)
        return True

    def _prepare(
        self, service: Service, lane: Lane, items: Sequence[Item], slots: Sequence[int]
    ) -> list[Placement | None]:
        if self._pool is None:
            return [self._prepare_one(service, lane, 0, item, slot) for item, slot in zip(items, slots, strict=True)]
        shares = [
            self._pool.submit(self._prepare_share, service, lane, worker, items, slots)
            for worker in range(min(self._prep_workers, len(items)))
        ]
        placements: list[Placement | None] = [None] * len(items)
        for worker, share in enumerate(shares):
            placements[worker :: self._prep_workers] = share.result()
        return placements

    def _prepare_share(
        self, service: Service, lane: Lane, worker: int, items: Sequence[Item], slots: Sequence[int]
    ) -> list[Placement | None]:
        mine = zip(items[worker :: self._prep_workers], slots[worker :: self._prep_workers], strict=True)
        return [self._prepare_one(service, lane, worker, item, slot) for item, slot in mine]

    def _prepare_one(self, service: Service, lane: Lane, worker: int, item: Item, slot: int) -> Placement | None:
        """Lay one frame into its slot; None, counted and logged, for a picture that cannot be laid."""
        rules = service.cameras.get(item.frame.camera)
        if rules is None:
            return None
        out = next(iter(lane.session.pool.inputs[slot].values()))
        try:
            return lane.preparers[worker].prepare(item.frame.picture, rules.view, out)
        except (ValueError, cv2.error) as error:
            self._bad_pictures += 1
            log.warning("picture cannot be prepared", camera=item.frame.camera, model=lane.name, reason=str(error))
            return None
