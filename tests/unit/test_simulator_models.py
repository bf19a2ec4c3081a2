"""How model files become what a HEF of them would be."""

from __future__ import annotations

import importlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hailod import simulator
from hailod.errors import ModelError
from hailod.models.manifest import Manifest
from hailod.simulator.networks.graph import quiet_schemas
from hailod.simulator.networks.loader import load
from hailod.types import TensorOrder

onnx = pytest.importorskip("onnx", reason="models are made with onnx")
from onnx import TensorProto, helper  # noqa: E402 - after the check

Resolve = Callable[[Path], Manifest]
CELLS = 4 * 4 + 2 * 2


def manifest(**table: object) -> Resolve:
    return lambda _: Manifest.model_validate({"simulator": table})


def save(
    path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: dict[str, NDArray[Any]]
) -> Path:
    initialisers = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initialisers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def yolox(path: Path, rows: NDArray[np.float32]) -> Path:
    """A detector of a 32 x 32 picture that always answers `rows`: the picture is added with weight zero."""
    return save(
        path,
        [
            helper.make_node("Mul", ["images", "zero"], ["none"]),
            helper.make_node("ReduceSum", ["none"], ["sum"], keepdims=0),
            helper.make_node("Add", ["rows", "sum"], ["output"]),
        ],
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, *rows.shape])],
        {"rows": rows[None], "zero": np.zeros(1, np.float32)},
    )


def identity(path: Path) -> Path:
    """A graph whose only output is its float picture, channels first."""
    return save(
        path,
        [helper.make_node("Identity", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 4, 6])],
        {},
    )


@pytest.fixture
def rows() -> NDArray[np.float32]:
    """One object of class 1 at cell (row 2, column 1) of the stride-8 grid: centre (1.5, 2.25) cells, 2 x 1 cells."""
    cells = np.zeros((CELLS, 7), np.float32)
    cells[2 * 4 + 1] = [0.5, 0.25, np.log(2), 0.0, 0.8, 0.1, 0.9]
    return cells


@pytest.fixture
def run() -> Iterator[Callable[..., list[Any]]]:
    """Runs one picture through a model file and gives its outputs as get_buffer does."""

    def run_model(path: Path, picture: NDArray[Any], resolve: Resolve, setup: Callable[[Any, ModuleType], None]) -> Any:
        options = simulator.SimulatorOptions(serial=f"models-{os.getpid()}", configure_s=0.0)
        simulator.install(options, resolve)
        hailo = importlib.import_module("hailo_platform")
        params = hailo.VDevice.create_params()
        params.scheduling_algorithm = hailo.HailoSchedulingAlgorithm.ROUND_ROBIN
        with hailo.VDevice(params) as vdevice:
            model = vdevice.create_infer_model(str(path))
            setup(model, hailo)
            with model.configure() as configured:
                bindings = configured.create_bindings()
                bindings.input().set_buffer(picture)
                for output in model.outputs:
                    dtype = output.format.type.name.lower()
                    bindings.output(output.name).set_buffer(np.zeros(output.shape, dtype))
                ended: list[Any] = []
                configured.run_async([bindings], lambda completion_info: ended.append(completion_info.exception)).wait(
                    5000
                )
                assert ended == [None]
                return [bindings.output(name).get_buffer() for name in model.output_names]

    yield run_model
    simulator.uninstall()


def nothing(model: Any, hailo: ModuleType) -> None:
    """Leave the model as it is."""


def test_yolox_graph_gives_nms_by_class(tmp_path: Path, rows: NDArray[np.float32], run: Any) -> None:
    """The graph's raw rows come out as boxes y_min, x_min, y_max, x_max of the input, quantisation aside."""
    path = yolox(tmp_path / "tiny.onnx", rows)
    resolve = manifest(meta_arch="yolox", classes=2, strides=[8, 16], score_threshold=0.3)
    (found,) = run(path, np.zeros((32, 32, 3), np.uint8), resolve, nothing)
    assert [len(boxes) for boxes in found] == [0, 1]
    expected = [(2.25 - 0.5) / 4, (1.5 - 1.0) / 4, (2.25 + 0.5) / 4, (1.5 + 1.0) / 4, 0.72]
    assert found[1][0] == pytest.approx(expected, abs=0.02)


def test_yolox_graph_gives_raw_heads(tmp_path: Path, rows: NDArray[np.float32], run: Any) -> None:
    """As raw heads a graph gives reg, obj and cls per stride, NHWC and quantised; its real values come back."""
    path = yolox(tmp_path / "tiny.onnx", rows)
    resolve = manifest(meta_arch="yolox", outputs="raw", classes=2, strides=[8, 16], quantisation="uint16")
    info = load(path, "hailo8", resolve).info
    assert [(tensor.shape, tensor.dtype, tensor.order) for tensor in info.outputs] == [
        (shape, "uint16", TensorOrder.NHWC)
        for shape in ((4, 4, 4), (4, 4, 1), (4, 4, 2), (2, 2, 4), (2, 2, 1), (2, 2, 2))
    ]
    heads = run(path, np.zeros((32, 32, 3), np.uint8), resolve, nothing)
    reals = [
        (head.astype(np.float64) - tensor.zero_point[0]) * tensor.scale[0]
        for head, tensor in zip(heads, info.outputs, strict=True)
    ]
    assert reals[0][2, 1] == pytest.approx(rows[9, :4], abs=0.001)
    assert (reals[1][2, 1, 0], *reals[2][2, 1]) == pytest.approx(rows[9, 4:], abs=0.001)


def test_float_output_is_dequantised(tmp_path: Path, run: Any) -> None:
    """Asked for FLOAT32 the device gives real values, still on the grid of its quantisation."""
    picture = np.arange(72, dtype=np.uint8).reshape(4, 6, 3) * 3
    setup: Callable[[Any, ModuleType], None] = lambda model, hailo: model.output().set_format_type(  # noqa: E731
        hailo.FormatType.FLOAT32
    )
    (output,) = run(identity(tmp_path / "same.onnx"), picture, manifest(outputs="raw"), setup)
    assert output.dtype == np.float32
    assert output == pytest.approx(picture.astype(np.float32), abs=1.0)
    assert len(np.unique(output)) > 50


@pytest.mark.parametrize(("channels", "order"), [("rgb", (0, 1, 2)), ("bgr", (2, 1, 0))])
def test_picture_is_rgb_whatever_the_graph_wants(
    tmp_path: Path, run: Any, channels: str, order: tuple[int, ...]
) -> None:
    """The host gives RGB bytes; channel order, mean and scale of the graph are the simulator's business."""
    picture = np.random.default_rng(1).integers(0, 256, (4, 6, 3), np.uint8)
    resolve = manifest(outputs="raw", channels=channels, mean=[100.0, 100.0, 100.0], std=[50.0, 50.0, 50.0])
    info = load(identity(tmp_path / "same.onnx"), "hailo8", resolve).info
    (output,) = run(tmp_path / "same.onnx", picture, resolve, nothing)
    real = (output.astype(np.float32) - info.outputs[0].zero_point[0]) * info.outputs[0].scale[0]
    assert output.dtype == np.uint8
    assert real == pytest.approx((picture[..., order].astype(np.float32) - 100) / 50, abs=0.03)


def test_calibration_is_deterministic(tmp_path: Path) -> None:
    """Loading a graph twice gives the same quantisation."""
    path = identity(tmp_path / "same.onnx")
    assert load(path, "hailo8", manifest()).info == load(path, "hailo8", manifest()).info


def test_service_time_comes_from_the_manifest_else_from_the_name(tmp_path: Path) -> None:
    """Own figures win, then a preset, then the published speed of a model of that name; else it is zero."""
    known, unknown = identity(tmp_path / "yolov8m.onnx"), identity(tmp_path / "mine.onnx")
    own = load(known, "hailo8", manifest(switch_ms=2.0, frame_ms=3.0)).info
    assert (own.timing.switch, own.timing.frame) == (0.002, 0.003)
    named = load(known, "hailo8l", manifest()).info
    assert named.timing.switch + named.timing.frame == pytest.approx(1 / 50)
    assert (named.multi_context, named.arch) == (True, "hailo8l")
    preset = load(unknown, "hailo8", manifest(preset="yolov8s@hailo8")).info
    assert preset.timing.frame == pytest.approx(1 / 491)
    assert load(unknown, "hailo8", manifest()).info.timing.frame == 0.0


def test_a_model_for_a_larger_chip_is_refused_at_configure(tmp_path: Path, run: Any) -> None:
    """What was compiled for the Hailo-8 does not run on the 8L (93); an 8L model runs on the 8."""
    path = tmp_path / "m.sim.toml"
    path.write_text('[simulator]\npreset = "yolov8s@hailo8"\nframe_ms = 0.0\n')
    simulator.install(simulator.SimulatorOptions(arch="hailo8l", serial=f"models-{os.getpid()}", configure_s=0.0))
    hailo = importlib.import_module("hailo_platform")
    with hailo.VDevice() as vdevice:
        model = vdevice.create_infer_model(str(path))
        with pytest.raises(hailo.pyhailort.pyhailort.HailoRTHEFNotCompatibleWithDevice):
            model.configure()


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [
        ("absent.onnx", None, 13),
        ("empty.onnx", b"", 14),
        ("noise.onnx", b"no graph at all", 92),
        ("short.hef", b"something", 14),
        ("model.bin", b"something" * 10, 92),
        ("model.sim.toml", b"[simulator\n", 92),
        ("model.sim.toml", b"[simulator]\nclasses = 2\n", 92),
        ("model.sim.toml", b"[simulator]\ninput=[8,8]\nclasses=1\ndetections=[{class_id=1,score=1,box=[0,0,1,1]}]", 92),
    ],
)
def test_bad_files_are_refused_with_a_status(
    tmp_path: Path, run: Any, name: str, content: bytes | None, status: int
) -> None:
    """Missing, empty and unusable files fail where a HEF would, with HailoRT's status."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    simulator.install(simulator.SimulatorOptions(serial=f"models-{os.getpid()}"))
    hailo = importlib.import_module("hailo_platform")
    with pytest.raises(hailo.HailoRTException) as caught:
        hailo.HEF(str(path))
    assert str(caught.value.__cause__) == str(status)


def test_graphs_without_counterpart_are_refused(tmp_path: Path, rows: NDArray[np.float32], run: Any) -> None:
    """A graph that cannot be presented as a HEF is refused with what was expected and what came."""
    dynamic = save(
        tmp_path / "dynamic.onnx",
        [helper.make_node("Identity", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, "h", "w"])],
        {},
    )
    with pytest.raises(ModelError, match="fixed size"):
        load(dynamic, "hailo8", manifest())


def test_only_the_schema_noise_is_kept_off_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    """What a library says while a graph is loaded is passed on, Debian's line per operator is not."""
    with quiet_schemas():
        os.write(2, b"Schema error: Trying to register schema with name Add\na real complaint\n")
    assert capfd.readouterr().err == "a real complaint\n"


def test_standard_error_survives_models_loaded_at_once() -> None:
    """Two threads that load a model at the same time leave standard error what it was."""
    before = os.fstat(2)
    entered, first_done, second_done = (threading.Event() for _ in range(3))

    def load_until(done: threading.Event) -> None:
        with quiet_schemas():
            entered.set()
            done.wait(10)

    first = threading.Thread(target=load_until, args=(first_done,))
    second = threading.Thread(target=load_until, args=(second_done,))
    first.start()
    entered.wait(10)
    second.start()
    # Time enough to come in, if it could.
    second.join(0.2)
    first_done.set()
    first.join()
    second_done.set()
    second.join()
    after = os.fstat(2)
    assert (after.st_dev, after.st_ino) == (before.st_dev, before.st_ino)


def test_options_cross_a_process_as_json() -> None:
    """What JSON makes of the options gives equal options back."""
    faults = {"fail_completions": {"3": 63}, "hang_from": 7}
    received: dict[str, Any] = json.loads(json.dumps({"arch": "hailo8l", "faults": faults}))
    options = simulator.SimulatorOptions(**received)
    assert options.faults == simulator.Faults(fail_completions={3: 63}, hang_from=7)


def test_the_dog_photo(shared: Path, run: Any) -> None:
    """yolox_nano on the simulated device sees in the photo what HailoRT's operator saw: bicycle, car, truck, dog."""
    cv2 = pytest.importorskip("cv2")
    photo = cv2.imread(str(shared / "data" / "photos" / "yolox_dog_bicycle_truck.jpg"))
    canvas = np.full((416, 416, 3), 114, np.uint8)
    canvas[:312] = cv2.resize(photo, (416, 312))[..., ::-1]
    resolve = manifest(meta_arch="yolox", channels="bgr", score_threshold=0.3, iou_threshold=0.45)
    (found,) = run(shared / "data" / "models" / "yolox_nano.onnx", canvas, resolve, nothing)
    recorded = np.load(shared / "oracles" / "real_yolox_nano_yolox_dog_bicycle_truck.npz")["det"]
    assert [index for index, boxes in enumerate(found) if len(boxes)] == recorded[:, 0].astype(int).tolist()
    for row in recorded:
        assert found[int(row[0])][0] == pytest.approx(row[1:], abs=0.02)


def test_a_quantised_classifier_is_presented_as_it_is(shared: Path, run: Any) -> None:
    """A uint8 NHWC graph keeps its bytes; its softmax carries the scale that makes it add up to one."""
    cv2 = pytest.importorskip("cv2")
    path = shared / "data" / "models" / "mobilenet_v2_1.0_224_qdq.onnx"
    info = load(path, "hailo8", manifest()).info
    assert info.outputs[0].scale == (1 / 256,)
    photo = cv2.imread(str(shared / "data" / "photos" / "coffee.png"))
    picture = np.ascontiguousarray(cv2.resize(photo, (224, 224))[..., ::-1])
    (scores,) = run(path, picture, manifest(), nothing)
    assert scores.dtype == np.uint8
    assert scores.argmax() == 968


def test_a_label_map_is_nhw_of_ids(shared: Path) -> None:
    """An integer map is presented as uint8 ids without quantisation."""
    try:
        info = load(shared / "data" / "models" / "deeplabv3_mnv2_dm05_pascal_qdq.onnx", "hailo8", manifest()).info
    except ModelError as error:
        if "two nodes with same node name" in str(error):
            pytest.skip("this ONNX Runtime (1.21 does) refuses the recorded model's double names")
        raise
    output = info.outputs[0]
    assert (output.shape, output.order, output.dtype, output.scale) == ((513, 513), TensorOrder.NHW, "uint8", (1.0,))
