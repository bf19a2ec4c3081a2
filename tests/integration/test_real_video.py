"""Real video over real RTSP through the whole daemon, against the same graph run in the plainest way."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.agreement import JUDGED, REPORTED, Pair, Sightings, compare
from tests.support.prepared import prepared_by_daemon
from tests.support.reference import Reference, Thing, bgr_of, clipped, frames_of, iou, suppressed, things_of
from tests.support.watching import Camera, watch

PAN = "pan_dog_bicycle_car_640x360_10s.mp4"
PERSON = "person_640x360_20s.mp4"
EMPTY_ROOM = "people-detection_gif480x270.mp4"

# Scores are the product of two that the device gives in 1/255, then told in 1/1000.
QUANTUM = 0.006
# Every so many of the frames told of are judged: the reference takes its time.
STRIDE = 3


@pytest.fixture(scope="module")
def data(shared: Path) -> Path:
    for name in (PAN, PERSON, EMPTY_ROOM):
        if not (shared / "data" / "clips" / name).is_file():
            pytest.skip(f"the clip {name} is not in shared/data/clips")
    return shared / "data"


@pytest.fixture(scope="module")
def reference(data: Path) -> Reference:
    labels = (data / "labels" / "coco80.txt").read_text().splitlines()
    return Reference(data / "models" / "yolox_nano.onnx", labels)


def near_tie(pair: Pair, candidates: list[Thing]) -> bool:
    """Whether the first box is one that the reference had too, and gave up for one that scored no more to speak of."""
    return any(
        iou(pair.first, clipped(other)) >= 0.95 and abs(other.score - pair.second.score) <= QUANTUM
        for other in candidates
        if other.label == pair.first.label
    )


def test_detections_of_real_video_are_the_models_own(data: Path, reference: Reference, tmp_path: Path) -> None:
    """What comes out over MQTT is what the model itself says of those frames: the same classes, boxes of IoU 0.9 and
    scores within 0.006 on the same input, and near to it where the reference resizes the frame in its own way; of an
    empty room nothing is told."""
    clips = {"pan": data / "clips" / PAN, "person": data / "clips" / PERSON}
    cameras = {
        "pan": Camera(clips["pan"], until=105, threshold=REPORTED, max_fps=10.0),
        "person": Camera(clips["person"], until=70, threshold=REPORTED),
        "room": Camera(data / "clips" / EMPTY_ROOM, until=60, threshold=JUDGED, max_fps=10.0),
    }
    told = watch(tmp_path, data / "models" / "yolox_nano.onnx", cameras)

    assert len(told["room"]) >= 20
    assert [message["dets"] for message in told["room"] if message["dets"]] == []

    classes: set[str] = set()
    for name, clip in clips.items():
        frames = list(frames_of(clip))
        messages = {(message["frame"] - 1) % len(frames): message for message in told[name]}
        judged = sorted(messages)[::STRIDE]
        assert len(judged) >= 10
        daemon: Sightings = {index: things_of(messages[index]) for index in judged}
        prepare = prepared_by_daemon(reference.side)

        size = frames[0].width, frames[0].height
        candidates = {index: reference.candidates(prepare(frames[index]), *size, REPORTED) for index in judged}
        same_input = {index: suppressed(found) for index, found in candidates.items()}
        exact = compare(daemon, same_input)
        assert exact.lonely == ()
        assert exact.same_classes == exact.frames
        assert max(pair.shift for pair in exact.pairs) <= QUANTUM
        apart = [pair for pair in exact.pairs if pair.iou < 0.9]
        assert all(near_tie(pair, candidates[pair.frame]) for pair in apart)
        assert len(apart) <= len(exact.pairs) // 10

        own_resize = {
            index: reference.see(reference.letterbox(bgr_of(frames[index])), *size, REPORTED) for index in judged
        }
        near = compare(daemon, own_resize)
        assert near.lonely == ()
        within = [pair for pair in near.pairs if pair.iou >= 0.9 and pair.shift <= 0.02]
        assert len(within) >= 0.9 * len(near.pairs)
        classes |= {pair.first.label for pair in near.pairs}
    assert classes >= {"dog", "bicycle", "car", "person"}
