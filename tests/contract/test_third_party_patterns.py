"""How programs in the field use `hailo_platform`: their idioms, in code of our own, private attributes included.

Found in Hailo's application examples (2024 to 2026), picamera2, Frigate, InferPipeline and HailoRT's tutorials, which
`python -m tests.benchmarks.third_party` runs themselves.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import queue
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hailod import simulator

STREET = """
[simulator]
input = [32, 48]
outputs = "nms_by_class"
classes = 3
frame_ms = {frame_ms}
[[simulator.detections]]
class_id = 1
score = 0.75
box = [0.125, 0.25, 0.5, 0.75]
"""


@pytest.fixture
def hef(tmp_path: Path) -> Iterator[str]:
    """A HEF that is no more than a name, with a model behind it."""
    model = tmp_path / "street.sim.toml"
    model.write_text(STREET.format(frame_ms=0.0))
    slow = tmp_path / "slow.sim.toml"
    slow.write_text(STREET.format(frame_ms=50.0))
    stand_ins = simulator.StandIns(
        (simulator.StandIn(hef="slow.hef", file=slow), simulator.StandIn(hef="*.hef", file=model))
    )
    options = simulator.SimulatorOptions(serial=f"patterns-{os.getpid()}", configure_s=0.0)
    simulator.install(options, stand_ins=stand_ins)
    yield "models/yolov8s.hef"
    simulator.uninstall()


def scheduled_device(hailo: Any, group: str = "UNIQUE") -> Any:
    params = hailo.VDevice.create_params()
    params.scheduling_algorithm = hailo.HailoSchedulingAlgorithm.ROUND_ROBIN
    params.group_id = group
    return hailo.VDevice(params)


class Engine:
    """The shape that all of these classes have: configured once, bindings made anew for every frame."""

    def __init__(self, hef: str, batch: int = 1) -> None:
        import hailo_platform as hailo

        self.hef = hailo.HEF(hef)
        self.device = scheduled_device(hailo, "SHARED")
        self.model = self.device.create_infer_model(hef)
        self.model.set_batch_size(batch)
        # The format of a HEF's stream goes straight back into the model.
        self.model.input().set_format_type(self.hef.get_input_vstream_infos()[0].format.type)
        # The type of a buffer is found by the name that the enum prints.
        self.types = {info.name: str(info.format.type).split(".")[-1] for info in self.hef.get_output_vstream_infos()}
        for name, kind in self.types.items():
            self.model.output(name).set_format_type(getattr(hailo.FormatType, kind))
        self.context = self.model.configure()
        self.configured = self.context.__enter__()
        self.configured.set_scheduler_priority(0)
        self.answers: queue.Queue[Any] = queue.Queue()
        self.job: Any = None

    def bindings(self, picture: Any) -> Any:
        buffers = {
            name: np.empty(self.model.output(name).shape, getattr(np, kind.lower()))
            for name, kind in self.types.items()
        }
        bindings = self.configured.create_bindings(output_buffers=buffers)
        bindings.input().set_buffer(np.array(picture))
        return bindings

    def run(self, pictures: list[Any]) -> None:
        batch = [self.bindings(picture) for picture in pictures]
        self.configured.wait_for_async_ready(timeout_ms=10_000)
        self.job = self.configured.run_async(batch, partial(self.completed, batch=batch, tag="frame"))

    def completed(self, completion_info: Any, batch: list[Any], tag: str) -> None:
        if completion_info.exception:
            self.answers.put(completion_info.exception)
            return
        for bindings in batch:
            # Whether a model has one output or several is read from a private attribute.
            if len(bindings._output_names) == 1:
                self.answers.put((tag, bindings.output().get_buffer()))
            else:
                self.answers.put((tag, {name: bindings.output(name).get_buffer() for name in bindings._output_names}))

    def close(self) -> None:
        if self.job is not None:
            self.job.wait(10_000)
        self.context.__exit__(None, None, None)


PICTURE = np.zeros((32, 48, 3), np.uint8)


def test_engine_answers_with_arrays_per_class(hef: str) -> None:
    """The common class of these programs sees the boxes that the model sees, in y, x, y, x and score."""
    engine = Engine(hef)
    assert engine.hef.get_input_vstream_infos()[0].shape == (32, 48, 3)
    engine.run([PICTURE])
    tag, found = engine.answers.get(timeout=10)
    engine.close()
    assert tag == "frame"
    assert [len(boxes) for boxes in found] == [0, 1, 0]
    assert found[1].tolist() == [[0.25, 0.125, 0.75, 0.5, 0.75]]
    with pytest.raises(AttributeError):
        engine.configured.get_async_queue_size()
    engine.device.release()


def test_engines_share_a_device_by_group(hef: str) -> None:
    """Two engines of a process open the device each for itself under one group, and both run."""
    engines = [Engine(hef), Engine("other.hef")]
    for engine in engines:
        engine.run([PICTURE])
    assert [engine.model.input().name for engine in engines] == ["yolov8s/input_layer1", "other/input_layer1"]
    for engine in engines:
        assert len(engine.answers.get(timeout=10)[1][1]) == 1
        engine.close()
        engine.device.release()


def test_batch_is_one_job(hef: str) -> None:
    """A batch of four comes back by one callback with four answers."""
    engine = Engine(hef, batch=4)
    engine.run([PICTURE] * 4)
    found = [engine.answers.get(timeout=10) for _ in range(4)]
    assert [len(boxes[1]) for _, boxes in found] == [1, 1, 1, 1]
    engine.close()
    engine.device.release()


def test_waiting_for_one_place_and_taking_four_overfills_the_queue(hef: str) -> None:
    """A program that feeds batches faster than the device answers, having asked for room for one frame, is told
    QUEUE_IS_FULL in the end; and from then on its model is dead."""
    from hailo_platform import HailoRTException

    engine = Engine("slow.hef", batch=4)

    def flood() -> None:
        for _ in range(100):
            engine.run([PICTURE] * 4)

    with pytest.raises(HailoRTException, match=r"82 \(HAILO_QUEUE_IS_FULL\)"):
        flood()
    with pytest.raises(HailoRTException):
        engine.run([PICTURE])
    engine.context.__exit__(None, None, None)
    engine.device.release()


def test_model_is_closed_by_forgetting_it(hef: str) -> None:
    """`del` of the last reference closes a ConfiguredInferModel; a method `release` it does not have."""
    engine = Engine(hef)
    assert not hasattr(engine.configured, "release")
    engine.run([PICTURE])
    engine.answers.get(timeout=10)
    del engine.configured, engine.context
    engine.device.release()
    scheduled_device(importlib.import_module("hailo_platform")).release()


def test_errors_are_told_by_name_and_text(hef: str) -> None:
    """Programs that cannot import the classes tell errors by class name, module and text."""
    import hailo_platform as hailo

    engine = Engine("slow.hef")
    engine.run([PICTURE] * 1)
    job = engine.configured.run_async([engine.bindings(PICTURE)])
    with pytest.raises(hailo.HailoRTException) as raised:
        job.wait(1)
    assert type(raised.value).__name__ == "HailoRTTimeout"
    assert "hailo" in type(raised.value).__module__
    assert "timeout" in str(raised.value).lower()
    engine.close()
    engine.device.release()


@pytest.mark.parametrize("inner", [True, False], ids=["activated for each frame", "activated around"])
def test_synchronous_inference_as_in_the_tutorials(hef: str, inner: bool) -> None:
    """VDevice of scanned ids, parameters from the HEF, float input of an unquantised stream, a dict by stream name."""
    import hailo_platform as hailo

    model = hailo.HEF(hef)
    source, sink = model.get_input_vstream_infos()[0], model.get_output_vstream_infos()[0]
    with hailo.VDevice(device_ids=hailo.Device.scan()) as device:
        params = hailo.ConfigureParams.create_from_hef(model, interface=hailo.HailoStreamInterface.PCIe)
        network = device.configure(model, params)[0]
        asked = {"quantized": False, "format_type": hailo.FormatType.FLOAT32}
        inputs = hailo.InputVStreamParams.make_from_network_group(network, **asked)
        outputs = hailo.OutputVStreamParams.make_from_network_group(network, **asked)
        batch = {source.name: PICTURE[None].astype(np.float32).repeat(3, axis=0)}
        if inner:
            with hailo.InferVStreams(network, inputs, outputs) as pipeline:
                for _ in range(2):
                    with network.activate(network.create_params()):
                        results = pipeline.infer(batch)
        else:
            with network.activate(), hailo.InferVStreams(network, inputs, outputs) as pipeline:
                results = pipeline.infer(batch)
    assert list(results) == [sink.name]
    assert [[len(boxes) for boxes in frame] for frame in results[sink.name]] == [[0, 1, 0]] * 3


def test_synchronous_inference_with_the_scheduler(hef: str) -> None:
    """With the scheduler nothing is activated, and an ndarray does for a model of one input."""
    import hailo_platform as hailo

    device = scheduled_device(hailo)
    model = hailo.HEF(hef)
    params = hailo.ConfigureParams.create_from_hef(hef=model, interface=hailo.HailoStreamInterface.PCIe)
    params[model.get_network_group_names()[0]].batch_size = 2
    network = device.configure(model, params)[0]
    inputs = hailo.InputVStreamParams.make(network, format_type=hailo.FormatType.UINT8)
    outputs = hailo.OutputVStreamParams.make(network, format_type=hailo.FormatType.FLOAT32)
    with hailo.InferVStreams(network, inputs, outputs) as pipeline:
        (found,) = pipeline.infer(PICTURE[None]).values()
    assert [len(boxes) for boxes in found[0]] == [0, 1, 0]
    del network
    device.release()


NAMES = """
HEF VDevice Device ConfigureParams FormatType FormatOrder HailoSchedulingAlgorithm HailoStreamInterface InferVStreams
InputVStreamParams OutputVStreamParams InputVStreams OutputVStreams HailoRTException DvmTypes PowerMeasurementTypes
SamplingPeriod AveragingFactor MeasurementBufferIndex __version__
"""


def test_programs_find_what_they_import(hef: str) -> None:
    """All that these programs import by name is there, and the package can be probed before and after its import."""
    import hailo_platform

    assert [name for name in NAMES.split() if not hasattr(hailo_platform, name)] == []
    for module in ("hailo_platform", "hailo_platform.pyhailort.pyhailort"):
        assert importlib.util.find_spec(module) is not None
    from hailo_platform.pyhailort.pyhailort import FormatOrder

    assert FormatOrder is hailo_platform.FormatOrder
