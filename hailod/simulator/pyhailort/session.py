"""`_pyhailort.ConfiguredInferModel`: a model on the device, from `configure()` to its first failure or its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from hailod.simulator.chip.device import OpenDevice, Simulation
from hailod.simulator.chip.foreign import Native, abort_of_self_join
from hailod.simulator.chip.pipeline import Deliver, Job, Pipeline, copied
from hailod.simulator.native import HailoRTStatusException
from hailod.simulator.networks.network import HefInfo, NmsSettings, Program, masked_layout
from hailod.simulator.pyhailort.bindings import NativeBindings
from hailod.types import U8, TensorInfo, TensorOrder

TIMEOUT = 4
INSUFFICIENT_BUFFER = 5
INVALID_OPERATION = 6
NETWORK_GROUP_NOT_ACTIVATED = 69


class NativeConfiguredInferModel(Native):
    """A model on the device. Its end aborts what is in flight and waits for the last callback."""

    def __init__(
        self,
        simulation: Simulation,
        device: OpenDevice,
        info: HefInfo,
        program: Program,
        *,
        inputs: Sequence[TensorInfo],
        outputs: Sequence[TensorInfo],
        settings: NmsSettings | None,
        batch_size: int,
        queue_size: int,
        scheduled: bool,
    ) -> None:
        self._inputs = inputs
        self._outputs = outputs
        self._closed = False
        self._device = device
        self._scheduled = scheduled
        # A lone output with masks is written by the host, straight into the user's memory.
        self._reallocates = [output.order for output in outputs] != [TensorOrder.NMS_WITH_BYTE_MASK]
        self._pipeline = Pipeline(
            simulation, device, info, program, batch_size=batch_size, queue_size=queue_size,
            deliver=delivery(inputs, outputs, settings),
        )  # fmt: skip
        self._pipeline.start()

    def __del__(self) -> None:
        if not self._interpreter_ends():
            self.close()

    def close(self) -> None:
        """Be destructed, with the GIL released; harmless when it was. From its own callback that aborts the process."""
        if self._closed:
            return
        self._closed = True
        if self._pipeline.calls_back_here:
            abort_of_self_join()
        self._pipeline.close()
        if self._device.active is self._pipeline:
            self._device.active = None

    def create_bindings(self) -> NativeBindings:
        return NativeBindings(self._inputs, self._outputs)

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

    def wait_for_async_ready(self, timeout: timedelta, frames_count: int) -> None:
        if not self._pipeline.wait_ready(timeout.total_seconds(), frames_count):
            raise HailoRTStatusException(TIMEOUT)

    def run(self, bindings: NativeBindings, timeout: timedelta) -> None:
        """Submit one frame and wait for it."""
        self.run_async([bindings], lambda _: None).wait(timeout)

    def run_async(self, bindings: Sequence[NativeBindings], callback: Callable[[int], None]) -> NativeJob:
        """Submit one job. Whatever it raises, the pipeline is dead afterwards, but for an output never bound."""
        if self._reallocates and any(each.lacks_output for each in bindings):
            raise HailoRTStatusException(INVALID_OPERATION)
        try:
            if not self._scheduled and self._device.active is not self._pipeline:
                raise HailoRTStatusException(NETWORK_GROUP_NOT_ACTIVATED)
            frames = [each.frame() for each in bindings]
        except HailoRTStatusException:
            self._pipeline.abort(holding_gil=False)
            raise
        return NativeJob(self._pipeline.submit(frames, callback))

    def set_scheduler_timeout(self, timeout: timedelta) -> None:
        self._check_scheduled()
        self._pipeline.set_timeout(timeout.total_seconds())

    def set_scheduler_threshold(self, threshold: int) -> None:
        self._check_scheduled()
        self._pipeline.set_threshold(threshold)

    def set_scheduler_priority(self, priority: int) -> None:
        self._check_scheduled()
        self._pipeline.set_priority(priority)

    def shutdown(self) -> None:
        """Abort everything, holding the GIL."""
        self._pipeline.abort(holding_gil=True)

    def _check_scheduled(self) -> None:
        if not self._scheduled:
            raise HailoRTStatusException(INVALID_OPERATION)


class NativeJob:
    """`_pyhailort.AsyncInferJob`: a job in flight."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def wait(self, timeout: timedelta) -> None:
        """Return once the callback has, however the inference ended; TIMEOUT until then.

        First for the inference and then for the callback, each for the whole time.
        """
        seconds = timeout.total_seconds()
        if self._job.wait(seconds):
            return
        landed = self._job.landed
        if landed is None or not self._job.wait(landed + seconds - time.monotonic()):
            raise HailoRTStatusException(TIMEOUT)


def delivery(inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo], settings: NmsSettings | None) -> Deliver:
    """How results come to the user's memory: copied, and zeroed on failure; masks in place, each finding its address.

    What does not fit in the memory for masks is left out, and the frame reported with INSUFFICIENT_BUFFER, which harms
    nothing else.
    """
    if settings is None or [output.order for output in outputs] != [TensorOrder.NMS_WITH_BYTE_MASK]:
        return copied
    height, width = inputs[0].shape[:2]
    layout = masked_layout(outputs[0], settings, (height, width))

    def deliver(buffers: Sequence[U8], results: Sequence[U8] | None) -> int:
        if results is None:
            return 0
        (buffer,), (used,) = buffers, results
        written = buffer[: used.size]
        written[:] = used
        return 0 if layout.locate(written) else INSUFFICIENT_BUFFER

    return deliver
