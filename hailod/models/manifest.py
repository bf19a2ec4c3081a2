"""What must be known of a model beside its weights: decoder, labels, how its picture is laid, and for the simulator how
to run it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ScriptedBox(_Table):
    """One detection that a timing-only model reports in every frame: box x1, y1, x2, y2 of the model's input, 0..1."""

    class_id: Annotated[int, Field(ge=0)]
    score: Annotated[float, Field(ge=0.0, le=1.0)]
    box: tuple[float, float, float, float]


class SimulatorManifest(_Table):
    """`[simulator]`: how the simulated device presents an ONNX or timing-only model as if it were a HEF."""

    # What the ONNX graph wants; the simulated HEF always takes RGB uint8 NHWC, as compiled models do.
    channels: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    # What the host sees: HailoRT's own NMS, or the raw heads, quantised.
    outputs: Literal["nms_by_class", "nms_by_score", "raw"] = "nms_by_class"
    meta_arch: Literal["yolox"] | None = None
    strides: tuple[int, ...] = (8, 16, 32)
    classes: Annotated[int, Field(ge=1, le=4096)] = 80
    score_threshold: float = 0.1
    iou_threshold: float = 0.65
    max_per_class: Annotated[int, Field(ge=1, le=1000)] = 100
    quantisation: Literal["uint8", "uint16"] = "uint8"
    # Service time: a preset such as "yolov8s@hailo8", or the two figures themselves in milliseconds.
    preset: str | None = None
    switch_ms: Annotated[float, Field(ge=0.0)] | None = None
    frame_ms: Annotated[float, Field(ge=0.0)] | None = None
    # A timing-only model has no graph: its input size, and what it sees.
    input: tuple[int, int] | None = None
    detections: tuple[ScriptedBox, ...] = ()


class Manifest(_Table):
    """A model's manifest: from `<stem>.toml` beside it, else the catalogue; the user's table has the last word."""

    # None: chosen by the shape and order of the outputs.
    decoder: str | None = None
    labels: tuple[str, ...] = ()
    resize: Literal["letterbox", "stretch"] = "letterbox"
    align: Literal["center", "top_left"] = "center"
    pad: Annotated[int, Field(ge=0, le=255)] = 114
    # Where the outputs are raw: boxes of a class that overlap by this much (IoU) are one, and so many remain.
    nms_iou: Annotated[float, Field(gt=0.0, le=1.0)] = 0.65
    nms_max_per_class: Annotated[int, Field(ge=1, le=1000)] = 100
    simulator: SimulatorManifest = SimulatorManifest()
