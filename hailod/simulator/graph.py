"""An ONNX graph on the CPU, presented as the HEF that would have been compiled from it.

The host sees one RGB uint8 NHWC input, whatever the graph wants, and quantised outputs: the raw heads, or what
HailoRT's NMS makes of exactly those.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hailod.errors import ModelError
from hailod.models.manifest import SimulatorManifest
from hailod.simulator.heads import Heads, RawHeads, YoloxHeads
from hailod.simulator.network import HefInfo, Network, NmsSettings, Program, nms_tensor, pack, suppressed
from hailod.simulator.nms import Quantisation
from hailod.types import U8, NmsShape, TensorInfo, TensorOrder

CALIBRATION_SEED = 20_000
# Sides of the squares of one colour in the calibration pictures: noise to shapes.
CALIBRATION_CELLS = (1, 16, 64)


@dataclass(frozen=True, slots=True)
class _Input:
    """How the graph wants its picture."""

    name: str
    height: int
    width: int
    planar: bool
    floating: bool


class OnnxNetwork(Network):
    """A graph and its manifest. Loading opens a session; ModelError when the graph cannot be presented as a HEF."""

    def __init__(self, path: Path, cost: HefInfo, manifest: SimulatorManifest) -> None:
        self._manifest = manifest
        self._session = _session(path)
        self._input = _picture_input(self._session)
        self._heads: Heads
        if manifest.meta_arch == "yolox":
            self._heads = YoloxHeads(cost.name, (self._input.height, self._input.width), manifest)
        else:
            self._heads = RawHeads(cost.name, self._calibrate(), self._input.planar, manifest.quantisation)
        self.info = self._describe(cost)

    def compile(
        self, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo], settings: NmsSettings | None
    ) -> Program:
        heads = self._heads
        shape = (self._input.height, self._input.width, 3)
        floating = inputs[0].dtype == "float32"

        def run(data: U8) -> Sequence[U8]:
            frame = _to_uint8(data.view(np.float32)) if floating else data
            tensors = heads.split(self._run(frame.reshape(shape)))
            if settings is None:
                return [_as_bytes(*each) for each in zip(tensors, heads.tensors, outputs, strict=True)]
            found = heads.detect(tensors, settings.score_threshold)
            return [pack(suppressed(found, settings), outputs[0])]

        return run

    def _run(self, frame: U8) -> list[NDArray[Any]]:
        results: list[NDArray[Any]] = self._session.run(None, {self._input.name: self._feed(frame)})
        return results

    def _feed(self, frame: U8) -> NDArray[Any]:
        picture: NDArray[Any] = frame[..., ::-1] if self._manifest.channels == "bgr" else frame
        if self._input.floating:
            picture = picture.astype(np.float32)
            if self._manifest.mean != (0.0, 0.0, 0.0) or self._manifest.std != (1.0, 1.0, 1.0):
                picture = (picture - np.array(self._manifest.mean, np.float32)) / np.array(
                    self._manifest.std, np.float32
                )
        if self._input.planar:
            picture = picture.transpose(2, 0, 1)
        return np.ascontiguousarray(picture)[None]

    def _calibrate(self) -> list[list[NDArray[Any]]]:
        """What the graph answers to a few seeded pictures, the same every time."""
        random = np.random.default_rng(CALIBRATION_SEED)
        size = (self._input.height, self._input.width)
        answers = []
        for cell in CALIBRATION_CELLS:
            coarse = random.integers(0, 256, (-(-size[0] // cell), -(-size[1] // cell), 3), np.uint8)
            picture = coarse.repeat(cell, axis=0).repeat(cell, axis=1)[: size[0], : size[1]]
            answers.append(self._run(picture))
        return answers

    def _describe(self, cost: HefInfo) -> HefInfo:
        shape = (self._input.height, self._input.width, 3)
        picture = TensorInfo(
            f"{cost.name}/input_layer1", shape, "uint8", TensorOrder.NHWC, self._input.height * self._input.width * 3
        )
        manifest = self._manifest
        if manifest.outputs == "raw" or manifest.meta_arch is None:
            return replace(cost, inputs=(picture,), outputs=self._heads.tensors)
        order = TensorOrder.NMS_BY_CLASS if manifest.outputs == "nms_by_class" else TensorOrder.NMS_BY_SCORE
        limits = NmsShape(manifest.classes, manifest.max_per_class)
        return replace(
            cost,
            inputs=(picture,),
            outputs=(nms_tensor(f"{cost.name}/{manifest.meta_arch}_nms_postprocess", order, limits),),
            nms=NmsSettings(manifest.score_threshold, manifest.iou_threshold, manifest.max_per_class),
        )


def _to_uint8(values: NDArray[np.float32]) -> U8:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _as_bytes(head: NDArray[Any], compiled: TensorInfo, wanted: TensorInfo) -> U8:
    if wanted.dtype == "float32":
        head = Quantisation(compiled.scale[0], compiled.zero_point[0]).dequantise(head)
    return np.ascontiguousarray(head).reshape(-1).view(np.uint8)


def _picture_input(session: Any) -> _Input:
    inputs = session.get_inputs()
    shape = inputs[0].shape
    if len(inputs) != 1 or len(shape) != 4 or not all(isinstance(size, int) for size in shape[1:]):
        raise ModelError(f"expected one picture of fixed size as input, got {[(i.name, i.shape) for i in inputs]}")
    if inputs[0].type not in ("tensor(float)", "tensor(uint8)"):
        raise ModelError(f"expected a float or uint8 picture as input, got {inputs[0].type}")
    floating = inputs[0].type == "tensor(float)"
    if shape[1] == 3:
        return _Input(inputs[0].name, shape[2], shape[3], planar=True, floating=floating)
    if shape[3] == 3:
        return _Input(inputs[0].name, shape[1], shape[2], planar=False, floating=floating)
    raise ModelError(f"expected three channels first or last in the input, got {shape}")


def _session(path: Path) -> Any:
    # Read when the library is loaded: it is not to send telemetry, nor to keep a thread for it.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime  # noqa: PLC0415 - an extra, and slow to load
    except ImportError as error:
        raise ModelError(
            f"{path.name} needs onnxruntime (pip install 'hailod[sim]', or python3-onnxruntime)"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    with quiet_schemas():
        try:
            return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # onnxruntime's exceptions have no common base of their own.
            raise ModelError(f"onnxruntime cannot load {path.name}: {error}") from error


@contextmanager
def quiet_schemas() -> Iterator[None]:
    """Keep what Debian's onnxruntime writes at its first session, a line per operator, off standard error.

    Everything else that was written meanwhile is passed on afterwards.
    """
    held, captured = os.dup(2), os.memfd_create("stderr", os.MFD_CLOEXEC)
    os.dup2(captured, 2)
    try:
        yield
    finally:
        os.dup2(held, 2)
        os.lseek(captured, 0, os.SEEK_SET)
        with os.fdopen(captured, "rb") as noise:
            for line in noise:
                if b"Schema error: Trying to register schema" not in line:
                    os.write(2, line)
        os.close(held)
