"""Whatever bytes a device returns, a decoder answers with believable detections or with a DecodeError."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hailod.decode import make_decoder
from hailod.decode.quantised import Channels
from hailod.decode.suppression import suppress
from hailod.errors import DecodeError
from hailod.models.manifest import Manifest
from hailod.types import Detections, ModelTensors, NmsShape, TensorInfo, TensorOrder

CLASSES, LIMIT = 4, 3
thresholds = st.floats(0.05, 0.95)


def assert_believable(found: Detections, threshold: float) -> None:
    assert np.isfinite(found.boxes).all()
    assert (found.boxes[:, :2] <= found.boxes[:, 2:]).all()
    assert ((found.scores >= np.float32(threshold)) & (found.scores <= 1.0)).all()
    assert (np.diff(found.scores) <= 0).all()
    assert ((found.classes >= 0) & (found.classes < CLASSES)).all()


plausible = st.sampled_from([0.0, 0.0, 0.0, 1.0, 2.0, 0.25, 0.5, 0.75, float("nan"), -1.0, 4.0])
anything = st.floats(width=32)


@given(hnp.arrays(np.float32, CLASSES * (1 + 5 * LIMIT), elements=plausible | anything), thresholds)
def test_any_floats_by_class(buffer: np.ndarray, threshold: float) -> None:
    """A buffer by class of arbitrary numbers is believed or refused."""
    output = TensorInfo(
        "nms", buffer.shape, "float32", TensorOrder.NMS_BY_CLASS, buffer.nbytes, nms=NmsShape(CLASSES, LIMIT)
    )
    decoder = make_decoder(Manifest(), ModelTensors((), (output,)))
    try:
        found = decoder.decode({"nms": buffer}, threshold)
    except DecodeError:
        return
    assert_believable(found, threshold)


@given(st.binary(min_size=68, max_size=68), st.integers(0, 5), thresholds)
def test_any_bytes_by_score(content: bytes, count: int, threshold: float) -> None:
    """A buffer by score of arbitrary bytes is believed or refused."""
    buffer = np.frombuffer(bytes([count, 0]) + content[2:], np.uint8)
    output = TensorInfo("nms", (68,), "uint8", TensorOrder.NMS_BY_SCORE, 68, nms=NmsShape(CLASSES, LIMIT))
    decoder = make_decoder(Manifest(), ModelTensors((), (output,)))
    try:
        found = decoder.decode({"nms": buffer}, threshold)
    except DecodeError:
        return
    assert_believable(found, threshold)


@given(hnp.arrays(np.float32, (84, 5 + CLASSES), elements=plausible | anything), thresholds)
def test_any_floats_of_yolox(buffer: np.ndarray, threshold: float) -> None:
    """Raw heads of arbitrary numbers are believed or refused."""
    picture = TensorInfo("input", (64, 64, 3), "uint8", TensorOrder.NHWC, 64 * 64 * 3)
    output = TensorInfo("head", buffer.shape, "float32", TensorOrder.NHW, buffer.nbytes)
    decoder = make_decoder(Manifest(), ModelTensors((picture,), (output,)))
    try:
        found = decoder.decode({"head": buffer}, threshold)
    except DecodeError:
        return
    assert_believable(found, threshold)


@given(
    st.sampled_from(["uint8", "uint16"]),
    st.lists(st.tuples(st.floats(2**-12, 0.1), st.floats(0, 300)), min_size=1, max_size=3),
    st.floats(0.0, 1.0, width=32),
)
def test_the_quantised_threshold_is_the_real_one(
    dtype: str, quantisation: list[tuple[float, float]], threshold: float
) -> None:
    """Comparing quantised numbers decides exactly as comparing the real numbers behind them."""
    scale, zero_point = zip(*quantisation, strict=True)
    depth, largest = len(quantisation), np.iinfo(dtype).max
    values = np.repeat(np.arange(0, largest + 1, 1 if dtype == "uint8" else 7)[:, None], depth, 1).astype(dtype)
    tensor = TensorInfo("t", values.shape, dtype, TensorOrder.NHW, values.nbytes, scale, zero_point)
    channels = Channels(tensor, depth, slice(None))
    real = channels.real(values)
    np.testing.assert_array_equal(channels.at_least(values, threshold), real >= np.float32(threshold))


@st.composite
def scenes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    count = draw(st.integers(0, 12))
    corners = draw(hnp.arrays(np.float32, (count, 2), elements=st.integers(0, 8).map(float)))
    sizes = draw(hnp.arrays(np.float32, (count, 2), elements=st.integers(0, 4).map(float)))
    scores = draw(st.permutations(range(count)))
    classes = draw(hnp.arrays(np.int32, count, elements=st.integers(0, 2)))
    return np.concatenate((corners, corners + sizes), 1), np.array(scores, np.float32) / 16, classes


def plain_iou(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap
    return float(overlap / union) if overlap else 0.0


@given(scenes(), st.sampled_from([0.25, 0.45, 0.65]), st.integers(1, 4))
def test_suppression_is_the_textbook_loop(
    scene: tuple[np.ndarray, np.ndarray, np.ndarray], iou: float, limit: int
) -> None:
    """The vectorised suppression keeps what the plain double loop keeps."""
    boxes, scores, classes = scene
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
        rivals = [k for k in kept if classes[k] == classes[i]]
        if len(rivals) < limit and all(plain_iou(boxes[i], boxes[k]) < iou for k in rivals):
            kept.append(i)
    assert suppress(boxes, scores, classes, iou=iou, max_per_class=limit).tolist() == kept


def test_suppression_of_identical_boxes() -> None:
    """Of boxes in one place one remains of each class."""
    boxes = np.tile(np.array([[0.1, 0.1, 0.4, 0.4]], np.float32), (6, 1))
    scores = np.linspace(0.9, 0.4, 6, dtype=np.float32)
    kept = suppress(boxes, scores, np.array([0, 1] * 3, np.int32), iou=0.65, max_per_class=100)
    assert kept.tolist() == [0, 1]


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_noise_takes_bounded_work(dtype: str) -> None:
    """Heads in which every cell shouts every class are cut to the best and still give a sorted result."""
    rng = np.random.default_rng(5)
    head = rng.uniform(0.5, 1.0, (84, 5 + CLASSES)).astype(np.float32)
    scale = 1.0
    if dtype == "uint8":
        head, scale = (head * 255).astype(np.uint8), 1 / 255
    picture = TensorInfo("input", (64, 64, 3), "uint8", TensorOrder.NHWC, 64 * 64 * 3)
    output = TensorInfo("head", head.shape, dtype, TensorOrder.NHW, head.nbytes, (scale,))
    found = make_decoder(Manifest(nms_max_per_class=5), ModelTensors((picture,), (output,))).decode({"head": head}, 0.3)
    assert_believable(found, 0.3)
    assert np.bincount(found.classes).max() <= 5
