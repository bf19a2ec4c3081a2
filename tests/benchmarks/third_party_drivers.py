"""Drives one inference class that others wrote, as its own program would; run on the simulator by `third_party`.

    python -m hailod.simulator ... -m tests.benchmarks.third_party_drivers DRIVER FOLDER HEF PICTURE.npy FRAMES

Prints one line of JSON: detections of the last frame [[class, score, y_min, x_min, y_max, x_max], ...], frames per
second with the first ones not counted. Modules that the class imports and that have no part in inference are stood in
for.
"""

from __future__ import annotations

import importlib.util
import json
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

Picture = np.ndarray[Any, Any]
Answers = Iterator[Any]
"""One answer a frame, as the class gives it: a list of arrays, one per class."""

BATCH = 4
WARM_UP = 20


def absent(name: str, *submodules: str, **contents: Any) -> None:
    """Stand in for a module, unless it is installed; any attribute of it is a function that does nothing."""
    if importlib.util.find_spec(name) is None:
        replace(name, *submodules, **contents)


def replace(name: str, *submodules: str, **contents: Any) -> None:
    """Stand in for a module, be it installed or not."""
    for path in (name, *(f"{name}.{submodule}" for submodule in submodules)):
        module = ModuleType(path)
        module.__spec__ = ModuleSpec(path, None, is_package=True)
        vars(module).update(contents, __path__=[], __getattr__=lambda _: lambda *_args, **_kwargs: None)
        sys.modules[path] = module


def silent_logger() -> Any:
    return SimpleNamespace(**dict.fromkeys(("info", "error", "debug", "success", "warning"), lambda *_: None))


def use(folder: Path) -> None:
    absent("loguru", logger=silent_logger())
    absent("zenlog", log=silent_logger())
    absent("PIL", "Image")
    sys.path.insert(0, str(folder))


def queued(
    infer: Callable[[], None], source: queue.Queue[Any], answers: queue.Queue[Any], batches: list[Any]
) -> Answers:
    """Answers of a class that takes batches from one queue until None comes, and fills another."""
    for batch in [*batches, None]:
        source.put(batch)
    worker = threading.Thread(target=infer)
    worker.start()
    for _ in range(sum(map(len, batches))):
        yield answers.get(timeout=30)[1]
    worker.join(30)


def hailo_infer(folder: Path, hef: str, picture: Picture, frames: int, batch: int = 1) -> Answers:
    """common/hailo_inference.py of the application examples: HailoInfer, callback into a queue."""
    use(folder)
    from common.hailo_inference import HailoInfer

    answers: queue.Queue[Any] = queue.Queue()

    def completed(completion_info: Any, bindings_list: list[Any]) -> None:
        for bindings in bindings_list:
            answers.put(completion_info.exception or bindings.output().get_buffer())

    engine = HailoInfer(hef, batch)
    # It waits for room for one frame before it submits a batch: whoever feeds it faster than the device answers gets
    # HAILO_QUEUE_IS_FULL, here as there. Its programs are held up by reading pictures.
    waiting = 0
    for _ in range(frames // batch):
        engine.run([picture] * batch, completed)
        waiting += batch
        while waiting > batch:
            yield answers.get(timeout=30)
            waiting -= 1
    for _ in range(waiting):
        yield answers.get(timeout=30)
    engine.close()


def hailo_infer_batch(folder: Path, hef: str, picture: Picture, frames: int) -> Answers:
    return hailo_infer(folder, hef, picture, frames, BATCH)


def async_inference(folder: Path, hef: str, picture: Picture, frames: int) -> Answers:
    """utils.py of older application examples: HailoAsyncInference, between two queues."""
    use(folder)
    from utils import HailoAsyncInference

    source: queue.Queue[Any] = queue.Queue()
    answers: queue.Queue[Any] = queue.Queue()
    engine = HailoAsyncInference(hef, source, answers, 1)
    return queued(engine.run, source, answers, [[picture]] * frames)


def async_inference_common(folder: Path, hef: str, picture: Picture, frames: int) -> Answers:
    """common/hailo_inference.py of the middle of 2025: HailoAsyncInference with its default callback."""
    use(folder)
    from functools import partial

    from common.hailo_inference import HailoAsyncInference

    source: queue.Queue[Any] = queue.Queue()
    answers: queue.Queue[Any] = queue.Queue()
    engine = HailoAsyncInference(hef, source, None)
    engine.callback_fn = partial(engine.default_callback, output_queue=answers)
    return queued(engine.run, source, answers, [[picture]] * frames)


def sync_inference(folder: Path, hef: str, picture: Picture, frames: int) -> Answers:
    """utils.py of 2024: HailoInference, InferVStreams and an activation for every frame."""
    use(folder)
    from utils import HailoInference

    engine = HailoInference(hef)
    for _ in range(frames):
        yield engine.run(picture)[0]


def picamera2(folder: Path, hef: str, picture: Picture, frames: int) -> Answers:
    """devices/hailo/hailo.py of picamera2: Hailo.run."""
    use(folder)
    from hailo import Hailo

    with Hailo(hef) as engine:
        for _ in range(frames):
            yield engine.run(picture)


def picamera2_batch(folder: Path, hef: str, picture: Picture, frames: int) -> Answers:
    use(folder)
    from hailo import Hailo

    with Hailo(hef, batch_size=BATCH) as engine:
        for _ in range(frames // BATCH):
            yield from engine.run(np.stack([picture] * BATCH))


def frigate(folder: Path, hef: str, picture: Picture, frames: int) -> Answers:
    """frigate/detectors/plugins/hailo8l.py: HailoDetector.detect_raw, a thread and two stores."""
    use(folder)
    from pydantic import BaseModel

    # The detector's configuration drags in all of Frigate's; the detector itself reads four fields of it.
    replace("frigate.detectors.detector_config", BaseDetectorConfig=BaseModel, ModelTypeEnum=str, InputTensorEnum=str)
    package = ModuleType("frigate.detectors")
    package.__path__ = [str(folder / "frigate/detectors")]
    sys.modules["frigate.detectors"] = package
    replace("frigate.const", MODEL_CACHE_DIR=str(Path(hef).parent))
    from frigate.detectors.plugins.hailo8l import HailoDetector

    model = SimpleNamespace(path=hef, height=picture.shape[0], width=picture.shape[1])
    detector = HailoDetector(SimpleNamespace(device="PCIe", model=model))
    for _ in range(frames):
        rows = detector.detect_raw(picture[None])
        per_class: dict[int, list[Any]] = {}
        for class_id, score, *box in rows[rows[:, 1] > 0]:
            per_class.setdefault(int(class_id), []).append([*box, score])
        yield [np.array(per_class.get(class_id, [])) for class_id in range(80)]
    detector.input_store.input_queue.put(None)
    detector.inference_thread.join(30)


def _infer_pipeline(
    folder: Path, hef: str, picture: Picture, frames: int, *, is_async: bool, callback: bool
) -> Answers:
    use(folder)
    absent("matplotlib", "pyplot")
    from inference import InferPipeline

    pipeline = InferPipeline(hef, 1, is_async, callback, True, [], [])
    for _ in range(frames):
        result = pipeline.inference([picture])
        if is_async:
            result = pipeline.wait_and_get_output()
        (answer,) = result.values()
        yield answer
    pipeline.close()


def infer_pipeline_async(folder: Path, hef: str, picture: Picture, frames: int) -> Answers:
    """inference.py of hailo_inference_pipeline: InferPipeline, waiting for the job."""
    return _infer_pipeline(folder, hef, picture, frames, is_async=True, callback=False)


def infer_pipeline_callback(folder: Path, hef: str, picture: Picture, frames: int) -> Answers:
    return _infer_pipeline(folder, hef, picture, frames, is_async=True, callback=True)


def infer_pipeline_sync(folder: Path, hef: str, picture: Picture, frames: int) -> Answers:
    return _infer_pipeline(folder, hef, picture, frames, is_async=False, callback=False)


def pose(folder: Path, hef: str, picture: Picture, frames: int) -> Answers:
    """pose_estimation_utils.py of the application examples, on the nine raw heads that HailoInfer brings as floats."""
    use(folder)
    sys.path.insert(0, str(folder / "pose_estimation"))
    from common.hailo_inference import HailoInfer
    from pose_estimation_utils import PoseEstPostProcessing

    decoder = PoseEstPostProcessing(300, 0.1, 0.7, 15, [8, 16, 32])
    answers: queue.Queue[Any] = queue.Queue()

    def completed(completion_info: Any, bindings_list: list[Any]) -> None:
        (bindings,) = bindings_list
        heads = {name: bindings.output(name).get_buffer()[None] for name in bindings._output_names}
        answers.put(completion_info.exception or heads)

    engine = HailoInfer(hef, 1, output_type="FLOAT32")
    height, width, _ = engine.get_input_shape()
    for _ in range(frames):
        engine.run([picture], completed)
        found = decoder.post_process(answers.get(timeout=30), height, width, 1)
        scores, boxes = found["scores"][0, :, 0], found["bboxes"][0] / (width, height, width, height)
        seen = scores > 0
        yield [np.column_stack([boxes[seen][:, [1, 0, 3, 2]], scores[seen]])]
    engine.close()


def masks(folder: Path, hef: str, picture: Picture, frames: int) -> Answers:
    """post_process/postprocessing.py of the application examples, on HailoRT's NMS with byte masks."""
    use(folder)
    sys.path.insert(0, str(folder / "instance_segmentation"))
    # A module of theirs that is compiled when it is imported, for models without NMS.
    absent("pyximport")
    replace("post_process.cython_nms")
    from common.hailo_inference import HailoInfer
    from post_process.postprocessing import extract_detections

    answers: queue.Queue[Any] = queue.Queue()

    def completed(completion_info: Any, bindings_list: list[Any]) -> None:
        answers.put(completion_info.exception or (bindings_list, bindings_list[0].output().get_buffer()))

    engine = HailoInfer(hef, 1, output_type="FLOAT32")
    config = json.loads((folder / "instance_segmentation/config.json").read_text())
    height, width = picture.shape[:2]
    for _ in range(frames):
        engine.run([picture], completed)
        _, buffer = answers.get(timeout=30)
        found = extract_detections(picture, buffer, config)
        per_class: dict[int, list[Any]] = {}
        for (left, top, right, bottom), class_id, score, mask in zip(
            *(found[f"detection_{key}"] for key in ("boxes", "classes", "scores", "masks")), strict=True
        ):
            if mask.any():
                box = [top / height, left / width, bottom / height, right / width, score]
                per_class.setdefault(class_id, []).append(box)
        yield [np.array(per_class.get(class_id, [])) for class_id in range(80)]
    engine.close()


def main() -> None:
    driver, folder, hef, picture, frames = sys.argv[1:]
    began: float | None = None
    count = 0
    answer: Any = []
    for answer in globals()[driver](Path(folder), hef, np.load(picture), int(frames)):
        if isinstance(answer, Exception):
            raise answer
        count += 1
        if count == WARM_UP:
            began = time.monotonic()
    rate = (count - WARM_UP) / (time.monotonic() - began) if began is not None else None
    rows = [
        [class_id, float(score), *map(float, box)] for class_id, boxes in enumerate(answer) for *box, score in boxes
    ]
    print(json.dumps({"detections": rows, "fps": rate, "frames": count}))


if __name__ == "__main__":
    main()
