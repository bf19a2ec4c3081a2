"""`ConfiguredInferModel`: bindings, submission, completion, and the ways they fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hailod.simulator import nms
from hailod.simulator.device import OpenDevice, Simulation
from hailod.simulator.errors import ExceptionWrapper, HailoRTException
from hailod.simulator.native import FormatOrder, HailoRTStatusException, NativeEnum, QuantInfo
from hailod.simulator.network import Program, Timing
from hailod.simulator.pipeline import Frame, Job, Pipeline
from hailod.types import U8, TensorInfo

if TYPE_CHECKING:
    from hailod.simulator.infer import InferModel

TIMEOUT = 4
INVALID_OPERATION = 6
NOT_FOUND = 61
NETWORK_GROUP_NOT_ACTIVATED = 69

Array = NDArray[Any]
UserCallback = Callable[..., object]


class NativeBindings:
    """Which memory each tensor of one frame uses, as raw bytes: only their number is ever checked, and late."""

    def __init__(self, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> None:
        self.inputs: list[U8 | None] = [None] * len(inputs)
        self.outputs: list[U8 | None] = [None] * len(outputs)
        self._input_bytes = [tensor.nbytes for tensor in inputs]
        self._output_bytes = [tensor.nbytes for tensor in outputs]

    def frame(self) -> Frame:
        """The frame when every buffer is there in the right size. Raises the status of what is not."""
        outputs: list[U8] = []
        for buffer, nbytes in zip(self.outputs, self._output_bytes, strict=True):
            if buffer is None or buffer.size != nbytes:
                raise HailoRTStatusException(INVALID_OPERATION)
            outputs.append(buffer)
        buffer, nbytes = self.inputs[0], self._input_bytes[0]
        if buffer is None:
            raise HailoRTStatusException(NOT_FOUND)
        if buffer.size != nbytes:
            raise HailoRTStatusException(INVALID_OPERATION)
        return buffer, outputs

    @property
    def lacks_output(self) -> bool:
        return any(buffer is None for buffer in self.outputs)


class NativeModel:
    """A model on the device. Its end aborts what is in flight and waits for the last callback."""

    def __init__(
        self,
        simulation: Simulation,
        device: OpenDevice,
        timing: Timing,
        program: Program,
        *,
        inputs: Sequence[TensorInfo],
        outputs: Sequence[TensorInfo],
        batch_size: int,
        queue_size: int,
        scheduled: bool,
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self._device = device
        self._scheduled = scheduled
        self._pipeline = Pipeline(
            simulation, device.timeline, timing, program, batch_size=batch_size, queue_size=queue_size
        )
        self._pipeline.start()

    def __del__(self) -> None:
        self._pipeline.close()
        if self._device.active is self._pipeline:
            self._device.active = None

    def activate(self) -> None:
        if self._scheduled or self._device.active is not None:
            raise HailoRTStatusException(INVALID_OPERATION)
        self._device.active = self._pipeline

    def deactivate(self) -> None:
        if self._device.active is not self._pipeline:
            raise HailoRTStatusException(INVALID_OPERATION)
        self._device.active = None

    def get_async_queue_size(self) -> int:
        return self._pipeline.queue_size

    def wait_for_async_ready(self, timeout_ms: float, frames_count: int) -> None:
        if not self._pipeline.wait_ready(timeout_ms / 1000, frames_count):
            raise HailoRTStatusException(TIMEOUT)

    def run_async(self, bindings: Sequence[NativeBindings], callback: Callable[[int], None]) -> Job:
        """Submit one job. Whatever it raises, the pipeline is dead afterwards, but for an output never bound."""
        try:
            if not self._scheduled and self._device.active is not self._pipeline:
                raise HailoRTStatusException(NETWORK_GROUP_NOT_ACTIVATED)
            frames = [each.frame() for each in bindings]
        except HailoRTStatusException:
            if not any(each.lacks_output for each in bindings):
                self._pipeline.abort(holding_gil=False)
            raise
        return self._pipeline.submit(frames, callback)

    def shutdown(self) -> None:
        self._pipeline.abort(holding_gil=True)

    def check_scheduled(self) -> None:
        """Raise the status that scheduler settings return without a scheduler."""
        if not self._scheduled:
            raise HailoRTStatusException(INVALID_OPERATION)


class AsyncInferCompletionInfo:
    """How an inference ended; the only place where its failure shows."""

    __slots__ = ("_exception",)

    def __init__(self, exception: Exception | None) -> None:
        self._exception = exception

    @property
    def exception(self) -> Exception | None:
        return self._exception


_SUCCESS = AsyncInferCompletionInfo(None)


class AsyncInferJob:
    """A job in flight."""

    MILLISECOND = 0.001

    def __init__(self, job: Job) -> None:
        self._job = job

    def wait(self, timeout_ms: float) -> None:
        """Return once the callback has run, whether or not the inference failed; HailoRTTimeout until then."""
        with ExceptionWrapper():
            if not self._job.wait(timeout_ms * self.MILLISECOND):
                raise HailoRTStatusException(TIMEOUT)


class Detection:
    """One detection of an NMS_BY_SCORE buffer."""

    def __init__(self, detection: np.void) -> None:
        self._detection = detection

    @property
    def y_min(self) -> float:
        return float(self._detection["box"][0])

    @property
    def x_min(self) -> float:
        return float(self._detection["box"][1])

    @property
    def y_max(self) -> float:
        return float(self._detection["box"][2])

    @property
    def x_max(self) -> float:
        return float(self._detection["box"][3])

    @property
    def score(self) -> float:
        return float(self._detection["score"])

    @property
    def class_id(self) -> int:
        return int(self._detection["class_id"])


class ConfiguredInferModel:
    """A model on the device, ready to run until its first failure or its end."""

    @dataclass(kw_only=False)
    class NmsTransformationInfo:
        """How to read an NMS buffer."""

        format_order: NativeEnum
        input_height: int
        input_width: int
        number_of_classes: int
        max_bboxes_per_class: int
        quant_info: QuantInfo
        output_dtype: np.dtype[Any] = np.dtype("float32")  # noqa: RUF009 - immutable

    class Bindings:
        """The buffers of one frame."""

        class InferStream:
            """The buffer of one tensor."""

            def __init__(
                self,
                infer_stream: tuple[list[U8 | None], int],
                nms_info: ConfiguredInferModel.NmsTransformationInfo | None = None,
            ) -> None:
                self._buffers, self._index = infer_stream
                self._nms_info = nms_info
                self._buffer: Any = None

            def set_buffer(self, buffer: Array) -> None:
                """Bind memory: C-contiguous, writable (inputs too), uint8 for NMS by score. Its size is not checked."""
                self._validate_c_contiguous(buffer)
                by_score = self._nms_info is not None and self._nms_info.format_order == FormatOrder.HAILO_NMS_BY_SCORE
                if by_score and buffer.dtype != np.uint8:
                    raise HailoRTException("NMS by score buffers must be of dtype uint8")
                if not buffer.flags.writeable:
                    raise ValueError("array is not writeable")
                self._buffer = buffer
                self._buffers[self._index] = buffer.reshape(-1).view(np.uint8)

            def get_buffer(self, tf_format: bool | None = False) -> Any:
                """The results. NMS by class: per class a float32 view (n, 5) of the bound buffer, or float64 (0, 5).

                With `tf_format` one array (classes, 5, max_per_class). NMS by score: a list of `Detection`. Anything
                else, and everything with `tf_format=None`: the bound array itself.
                """
                info = self._nms_info
                if info is None or tf_format is None:
                    return self._buffer
                if info.format_order == FormatOrder.HAILO_NMS_BY_SCORE:
                    if tf_format:
                        raise HailoRTException("NMS by score has no TF format")
                    return _detections(self._buffer)
                per_class = _per_class(self._buffer, info.number_of_classes)
                if not tf_format:
                    return per_class
                padded = np.zeros((info.number_of_classes, 5, info.max_bboxes_per_class), np.float32)
                for row, found in zip(padded, per_class, strict=True):
                    row[:, :] = np.pad(found, ((0, info.max_bboxes_per_class - len(found)), (0, 0))).T
                return padded

            @staticmethod
            def _validate_c_contiguous(buffer: Array) -> None:
                if not buffer.flags.c_contiguous:
                    raise HailoRTException("Buffer must be C_CONTIGUOUS")

        def __init__(
            self,
            bindings: NativeBindings,
            input_names: Sequence[str],
            output_names: Sequence[str],
            nms_infos: Mapping[str, ConfiguredInferModel.NmsTransformationInfo],
        ) -> None:
            self._bindings = bindings
            self._inputs = {name: self.InferStream((bindings.inputs, index)) for index, name in enumerate(input_names)}
            self._outputs = {
                name: self.InferStream((bindings.outputs, index), nms_infos.get(name))
                for index, name in enumerate(output_names)
            }

        def get(self) -> NativeBindings:
            return self._bindings

        def input(self, name: str = "") -> ConfiguredInferModel.Bindings.InferStream:
            with ExceptionWrapper():
                return _only(self._inputs, name)

        def output(self, name: str = "") -> ConfiguredInferModel.Bindings.InferStream:
            with ExceptionWrapper():
                return _only(self._outputs, name)

    def __init__(self, configured_infer_model: NativeModel, infer_model: InferModel) -> None:
        self._configured_infer_model: Any = configured_infer_model
        self._infer_model = infer_model
        self._nms_infos: dict[str, ConfiguredInferModel.NmsTransformationInfo] | None = None

    def __enter__(self) -> ConfiguredInferModel:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._configured_infer_model = None

    def activate(self) -> None:
        with ExceptionWrapper():
            self._configured_infer_model.activate()

    def deactivate(self) -> None:
        with ExceptionWrapper():
            self._configured_infer_model.deactivate()

    def create_bindings(
        self,
        input_buffers: Mapping[str, Array] | None = None,
        output_buffers: Mapping[str, Array] | None = None,
    ) -> ConfiguredInferModel.Bindings:
        native = self._configured_infer_model
        bindings = self.Bindings(
            NativeBindings(native.inputs, native.outputs),
            [tensor.name for tensor in native.inputs],
            [tensor.name for tensor in native.outputs],
            self._get_nms_infos(),
        )
        for name, buffer in (input_buffers or {}).items():
            bindings.input(name).set_buffer(buffer)
        for name, buffer in (output_buffers or {}).items():
            bindings.output(name).set_buffer(buffer)
        return bindings

    def get_async_queue_size(self) -> int:
        with ExceptionWrapper():
            return int(self._configured_infer_model.get_async_queue_size())

    def wait_for_async_ready(self, timeout_ms: int = 1000, frames_count: int = 1) -> None:
        with ExceptionWrapper():
            self._configured_infer_model.wait_for_async_ready(timeout_ms, frames_count)

    def run(self, bindings: Sequence[ConfiguredInferModel.Bindings], timeout: float) -> None:
        """Submit and wait. That it returns says nothing of the results."""
        self.run_async(bindings).wait(timeout)

    def run_async(
        self, bindings: Sequence[ConfiguredInferModel.Bindings], callback: UserCallback | None = None
    ) -> AsyncInferJob:
        def completed(status: int) -> None:
            if callback is not None:
                callback(
                    completion_info=AsyncInferCompletionInfo(ExceptionWrapper.create_exception_from_status(status))
                    if status
                    else _SUCCESS
                )

        with ExceptionWrapper():
            return AsyncInferJob(self._configured_infer_model.run_async([each.get() for each in bindings], completed))

    def set_scheduler_timeout(self, timeout_ms: int) -> None:
        with ExceptionWrapper():
            self._configured_infer_model.check_scheduled()

    def set_scheduler_threshold(self, threshold: int) -> None:
        with ExceptionWrapper():
            self._configured_infer_model.check_scheduled()

    def set_scheduler_priority(self, priority: int) -> None:
        with ExceptionWrapper():
            self._configured_infer_model.check_scheduled()

    def shutdown(self) -> None:
        with ExceptionWrapper():
            self._configured_infer_model.shutdown()

    def _get_nms_infos(self) -> dict[str, ConfiguredInferModel.NmsTransformationInfo]:
        """By output. The limits are those of the file, read again the first time, whatever was set since."""
        if self._nms_infos is None:
            height, width = self._infer_model.inputs[0].shape[:2]
            compiled = {info.name: info for info in self._infer_model.hef.get_output_vstream_infos()}
            self._nms_infos = {
                output.name: self.NmsTransformationInfo(
                    output.format.order,
                    height,
                    width,
                    compiled[output.name].nms_shape.number_of_classes,
                    compiled[output.name].nms_shape.max_bboxes_per_class,
                    output.quant_infos[0],
                )
                for output in self._infer_model.outputs
                if output.is_nms
            }
        return self._nms_infos


def _only(
    streams: Mapping[str, ConfiguredInferModel.Bindings.InferStream], name: str
) -> ConfiguredInferModel.Bindings.InferStream:
    if not name:
        if len(streams) != 1:
            raise HailoRTStatusException(INVALID_OPERATION)
        return next(iter(streams.values()))
    if name not in streams:
        raise HailoRTStatusException(NOT_FOUND)
    return streams[name]


def _per_class(raw: Any, classes: int) -> list[Array]:
    found: list[Array] = []
    offset = 0
    for _ in range(classes):
        count = int(raw[offset])
        offset += 1
        found.append(raw[offset : offset + 5 * count].reshape(count, 5) if count else np.empty((0, 5)))
        offset += 5 * count
    return found


def _detections(raw: Any) -> list[Detection]:
    count = int.from_bytes(raw[:2].tobytes(), "little")
    return [Detection(record) for record in np.frombuffer(raw, nms.RECORD, count, offset=2)]
