"""Whatever happens in whatever order, no frame is lost from the books."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hailod.clock import FakeClock
from hailod.mailbox import Item, Mailboxes, Outcome, Skip
from hailod.types import Frame, Picture, PixelFormat

PICTURE = Picture(PixelFormat.GRAY, 2, 2, (np.zeros((2, 2), np.uint8),))
CAMERAS = ("a", "b", "c")
MODELS = ("m", "n")

steps = st.lists(
    st.one_of(
        st.tuples(st.just("route"), st.sampled_from(CAMERAS), st.sets(st.sampled_from(MODELS))),
        st.tuples(st.just("offer"), st.sampled_from(CAMERAS), st.none()),
        st.tuples(st.just("skip"), st.sampled_from(CAMERAS), st.integers(1, 5)),
        st.tuples(st.just("take"), st.sampled_from(MODELS), st.integers(1, 4)),
        st.tuples(st.just("finish"), st.sampled_from([o for o in Outcome if o is not Outcome.SUPERSEDED]), st.none()),
        st.tuples(st.just("put back"), st.sampled_from(("failed", "unsent")), st.integers(0, 2)),
        st.tuples(st.just("advance"), st.none(), st.floats(0, 2)),
    ),
    max_size=60,
)


@given(steps=steps, depth=st.integers(1, 3))
def test_books_balance_after_every_step(steps: list[tuple[str, str, object]], depth: int) -> None:
    """captured = skipped + offered, and offered = ended + in flight, after any sequence of calls."""
    clock = FakeClock()
    boxes = Mailboxes(clock, depth=depth)
    taken: list[Item] = []
    for number, (verb, who, what) in enumerate(steps):
        match verb:
            case "route":
                boxes.route(who, sorted(what))  # type: ignore[call-overload]
            case "offer":
                boxes.offer(Frame(who, number, clock.monotonic(), clock.wall(), PICTURE))
            case "skip":
                boxes.skip(who, Skip.PACED, int(str(what)))
            case "take":
                taken += boxes.take(who, int(str(what)), per_camera=depth, max_age=1.0)
            case "finish":
                boxes.finish(taken, Outcome(who))
                taken = []
            case "put back":
                tried = who == "failed"
                ended = boxes.put_back(taken, max_age=1.0, failed=tried, retries=int(str(what)))
                assert all(item in taken for item in ended)
                taken = []
            case "advance":
                clock.advance(float(str(what)))
        assert boxes.snapshot().balanced
    assert sum(pair.taken for pair in boxes.snapshot().pairs.values()) == len(taken)
    boxes.close()
    boxes.finish(taken, Outcome.ABANDONED)
    final = boxes.snapshot()
    assert final.balanced
    assert all(pair.in_flight == 0 for pair in final.pairs.values())
