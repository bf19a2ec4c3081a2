"""Whatever is done to a HEF, it is read or refused in words, in bounded time and memory.

`python -m tests.benchmarks.fuzz_hef` does the same some 100,000 times, and says how long it took.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hailod.models.hef import HefCorrupted, HefError, HefNotSupported
from hailod.models.hef.report import document, lines
from tests.support.hef_mutations import MUTATIONS, Mutation, Seed, bombs, read, seeds

SEEDS = seeds()
BOMBS = dict(bombs())
# Besides twice the file itself.
MEMORY = 48 << 20


@settings(max_examples=500)
@given(st.sampled_from(SEEDS), st.sampled_from(MUTATIONS), st.integers(0, 2**32))
def test_damaged_file_is_read_or_refused(seed: Seed, mutation: Mutation, number: int) -> None:
    """A damaged file gives a Hef, which can be told in both forms, or a HefError with one of HailoRT's statuses."""
    outcome = read(mutation(seed, Random(number)))
    if isinstance(outcome.result, HefError):
        assert outcome.result.status in {2, 8, 14, 26, 91, 92}
    else:
        document(outcome.result)
        assert all(line.isprintable() for line in lines(outcome.result))


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Any bytes at all are no HEF, and any bytes with a right hash around them are refused in the same way."""
    assert isinstance(read(data).result, HefCorrupted | HefNotSupported)
    assert isinstance(read(SEEDS[0].file(data)).result, HefError)


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_do_not_go_off(name: str) -> None:
    """Small files that would be large, long or deep to read are refused, with little memory."""
    data = BOMBS[name]
    # Tracing memory makes the long ones slow; the benchmark traces all of them.
    outcome = read(data, measured=len(data) < 300_000)
    assert isinstance(outcome.result, HefError)
    assert (outcome.peak or 0) < 2 * len(data) + MEMORY


def test_every_seed_is_whole() -> None:
    """What is damaged was right before, so that the damage is all there is to find."""
    assert not [seed.name for seed in SEEDS if isinstance(read(seed.file()).result, HefError)]
