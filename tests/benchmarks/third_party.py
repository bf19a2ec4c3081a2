"""Inference classes and programs that others wrote, run unchanged on the simulator: their detections and their speed.

    python -m tests.benchmarks.third_party FOLDER --model yolox_nano.onnx --picture PICTURE [--markdown FILE]

FOLDER holds checkouts of their repositories, under any names, some of them perhaps in several versions; a file
`.commit` in one is quoted. What is absent is skipped. Nothing of theirs is kept in this repository.

detections   on the picture, with the model behind `yolov8s.hef`, against the same model run by ONNX Runtime in float32
             with a decoder of its own: every box of one side, scored clearly above the threshold, has its counterpart
             of the same class on the other with an IoU of 0.9 at least and a score within 0.05.
speed        frames per second with the published timing of `--device`, nothing being computed, so that what is measured
             is the class: how it feeds the device.
programs     whole scripts and the tutorials of HailoRT, run to their end; what they print last, and their exit code.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from hailod.simulator import preset

REPOSITORY = Path(__file__).parents[2]
HEF = "yolov8s.hef"
THRESHOLD = 0.4
MARGIN = 0.05
TIMEOUT_S = 300.0
SPEED_FRAMES = 200

TIMING = """
[simulator]
preset = "{preset}"
[[simulator.detections]]
class_id = 0
score = 0.9
box = [0.1, 0.1, 0.9, 0.9]
"""


@dataclass(frozen=True)
class Engine:
    """An inference class: what it is called, the driver that runs it, its file below a checkout, and which model it is
    given."""

    name: str
    driver: str
    file: str
    says: str
    model: Literal["detector", "pose", "masks"] = "detector"


COMMON = "common/hailo_inference.py"
ENGINES = (
    Engine("HACE HailoInfer", "hailo_infer", COMMON, "class HailoInfer"),
    Engine("HACE HailoInfer, batches of 4", "hailo_infer_batch", COMMON, "class HailoInfer"),
    Engine("HACE HailoInfer, raw heads, and its pose decoder", "pose", COMMON, "class HailoInfer", "pose"),
    Engine("HACE HailoInfer, byte masks, and its decoder", "masks", COMMON, "class HailoInfer", "masks"),
    Engine("HACE HailoAsyncInference", "async_inference", "utils.py", "class HailoAsyncInference"),
    Engine("HACE HailoAsyncInference", "async_inference_common", COMMON, "class HailoAsyncInference"),
    Engine("HACE HailoInference (synchronous)", "sync_inference", "utils.py", "class HailoInference"),
    Engine("picamera2 Hailo", "picamera2", "hailo.py", "class Hailo:"),
    Engine("picamera2 Hailo, batches of 4", "picamera2_batch", "hailo.py", "class Hailo:"),
    Engine("Frigate HailoDetector", "frigate", "frigate/detectors/plugins/hailo8l.py", "class HailoDetector"),
    Engine("InferPipeline, waiting", "infer_pipeline_async", "inference.py", "class InferPipeline"),
    Engine("InferPipeline, callback", "infer_pipeline_callback", "inference.py", "class InferPipeline"),
    Engine("InferPipeline (synchronous)", "infer_pipeline_sync", "inference.py", "class InferPipeline"),
)


@dataclass(frozen=True)
class Program:
    """A whole program: its name, its file below a checkout, and its arguments in a folder with HEF and picture."""

    name: str
    file: str
    arguments: tuple[str, ...]


PROGRAMS = (
    Program("HACE object_detection.py", "object_detection.py", ("-n", HEF, "-i", "picture.jpg")),
    Program("HACE object_detection.py -b 2", "object_detection.py", ("-n", HEF, "-i", "pictures", "-b", "2")),
)

# Modules of trackers and windows, which have no part in inference, for programs that import them all the same.
MISSING = {
    "lap.py": "",
    "cython_bbox.py": "def bbox_overlaps(*_): raise NotImplementedError\n",
    "zenlog.py": "import logging\nlog = logging.getLogger()\n",
    "sitecustomize.py": "import cv2\ncv2.waitKey = lambda *_: -1\n",
}

# People in a picture of 640 x 640: score, stride, row and column of the cell, distances to left, top, right and bottom.
PEOPLE = ((0.9, 32, 9, 5, (2, 4, 2, 5)), (0.8, 16, 20, 30, (3, 7, 4, 9)), (0.7, 8, 40, 62, (1, 5, 2, 6)))


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    version: str
    detections: str
    agreement: str
    fps: str

    def __str__(self) -> str:
        return f"| {self.name} | {self.version} | {self.detections} | {self.agreement} | {self.fps} |"


def reference(model: Path, picture: np.ndarray[Any, Any]) -> list[list[float]]:
    """Rows [class, score, y_min, x_min, y_max, x_max] (0..1) of a YOLOX graph run directly, in float32."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    blob = np.ascontiguousarray(picture[..., ::-1].transpose(2, 0, 1))[None].astype(np.float32)
    (rows,) = session.run(None, {session.get_inputs()[0].name: blob})[0]
    height, width = picture.shape[:2]
    cells = [(x, y, s) for s in (8, 16, 32) for y in range(height // s) for x in range(width // s)]
    column, row, stride = np.array(cells, np.float32).T
    x, y = (rows[:, 0] + column) * stride, (rows[:, 1] + row) * stride
    w, h = np.exp(rows[:, 2]) * stride, np.exp(rows[:, 3]) * stride
    scores = rows[:, 4:5] * rows[:, 5:]
    found = []
    for class_id in range(scores.shape[1]):
        boxes = np.stack([x - w / 2, y - h / 2, w, h], 1)
        kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores[:, class_id].tolist(), 0.1, 0.65)
        for index in np.asarray(kept, int).reshape(-1):
            left, top, wide, tall = boxes[index] / (width, height, width, height)
            found.append([class_id, float(scores[index, class_id]), top, left, top + tall, left + wide])
    return found


def pose_heads(path: Path) -> list[list[float]]:
    """Write a graph whose nine raw heads, those of YOLOv8 pose, always show PEOPLE; the boxes that are right."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    initializers, outputs, nodes, expected = [], [], [], []
    for stride in (32, 16, 8):
        side = 640 // stride
        heads = {name: np.zeros((1, count, side, side), np.float32) for name, count in (("b", 64), ("s", 1), ("k", 51))}
        for score, own, row, column, sides in PEOPLE:
            if own == stride:
                heads["s"][0, 0, row, column] = score
                for part, distance in enumerate(sides):
                    heads["b"][0, part * 16 + distance, row, column] = 12.0
                corners = np.array((-1, -1, 1, 1)) * sides + (column, row, column, row) + 0.5
                expected.append([0, score, *(corners[[1, 0, 3, 2]] * stride / 640)])
        for name, head in heads.items():
            initializers.append(numpy_helper.from_array(head, f"{name}{stride}"))
            nodes.append(helper.make_node("Identity", [f"{name}{stride}"], [f"{name}{stride}_out"]))
            outputs.append(helper.make_tensor_value_info(f"{name}{stride}_out", TensorProto.FLOAT, head.shape))
    source = helper.make_tensor_value_info("picture", TensorProto.FLOAT, (1, 3, 640, 640))
    graph = helper.make_graph(nodes, "pose", [source], outputs, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return expected


def masked_box(path: Path) -> list[list[float]]:
    """Write a model that computes nothing and always shows one box with its mask; the box that is right."""
    path.write_text(
        '[simulator]\ninput = [640, 640]\noutputs = "nms_with_byte_mask"\nclasses = 80\n'
        "[[simulator.detections]]\nclass_id = 16\nscore = 0.75\nbox = [0.25, 0.125, 0.5, 0.75]\n"
    )
    return [[16, 0.75, 0.125, 0.25, 0.75, 0.5]]


def agreement(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> str:
    """ "same boxes" with the worst overlap, or the first box without a counterpart."""
    worst = 1.0
    for one, other, whose in ((ours, theirs, "missing"), (theirs, ours, "surplus")):
        for row in one:
            if row[1] < THRESHOLD + MARGIN:
                continue
            overlaps = [iou(row[2:], it[2:]) for it in other if it[0] == row[0] and abs(it[1] - row[1]) <= MARGIN]
            if max(overlaps, default=0.0) < 0.9:
                return f"{whose}: class {int(row[0])} at {row[1]:.2f}"
            worst = min(worst, max(overlaps))
    return f"same boxes, IoU {worst:.3f} at least"


def iou(one: Sequence[float], other: Sequence[float]) -> float:
    corner = np.maximum(one[:2], other[:2])
    size = np.maximum(np.minimum(one[2:], other[2:]) - corner, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return float(size.prod() / (sum(areas) - size.prod()))


def letterboxed(path: Path, size: int) -> np.ndarray[Any, Any]:
    """The picture as the model was trained to see it: RGB, top left, grey beyond."""
    picture = cv2.imread(str(path))
    if picture is None:
        raise SystemExit(f"{path}: no picture")
    scale = size / max(picture.shape[:2])
    small = cv2.resize(picture, None, fx=scale, fy=scale)
    canvas = np.full((size, size, 3), 114, np.uint8)
    canvas[: small.shape[0], : small.shape[1]] = small
    return np.ascontiguousarray(canvas[..., ::-1])


class Bench:
    """Runs programs on the simulator in a scratch folder."""

    def __init__(self, scratch: Path, device: str, serial: str) -> None:
        self.scratch = scratch
        self._options = ["--device", device, "--serial", serial]
        # Some look for the file themselves before HailoRT does; what is in it does not matter.
        (scratch / HEF).touch()
        self._missing = scratch / "missing"
        self._missing.mkdir()
        for name, text in MISSING.items():
            (self._missing / name).write_text(text)

    def run(self, models: Sequence[str], *program: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        stand_ins = [argument for model in models for argument in ("--model", model)]
        command = [sys.executable, "-m", "hailod.simulator", *self._options, *stand_ins, *program]
        path = os.pathsep.join((str(REPOSITORY), str(self._missing)))
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            command,
            cwd=folder or self.scratch,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def drive(self, engine: Engine, folder: Path, model: str, picture: Path, frames: int) -> dict[str, Any] | str:
        """What the driver printed, or why it failed."""
        arguments = (engine.driver, str(folder), str(self.scratch / HEF), str(picture), str(frames))
        done = self.run([f"{HEF}={model}"], "-m", "tests.benchmarks.third_party_drivers", *arguments)
        if done.returncode != 0:
            return f"exit {done.returncode}: {last_line(done)}"
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer


def checkouts(folder: Path) -> Iterator[Path]:
    """Below `folder`, each checkout."""
    yield from sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def version(checkout: Path) -> str:
    mark = checkout / ".commit"
    if not mark.is_file():
        return checkout.name
    commit, _, date = mark.read_text().strip().partition(" ")
    return f"{commit[:7]} {date}"


def engine_rows(folder: Path, bench: Bench, model: Path, timing: Path, picture: Path) -> Iterator[Row]:
    blank = bench.scratch / "blank.npy"
    np.save(blank, np.zeros((640, 640, 3), np.uint8))
    heads, masks = bench.scratch / "heads.onnx", bench.scratch / "masks.sim.toml"
    given = {
        "detector": (model, picture, reference(model, np.load(picture))),
        "pose": (heads, blank, pose_heads(heads)),
        "masks": (masks, blank, masked_box(masks)),
    }
    for engine in ENGINES:
        path, sight, expected = given[engine.model]
        for checkout, base in found_in(folder, engine.file, engine.says):
            seen = bench.drive(engine, base, str(path), sight, 8)
            speed = bench.drive(engine, base, str(timing), blank, SPEED_FRAMES) if engine.model == "detector" else "-"
            fps = speed if isinstance(speed, str) else f"{speed['fps']:.0f}"
            if isinstance(seen, str):
                yield Row(engine.name, version(checkout), "-", seen, fps)
            else:
                above = sum(row[1] >= THRESHOLD for row in seen["detections"])
                yield Row(engine.name, version(checkout), str(above), agreement(expected, seen["detections"]), fps)


def program_rows(folder: Path, bench: Bench, model: Path, picture: Path) -> Iterator[Row]:
    """Whole programs, each in a folder of its own with a HEF of no content and the picture."""
    for program in PROGRAMS:
        for checkout, base in found_in(folder, program.file, "import HailoInfer", "import HailoAsyncInference"):
            with tempfile.TemporaryDirectory(dir=bench.scratch) as name:
                work = Path(name)
                (work / HEF).touch()
                (work / "pictures").mkdir()
                for copy in ("picture.jpg", "pictures/one.jpg", "pictures/two.jpg"):
                    (work / copy).write_bytes(picture.read_bytes())
                beside = base / "coco.txt"
                labels = beside if beside.is_file() else base.parent / "common/coco.txt"
                for settings in base.glob("*.json"):
                    (work / settings.name).write_bytes(settings.read_bytes())
                asked = (*program.arguments, "-l", str(labels))
                done = bench.run([f"{HEF}={model}"], str(base / program.file), *asked, folder=work)
                pictures = sorted(path.name for path in work.glob("output*/*"))
                how = f"exit {done.returncode}: {', '.join(pictures) or last_line(done)}"
                yield Row(program.name, version(checkout), "-", how, "-")


def tutorial_rows(folder: Path, bench: Bench, classifier: Path) -> Iterator[Row]:
    """The notebooks of HailoRT as scripts, in a folder laid out as they expect; on a module with a power sensor."""
    power = bench.scratch / "power.toml"
    power.write_text("power = [[0, 2.5], [5, 3.5]]\n")
    for checkout in checkouts(folder):
        for notebook in sorted(checkout.rglob("HRT_*.ipynb")):
            cells = json.loads(notebook.read_text())["cells"]
            code = "\n".join("".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "code")
            if "hailo_platform.genai" in code:
                continue
            work = bench.scratch / "notebooks"
            work.mkdir(exist_ok=True)
            script = work / notebook.with_suffix(".py").name
            script.write_text("\n".join(line for line in code.splitlines() if not line.startswith("%")))
            options = ["--faults", str(power), *(["--profile", "5.2"] if "-5." in notebook.parent.name else [])]
            models = [f"resnet_v1_18.hef={classifier}", f"shortcut_net.hef={classifier}"]
            done = bench.run(models, *options, str(script), folder=work)
            yield Row(
                f"HailoRT {notebook.stem}",
                version(notebook.parent),
                "-",
                f"exit {done.returncode}: {last_line(done)}",
                "-",
            )


def found_in(folder: Path, file: str, *words: str) -> Iterator[tuple[Path, Path]]:
    """Each checkout with a file of that path which has one of the words, and the folder that the path starts from."""
    for checkout in checkouts(folder):
        for path in sorted(checkout.rglob(file)):
            if any(word in path.read_text(errors="replace") for word in words):
                yield checkout, path.parents[len(Path(file).parts) - 1]


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    said = (done.stderr if done.returncode else done.stdout).strip().splitlines()
    return f"{said[-1]:.120}" if said else "nothing said"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--model", type=Path, required=True, help="a YOLOX graph that takes BGR, such as yolox_nano.onnx"
    )
    parser.add_argument("--classifier", type=Path, help="a graph for the tutorials; without it they are left out")
    parser.add_argument("--picture", type=Path, required=True)
    parser.add_argument("--device", default="yolov8s@hailo8l", help="the published timing for the speed")
    parser.add_argument("--markdown", type=Path, help="also write the table to this file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        timing = scratch / "timing.sim.toml"
        timing.write_text(TIMING.format(preset=given.device))
        picture = scratch / "picture.npy"
        np.save(picture, letterboxed(given.picture, 416))
        bench = Bench(scratch, given.device.rpartition("@")[2], f"third-{os.getpid()}")
        model = given.model.absolute()
        published = preset(given.device)
        lines = [
            f"{given.device}: published {published.b1:g} frames per second alone, {published.b8:g} in batches of 8.",
            "",
            f"| program | version | detections >= {THRESHOLD} | against what is right, or how it ended | frames/s |",
            "|---|---|--:|---|--:|",
        ]
        print("\n".join(lines))
        for row in chain(
            engine_rows(given.folder, bench, model, timing, picture),
            program_rows(given.folder, bench, model, given.picture),
            tutorial_rows(given.folder, bench, given.classifier.absolute()) if given.classifier else (),
        ):
            print(row, flush=True)
            lines.append(str(row))
    if given.markdown:
        given.markdown.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
