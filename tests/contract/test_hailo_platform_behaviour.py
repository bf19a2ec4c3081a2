"""How inference through the real `hailo_platform` goes where its signatures do not tell: the ordinary way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.simulated import INPUT, OUTPUT_ELEMENTS, Open, status_of
from tests.support.waiting import wait_for


def test_results_by_class_are_views_with_float64_empties(opened: Open) -> None:
    """Per class get_buffer gives a view of the bound buffer, best score first, and float64 (0, 5) for none."""
    bench = opened()
    bindings = bench.bindings()
    bench.run(bindings).wait(1000)
    found = bindings.output().get_buffer()
    assert [(rows.shape, rows.dtype.name) for rows in found] == [
        ((0, 5), "float64"),
        ((2, 5), "float32"),
        ((0, 5), "float64"),
    ]
    assert np.shares_memory(found[1], bindings.output().get_buffer(None))
    assert found[1][0] == pytest.approx([0.6, 0.5, 0.8, 0.7, 0.9])
    assert found[1][1] == pytest.approx([0.2, 0.1, 0.4, 0.3, 0.5])
    padded = bindings.output().get_buffer(tf_format=True)
    assert padded.shape == (3, 5, 4)
    assert padded[1, 4].tolist() == pytest.approx([0.9, 0.5, 0.0, 0.0])


def test_the_unused_tail_of_a_by_class_buffer_is_stale(opened: Open) -> None:
    """Only the used part is written: what follows keeps what the buffer held before."""
    bench = opened()
    bindings = bench.bindings()
    bench.run(bindings).wait(1000)
    raw = bindings.output().get_buffer(None)
    used = 3 + 2 * 5
    assert set(raw[used:]) == {7.0}


def test_results_by_score(opened: Open) -> None:
    """By score the buffer is bytes: a count and packed records, which get_buffer turns into Detection objects."""
    bench = opened(outputs="nms_by_score")
    size = 2 + 3 * 4 * 22
    assert bench.infer_model.output().shape == [size]
    bindings = bench.configured.create_bindings()
    bindings.input().set_buffer(np.zeros((8, 12, 3), np.uint8))
    with pytest.raises(bench.hailo.HailoRTException):
        bindings.output().set_buffer(np.zeros(size, np.int8))
    bindings.output().set_buffer(np.zeros(size, np.uint8))
    bench.configured.run([bindings], 1000)
    found = bindings.output().get_buffer()
    assert [(d.class_id, d.score, d.y_min, d.x_max) for d in found] == [
        (1, pytest.approx(0.9), pytest.approx(0.6), pytest.approx(0.7)),
        (1, pytest.approx(0.5), pytest.approx(0.2), pytest.approx(0.3)),
    ]
    with pytest.raises(bench.hailo.HailoRTException):
        bindings.output().get_buffer(tf_format=True)


def test_score_threshold_applies_at_configure(opened: Open) -> None:
    """A threshold set after configure() waits for the next configure(), equality with it passes."""
    bench = opened()
    bench.infer_model.output().set_nms_score_threshold(0.9)
    before = bench.bindings()
    bench.run(before).wait(1000)
    bench.configured = bench.infer_model.configure()
    after = bench.bindings()
    bench.run(after).wait(1000)
    assert [len(b.output().get_buffer()[1]) for b in (before, after)] == [2, 1]


def test_callbacks_come_in_order_on_one_foreign_thread(opened: Open) -> None:
    """One thread that Python did not start runs every callback, one at a time, in the order of submission."""
    bench = opened(frame_ms=0.1)
    seen: list[tuple[int, str, int]] = []

    def callback(number: int) -> Callable[..., None]:
        return lambda completion_info: seen.append(
            (number, type(threading.current_thread()).__name__, threading.get_ident())
        )

    for number in range(20):
        bench.configured.wait_for_async_ready(timeout_ms=1000)
        job = bench.configured.run_async([bench.bindings()], callback(number))
    job.wait(1000)
    assert [number for number, _, _ in seen] == list(range(20))
    assert {kind for _, kind, _ in seen} == {"_DummyThread"}
    assert len({ident for _, _, ident in seen}) == 1


def test_a_list_is_one_job(opened: Open) -> None:
    """Several frames in one call get one callback, when all of them are done."""
    bench = opened(batch=4)
    frames = [bench.bindings() for _ in range(4)]
    bench.configured.run_async(frames, bench.completed).wait(1000)
    assert bench.ended == [None]
    assert [len(frame.output().get_buffer()[1]) for frame in frames] == [2, 2, 2, 2]


def test_results_are_never_early(opened: Open) -> None:
    """A job completes no sooner than its service time after its submission, and wait() times out until then."""
    bench = opened(frame_ms=60.0)
    job = bench.run()
    with pytest.raises(bench.python.HailoRTTimeout) as caught:
        job.wait(1)
    assert status_of(caught.value) == 4
    assert bench.ended == []
    job.wait(5000)
    assert bench.ended == [None]


def test_queue_size_follows_the_formula(opened: Open) -> None:
    """At least two batches, at most 8 frames with service support and 32 without."""
    assert opened().configured.get_async_queue_size() == 8


@pytest.mark.parametrize(("batch", "build", "expected"), [(1, False, 32), (4, True, 8), (8, True, 16), (20, False, 40)])
def test_queue_size_grows_with_the_batch(opened: Open, batch: int, build: bool, expected: int) -> None:
    """The queue holds two batches even where that is more than its usual length."""
    bench = opened(batch=batch, multi_process_build=build)
    assert bench.configured.get_async_queue_size() == expected


def test_formats_and_infos(opened: Open) -> None:
    """Tensors tell name, shape, format and limits as HailoRT does, before and after configure()."""
    bench = opened()
    stream = bench.infer_model.input()
    assert (stream.name, stream.shape) == ("tiny/input_layer1", [8, 12, 3])
    assert stream.format.type == bench.hailo.FormatType.UINT8
    output = bench.infer_model.output()
    assert (output.is_nms, output.shape) == (True, [OUTPUT_ELEMENTS])
    assert output.format.order == bench.hailo.FormatOrder.HAILO_NMS_BY_CLASS
    info = bench.infer_model.hef.get_output_vstream_infos()[0]
    assert (info.nms_shape.number_of_classes, info.nms_shape.max_bboxes_per_class) == (3, 4)
    assert info.shape == (3, 5, 4)
    native = bench.hailo.pyhailort._pyhailort
    with pytest.raises(native.HailoRTCustomException):
        _ = bench.infer_model.hef.get_input_vstream_infos()[0].nms_shape
    with pytest.raises(native.HailoRTStatusException, match="61"):
        bench.infer_model.hef.get_input_vstream_infos("nope")
    assert [(group.name, group.is_multi_context) for group in bench.infer_model.hef.get_network_groups_infos()] == [
        ("tiny", False)
    ]
    with pytest.raises(bench.python.HailoRTNotFoundException):
        bench.infer_model.output("nope")


def test_another_dtype_of_the_right_size_is_accepted(opened: Open) -> None:
    """Only bytes are counted: a float32 array of a quarter of the elements passes for a picture."""
    bench = opened()
    bindings = bench.bindings()
    bindings.input().set_buffer(np.zeros(8 * 12 * 3 // 4, np.float32))
    bench.run(bindings).wait(1000)
    assert bench.ended == [None]


def test_what_set_buffer_does_check(opened: Open) -> None:
    """Memory must be contiguous and writable, inputs included, and be an array."""
    bindings = opened().bindings()
    with pytest.raises(Exception, match="Buffer must be C_CONTIGUOUS"):
        bindings.input().set_buffer(np.zeros((8, 12, 6), np.uint8)[..., ::2])
    with pytest.raises(ValueError, match="array is not writeable"):
        bindings.input().set_buffer(np.frombuffer(bytes(288), np.uint8))
    with pytest.raises(AttributeError):
        bindings.input().set_buffer([0] * 288)


def test_results_need_a_flat_buffer(opened: Open) -> None:
    """An output array of shape (1, n) is filled, but its results cannot be read."""
    bench = opened()
    bindings = bench.bindings()
    bindings.output().set_buffer(np.zeros((1, OUTPUT_ELEMENTS), np.float32))
    bench.run(bindings).wait(1000)
    with pytest.raises(TypeError):
        bindings.output().get_buffer()


def test_readiness_times_out_for_what_can_never_fit(opened: Open) -> None:
    """Asking room for more frames than all queues hold times out; as many as the queue size fit when idle."""
    bench = opened()
    size = bench.configured.get_async_queue_size()
    bench.configured.wait_for_async_ready(timeout_ms=1, frames_count=size)
    with pytest.raises(bench.python.HailoRTTimeout):
        bench.configured.wait_for_async_ready(timeout_ms=1, frames_count=2 * size)


def test_readiness_waits_for_room(opened: Open) -> None:
    """With full queues wait_for_async_ready returns as soon as a frame is done."""
    bench = opened(frame_ms=20.0)
    for _ in range(2 * bench.configured.get_async_queue_size() - 1):
        bench.run()
    bench.configured.wait_for_async_ready(timeout_ms=5000)
    assert bench.all_ended(1)[0] is None


def test_a_large_input_makes_the_queue_shorter(opened: Open, tmp_path: Path) -> None:
    """Without service support the queue of a 640 x 640 picture is what 32 MiB hold, also when floats are bound."""
    path = tmp_path / "large.sim.toml"
    path.write_text("[simulator]\ninput = [640, 640]\n")
    bench = opened(model=path, multi_process_build=False)
    assert bench.configured.get_async_queue_size() == (32 << 20) // (640 * 640 * 3) == 27
    bench.infer_model.input().set_format_type(bench.hailo.FormatType.FLOAT32)
    bench.configure()
    assert bench.configured.get_async_queue_size() == 27


def test_the_largest_batch(opened: Open) -> None:
    """A batch of 63 is the largest that can be configured, and anything beyond 16 bits is a TypeError."""
    bench = opened(batch=63)
    assert bench.configured.get_async_queue_size() == 126
    bench.infer_model.set_batch_size(64)
    with pytest.raises(bench.python.HailoRTInvalidArgumentException):
        bench.infer_model.configure()
    with pytest.raises(TypeError):
        bench.infer_model.set_batch_size(1 << 16)


def test_streams_share_one_state(opened: Open) -> None:
    """Each look gives a new wrapper of the same stream; what is set through one is seen through all."""
    bench = opened()
    model = bench.infer_model
    assert (model.input_names, model.output_names) == (["tiny/input_layer1"], ["tiny/nms_postprocess"])
    assert model.input() is not model.input()
    model.inputs[0].set_format_type(bench.hailo.FormatType.FLOAT32)
    assert model.input("tiny/input_layer1").format.type == bench.hailo.FormatType.FLOAT32


def test_float_input_is_quantised_on_the_host(opened: Open) -> None:
    """With a FLOAT32 input format four times the bytes are bound."""
    bench = opened(setup=lambda model, hailo: model.input().set_format_type(hailo.FormatType.FLOAT32))
    bindings = bench.bindings()
    bindings.input().set_buffer(np.zeros(INPUT, np.float32))
    bench.run(bindings).wait(1000)
    assert bench.ended == [None]


def test_nms_settings_are_judged_at_configure(opened: Open) -> None:
    """The setters take anything: on an input configure() refuses with 6, per class with an order by score with 2."""
    bench = opened()
    bench.infer_model.input().set_nms_score_threshold(0.5)
    with pytest.raises(bench.python.HailoRTInvalidOperationException):
        bench.infer_model.configure()

    def by_score(model: Any, hailo: Any) -> None:
        model.output().set_format_order(hailo.FormatOrder.HAILO_NMS_BY_SCORE)

    bench.close()
    bench = opened(setup=by_score)
    bench.infer_model.output().set_nms_max_proposals_per_class(2)
    with pytest.raises(bench.python.HailoRTInvalidArgumentException):
        bench.infer_model.configure()


@pytest.mark.parametrize("kind", ["UINT8", "UINT16"])
def test_nms_is_float32_only(opened: Open, kind: str) -> None:
    """Another type for the output of an NMS is refused at configure()."""
    bench = opened()
    bench.infer_model.output().set_format_type(bench.hailo.FormatType.__members__[kind])
    with pytest.raises(bench.python.HailoRTInvalidArgumentException):
        bench.infer_model.configure()


def test_the_order_of_detections_can_be_chosen(opened: Open) -> None:
    """An NMS by class gives its detections by score when that is asked for: bytes, and limits in bytes."""

    def by_score(model: Any, hailo: Any) -> None:
        model.output().set_format_order(hailo.FormatOrder.HAILO_NMS_BY_SCORE)

    bench = opened(setup=by_score)
    stream = bench.infer_model.output()
    assert (stream.shape, stream.is_nms, stream.format.type.name) == ([2 + 3 * 4 * 22], True, "FLOAT32")
    assert [found.class_id for found in bench.results()] == [1, 1]


def test_buffers_of_bytes_must_be_uint8_until_5(opened: Open) -> None:
    """For detections by score HailoRT 4 insists on uint8 at set_buffer; 5.2 counts the bytes at run_async."""
    size = 2 + 3 * 4 * 22
    for profile in ("4.23", "5.2"):
        bench = opened(outputs="nms_by_score", profile=profile)
        bindings = bench.bindings()
        memory = np.zeros(size, np.int8)
        if profile == "4.23":
            with pytest.raises(bench.hailo.HailoRTException, match=r"must be of type uint8 .* Got int8\."):
                bindings.output().set_buffer(memory)
        else:
            bindings.output().set_buffer(memory)
            bench.run(bindings).wait(1000)
            assert memory[0] == 2
        bench.close()


def test_bindings_take_dicts_and_keep_their_streams(opened: Open) -> None:
    """create_bindings binds by name, an unknown name is not found; a name's stream is one object."""
    bench = opened()
    picture, raw = np.zeros(INPUT, np.uint8), np.zeros(OUTPUT_ELEMENTS, np.float32)
    bindings = bench.configured.create_bindings({"tiny/input_layer1": picture}, {"tiny/nms_postprocess": raw})
    assert bindings.input() is bindings.input("tiny/input_layer1")
    assert bindings.output().get_buffer(None) is raw
    for call in (bindings.input, bindings.output, bench.infer_model.input, bench.infer_model.output):
        with pytest.raises(bench.python.HailoRTNotFoundException):
            call("nope")
    with pytest.raises(bench.python.HailoRTNotFoundException):
        bench.configured.create_bindings({"nope": picture})


def test_results_before_a_buffer(opened: Open) -> None:
    """Without memory there is nothing to index."""
    bench = opened()
    with pytest.raises(TypeError, match="'NoneType' object is not subscriptable"):
        bench.configured.create_bindings().output().get_buffer()


def test_jobs_are_lists_of_bindings(opened: Open) -> None:
    """Even one frame comes in a list, and a callback is not needed."""
    bench = opened()
    with pytest.raises(TypeError):
        bench.configured.run_async(bench.bindings())
    bench.configured.run_async([bench.bindings()]).wait(1000)


def test_a_job_may_be_dropped_and_bindings_used_again(opened: Open) -> None:
    """Nobody has to wait for a job; its bindings serve the next frame once its callback is over."""
    bench = opened()
    bindings = bench.bindings()
    for count in range(1, 4):
        bench.run(bindings)
        bench.all_ended(count)
    assert bench.ended == [None] * 3


def test_a_callback_that_blocks_delays_the_next(opened: Open) -> None:
    """One thread calls all of them, one after the other; wait() outlasts the callback, each part for its whole time."""
    bench = opened()
    go = threading.Event()
    first = bench.configured.run_async([bench.bindings()], lambda completion_info: go.wait(10))
    second = bench.run()
    with pytest.raises(bench.python.HailoRTTimeout):
        first.wait(50)
    assert bench.ended == []
    go.set()
    first.wait(1000)
    second.wait(1000)
    assert bench.ended == [None]


def test_wait_has_its_whole_time_twice(opened: Open) -> None:
    """Once for the inference and once more for the callback, so that 1.75 s can fit into 1.5 s."""
    bench = opened(frame_ms=1000.0)
    never = threading.Event()
    job = bench.configured.run_async([bench.bindings()], lambda completion_info: never.wait(0.75))
    job.wait(1500)


def test_run_does_not_wait_for_room(opened: Open) -> None:
    """run() submits at once, and a full queue is as deadly there."""
    bench = opened(frame_ms=1000.0)
    for _ in range(2 * bench.configured.get_async_queue_size() - 1):
        bench.run()
    with pytest.raises(bench.hailo.HailoRTException) as caught:
        bench.configured.run([bench.bindings()], 1000)
    assert str(caught.value) == "libhailort failed with error: 82 (HAILO_QUEUE_IS_FULL)"
    assert status_of(caught.value) == 82


def test_outputs_are_there_when_the_callback_comes(opened: Open) -> None:
    """Results are copied to the user's memory before the callback, and the memory is held until after it."""
    bench = opened()
    bindings = bench.bindings()
    seen: list[tuple[int, int]] = []

    def callback(completion_info: Any) -> None:
        seen.append((len(bindings.output().get_buffer()[1]), len(bench.configured._buffer_guards)))

    bench.configured.run_async([bindings], callback).wait(1000)
    assert seen == [(2, 1)]
    wait_for(lambda: not bench.configured._buffer_guards, what="the buffers let go")


@pytest.mark.parametrize("order", ["NCHW", "F8CR"])
def test_formats_that_cannot_be(opened: Open, order: str) -> None:
    """An order that a tensor cannot be brought into is refused at configure()."""
    bench = opened()
    bench.infer_model.output().set_format_order(bench.hailo.FormatOrder.__members__[order])
    with pytest.raises(bench.python.HailoRTInvalidArgumentException):
        bench.infer_model.configure()
