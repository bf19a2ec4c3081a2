"""What must be known of a model beside its weights: decoder, labels, how its picture is laid, and for the simulator how
to run it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ScriptedBox(_Table):
    """One detection that a model which computes nothing reports: box x1, y1, x2, y2 of the model's input, 0..1.

    In every frame, or from frame `first` to frame `last`; frames count from 0. A box with `to` moves there meanwhile.
    """

    class_id: Annotated[int, Field(ge=0)]
    score: Annotated[float, Field(ge=0.0, le=1.0)]
    box: tuple[float, float, float, float]
    to: tuple[float, float, float, float] | None = None
    first: Annotated[int, Field(ge=0)] = 0
    last: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _ends_after_it_began(self) -> ScriptedBox:
        if self.last is not None and self.last < self.first:
            raise ValueError(f"last = {self.last} is before first = {self.first}")
        if self.to is not None and self.last is None:
            raise ValueError("a box that moves `to` somewhere needs the frame when it is there: last")
        return self


class SimulatorManifest(_Table):
    """`[simulator]`: how the simulated device presents an ONNX or timing-only model as if it were a HEF."""

    # What the ONNX graph wants; the simulated HEF always takes RGB uint8 NHWC, as compiled models do.
    channels: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    # The input as the HEF has it: a picture's order and type, and what its numbers mean: real = (q - zero) * scale.
    input_order: Literal["NHWC", "NV12", "YUY2"] = "NHWC"
    input_type: Literal["uint8", "uint16"] = "uint8"
    input_scale: Annotated[float, Field(gt=0.0)] = 1.0
    input_zero_point: float = 0.0
    # What the host sees: HailoRT's own NMS, or the raw heads, quantised.
    outputs: Literal["nms_by_class", "nms_by_score", "nms_with_byte_mask", "raw"] = "nms_by_class"
    meta_arch: Literal["yolox", "yolov5", "yolov5_seg", "yolov8"] | None = None
    strides: Annotated[tuple[Annotated[int, Field(ge=1, le=1024)], ...], Field(max_length=16)] = (8, 16, 32)
    # Width and height of each anchor in pixels, a row per stride.
    anchors: tuple[tuple[float, ...], ...] = (
        (10, 13, 16, 30, 33, 23),
        (30, 61, 62, 45, 59, 119),
        (116, 90, 156, 198, 373, 326),
    )
    classes: Annotated[int, Field(ge=1, le=4096)] = 80
    score_threshold: float = 0.1
    iou_threshold: float = 0.65
    max_per_class: Annotated[int, Field(ge=1, le=1000)] = 100
    mask_threshold: float = 0.5
    # Bytes for all masks of a frame together; twice the picture unless it is said.
    max_mask_bytes: Annotated[int, Field(ge=0, le=1 << 28)] | None = None
    quantisation: Literal["uint8", "uint16"] = "uint8"
    # Service time: a preset such as "yolov8s@hailo8", or the two figures themselves in milliseconds.
    preset: str | None = None
    switch_ms: Annotated[float, Field(ge=0.0)] | None = None
    frame_ms: Annotated[float, Field(ge=0.0)] | None = None
    # What the HEF says of itself: its network group, the stem of the file unless it is said; its contexts and its chip.
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,127}$")] | None = None
    contexts: Annotated[int, Field(ge=1, le=1024)] | None = None
    chip: Literal["hailo8", "hailo8r", "hailo8l", "hailo15h", "hailo15m", "hailo15l", "hailo10h"] | None = None
    # A timing-only model has no graph: its input size, and what it sees. A HEF's outputs are random without detections.
    input: tuple[int, int] | None = None
    detections: tuple[ScriptedBox, ...] = ()
    seed: Annotated[int, Field(ge=0)] = 0


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
