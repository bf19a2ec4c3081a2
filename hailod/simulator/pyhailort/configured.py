"""`ConfiguredInferModel`: submission, completion, and the ways they fail."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from hailod.simulator.native import NMS_ORDERS, FormatOrder, format_order
from hailod.simulator.pyhailort import bindings as bound
from hailod.simulator.pyhailort.errors import ExceptionWrapper, HailoRTInvalidHEFException
from hailod.simulator.pyhailort.session import NativeConfiguredInferModel, NativeJob

if TYPE_CHECKING:
    from hailod.simulator.pyhailort.infer import InferModel

Array = NDArray[Any]
UserCallback = Callable[..., object]
_NMS_ORDERS = [format_order(order) for order in NMS_ORDERS]


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

    def __init__(self, job: NativeJob) -> None:
        self._job = job

    def wait(self, timeout_ms: float) -> None:
        """Return once the callback has run, whether or not the inference failed; HailoRTTimeout until then."""
        with ExceptionWrapper():
            self._job.wait(timedelta(milliseconds=timeout_ms))


class ConfiguredInferModel:
    """A model on the device, ready to run until its first failure or its end."""

    NmsTransformationInfo = bound.NmsTransformationInfo
    NmsHailoTransformationInfo = bound.NmsHailoTransformationInfo
    NmsTfTransformationInfo = bound.NmsTfTransformationInfo
    Bindings = bound.Bindings

    def __init__(self, configured_infer_model: NativeConfiguredInferModel, infer_model: InferModel) -> None:
        self._configured_infer_model: Any = configured_infer_model
        self._input_names = infer_model.input_names
        self._output_names = infer_model.output_names
        self._infer_model = infer_model
        # Keeps the memory of each job until its callback is over; an exception of run_async leaves an entry behind.
        self._buffer_guards: deque[list[Any]] = deque()

    def __enter__(self) -> ConfiguredInferModel:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        native, self._configured_infer_model = self._configured_infer_model, None
        if native is not None:
            native.close()

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
    ) -> bound.Bindings:
        with ExceptionWrapper():
            native = self._configured_infer_model.create_bindings()
        bindings = bound.Bindings(native, self._input_names, self._output_names, self._get_nms_infos())
        for name, buffer in (input_buffers or {}).items():
            bindings.input(name).set_buffer(buffer)
        for name, buffer in (output_buffers or {}).items():
            bindings.output(name).set_buffer(buffer)
        return bindings

    def wait_for_async_ready(self, timeout_ms: int = 1000, frames_count: int = 1) -> None:
        with ExceptionWrapper():
            self._configured_infer_model.wait_for_async_ready(timedelta(milliseconds=timeout_ms), frames_count)

    def run(self, bindings: Sequence[bound.Bindings], timeout: float) -> None:
        """Submit and wait. That it returns says nothing of the results."""
        with ExceptionWrapper():
            self.run_async(bindings).wait(timeout)

    def run_async(self, bindings: Sequence[bound.Bindings], callback: UserCallback | None = None) -> AsyncInferJob:
        """Submit a list of frames as one job. An exception is the end of the model.

        `callback(completion_info=...)` is called once, on a thread of the library; what it raises aborts the process.
        """
        memory = [each.input(name).get_buffer() for each in bindings for name in self._input_names]
        memory += [each.output(name).get_buffer(None) for each in bindings for name in self._output_names]
        self._buffer_guards.append(memory)
        guards = self._buffer_guards

        def completed(status: int) -> None:
            if callback is not None:
                callback(
                    completion_info=AsyncInferCompletionInfo(ExceptionWrapper.create_exception_from_status(status))
                    if status
                    else _SUCCESS
                )
            guards.popleft()

        with ExceptionWrapper():
            native = self._configured_infer_model
            return AsyncInferJob(native.run_async([each.get() for each in bindings], completed))

    def set_scheduler_timeout(self, timeout_ms: int) -> None:
        with ExceptionWrapper():
            self._configured_infer_model.set_scheduler_timeout(timedelta(milliseconds=timeout_ms))

    def set_scheduler_threshold(self, threshold: int) -> None:
        with ExceptionWrapper():
            self._configured_infer_model.set_scheduler_threshold(threshold)

    def set_scheduler_priority(self, priority: int) -> None:
        with ExceptionWrapper():
            self._configured_infer_model.set_scheduler_priority(priority)

    def get_async_queue_size(self) -> int:
        with ExceptionWrapper():
            return int(self._configured_infer_model.get_async_queue_size())

    def shutdown(self) -> None:
        with ExceptionWrapper():
            self._configured_infer_model.shutdown()

    def _get_nms_infos(self) -> dict[str, bound.NmsTransformationInfo]:
        """By output, with the limits of the file, whatever was set since; the file is read the first time."""
        infos = {}
        for name in self._output_names:
            output = self._infer_model.output(name)
            order = output.format.order
            if order not in _NMS_ORDERS:
                continue
            vstreams = self._infer_model.hef.get_output_vstream_infos()
            limits = next(vstream for vstream in vstreams if vstream.name == name).nms_shape
            height, width = -1, -1
            if order == FormatOrder.HAILO_NMS_WITH_BYTE_MASK:
                if len(self._input_names) != 1:
                    raise HailoRTInvalidHEFException(f"Output format order {order} should have 1 input")
                height, width = self._infer_model.input().shape[:2]
            infos[name] = self.NmsTransformationInfo(
                order, height, width, limits.number_of_classes, limits.max_bboxes_per_class, output.quant_infos[0]
            )
        return infos
