"""An ONNX graph on the CPU, presented as the HEF that would have been compiled from it.

The host sees one quantised picture as input, whatever the graph wants, and quantised outputs: the raw heads, or what
HailoRT's NMS makes of exactly those.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hailod.errors import ModelError
from hailod.models.manifest import SimulatorManifest
from hailod.simulator.networks.colour import TO_RGB
from hailod.simulator.networks.heads import Heads, RawHeads, Yolov5Heads, Yolov8Heads, YoloxHeads
from hailod.simulator.networks.network import (
    HefInfo,
    Network,
    NmsSettings,
    Origin,
    Program,
    nms_tensor,
    streams_of,
    write_detections,
)
from hailod.simulator.networks.nms import Quantisation, Quantised, suppress
from hailod.simulator.networks.postprocess import NMS_OUTPUTS, nms_limits, nms_settings
from hailod.simulator.networks.scripted import dequantised
from hailod.types import U8, TensorInfo, TensorOrder

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

    def __init__(self, path: Path, cost: HefInfo, manifest: SimulatorManifest, profile: str = "4.23") -> None:
        self._manifest = manifest
        self._session = _session(path)
        self._input = _picture_input(self._session)
        self._size = (self._input.height, self._input.width)
        self._heads = self._make_heads(cost.name)
        self.info = self._describe(cost, profile)

    def compile(
        self, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo], settings: NmsSettings | None
    ) -> Program:
        heads, compiled = self._heads, self.info.inputs[0]
        floating = inputs[0].dtype == "float32"

        def run(data: Sequence[U8]) -> Sequence[U8]:
            numbers = data[0].view(inputs[0].dtype).reshape(compiled.shape)
            if floating:
                numbers = self._quantisation.quantise(numbers, np.dtype(compiled.dtype))
            tensors = heads.split(self._run(numbers))
            if settings is None:
                return [_as_bytes(*each) for each in zip(tensors, heads.tensors, outputs, strict=True)]
            return [self._detect(tensors, outputs[0], settings)]

        return run

    def _detect(self, tensors: Sequence[Quantised], output: TensorInfo, settings: NmsSettings) -> U8:
        most = settings.max_per_class if output.order is TensorOrder.NMS_BY_CLASS else None
        found = suppress(self._heads.detect(tensors, settings.score_threshold), settings.iou_threshold, most)
        prototypes = self._heads.prototypes(tensors)

        def mask_of(index: int, rows: slice, columns: slice) -> NDArray[np.bool_]:
            assert prototypes is not None
            assert found.coefficients is not None
            return prototypes.mask(found.coefficients[index], rows, columns)

        return write_detections(found, output, settings, self._size, mask_of)

    @property
    def _quantisation(self) -> Quantisation:
        return Quantisation(self._manifest.input_scale, self._manifest.input_zero_point)

    def _run(self, numbers: NDArray[Any]) -> list[NDArray[Any]]:
        """The graph's answers to a picture in the numbers of the HEF's input."""
        results: list[NDArray[Any]] = self._session.run(None, {self._input.name: self._feed(numbers)})
        return results

    def _feed(self, numbers: NDArray[Any]) -> NDArray[Any]:
        manifest = self._manifest
        picture: NDArray[Any] = TO_RGB[manifest.input_order](numbers)
        if manifest.channels == "bgr":
            picture = picture[..., ::-1]
        if self._input.floating:
            picture = self._quantisation.dequantise(picture)
            if manifest.mean != (0.0, 0.0, 0.0) or manifest.std != (1.0, 1.0, 1.0):
                picture = (picture - np.array(manifest.mean, np.float32)) / np.array(manifest.std, np.float32)
        if self._input.planar:
            picture = picture.transpose(2, 0, 1)
        return np.ascontiguousarray(picture)[None]

    def _calibrate(self) -> list[list[NDArray[Any]]]:
        """What the graph answers to a few seeded pictures, the same every time."""
        random = np.random.default_rng(CALIBRATION_SEED)
        shape = picture_input("", self._size, self._manifest).shape
        top = np.iinfo(self._manifest.input_type).max
        answers = []
        for cell in CALIBRATION_CELLS:
            coarse = random.integers(
                0, top, (-(-shape[0] // cell), -(-shape[1] // cell), shape[2]), self._manifest.input_type, endpoint=True
            )
            numbers = coarse.repeat(cell, axis=0).repeat(cell, axis=1)[: shape[0], : shape[1]]
            answers.append(self._run(numbers))
        return answers

    def _make_heads(self, name: str) -> Heads:
        manifest = self._manifest
        if manifest.meta_arch == "yolox":
            return YoloxHeads(name, self._size, manifest)
        answers, planar = self._calibrate(), self._input.planar
        if manifest.meta_arch == "yolov8":
            return Yolov8Heads(name, answers, planar, self._size, manifest)
        if manifest.meta_arch is not None:
            return Yolov5Heads(name, answers, planar, self._size, manifest)
        return RawHeads(name, answers, planar, manifest.quantisation)

    def _describe(self, cost: HefInfo, profile: str) -> HefInfo:
        manifest = self._manifest
        picture = picture_input(cost.name, self._size, manifest)
        heads = streams_of(self._heads.tensors)
        cost = replace(cost, inputs=(picture,), input_streams=streams_of([picture]), output_streams=heads)
        if manifest.outputs == "raw" or manifest.meta_arch is None:
            return replace(cost, outputs=self._heads.tensors)
        order = NMS_OUTPUTS[manifest.outputs]
        if (order is TensorOrder.NMS_WITH_BYTE_MASK) != (manifest.meta_arch == "yolov5_seg"):
            raise ModelError(f"{cost.name}: masks come from yolov5_seg and from nothing else, got {manifest.meta_arch}")
        limits = nms_limits(manifest, self._size)
        output = nms_tensor(f"{cost.name}/{manifest.meta_arch}_nms_postprocess", order, limits, profile=profile)
        names = tuple(stream.tensor.name for stream in heads)
        origin = Origin(cost.networks[0], names, ())
        return replace(cost, outputs=(output,), nms=nms_settings(manifest, profile), origins={output.name: origin})


def picture_input(name: str, size: tuple[int, int], manifest: SimulatorManifest) -> TensorInfo:
    """The input of a HEF for pictures (height, width); NV12 counts half the rows of three bytes, as HailoRT does."""
    height, width = size
    order = TensorOrder(manifest.input_order)
    shape = {"NHWC": (height, width, 3), "NV12": (height // 2, width, 3), "YUY2": (height, width, 2)}[order.value]
    if order is not TensorOrder.NHWC and (width % 2 or height % 2 or manifest.input_type != "uint8"):
        raise ModelError(f"{name}: an input in {order} is of uint8 and of even size")
    dtype = np.dtype(manifest.input_type)
    nbytes = int(np.prod(shape)) * dtype.itemsize
    scale, zero = (manifest.input_scale,), (manifest.input_zero_point,)
    return TensorInfo(f"{name}/input_layer1", shape, dtype.name, order, nbytes, scale, zero)


def _as_bytes(head: NDArray[Any], compiled: TensorInfo, wanted: TensorInfo) -> U8:
    if wanted.dtype == "float32":
        head = dequantised(head, compiled)
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
            f"{path.name} needs onnxruntime (pip install onnxruntime, or apt-get install python3-onnxruntime)"
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


_REDIRECTING = threading.Lock()


@contextmanager
def quiet_schemas() -> Iterator[None]:
    """Keep what Debian's onnxruntime writes at its first session, a line per operator, off standard error.

    Everything else that was written meanwhile is passed on afterwards.
    """
    # One at a time: of two, each would take the other's redirection for standard error and put it back at the end.
    with _REDIRECTING:
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
