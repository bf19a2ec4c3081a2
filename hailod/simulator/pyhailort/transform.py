"""Quantisation on the host, and `HailoRTTransformUtils`: how pyhailort reads raw output buffers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hailod.simulator.native import (
    FormatType,
    HailoFormat,
    HailoRTStatusException,
    NativeEnum,
    QuantInfo,
    data_bytes,
    profile,
)
from hailod.simulator.pyhailort import results
from hailod.simulator.pyhailort.errors import ExceptionWrapper, HailoRTException, HailoRTInvalidOperationException
from hailod.simulator.pyhailort.results import Detection, DetectionWithByteMask, NativeDetectionWithByteMask
from hailod.types import U8

INVALID_ARGUMENT = 2
INVALID_QUANTISATION = 0.0
BBOX_WITH_MASK_PARAMS = 6

Array = NDArray[Any]
_DTYPES = {"UINT8": np.uint8, "UINT16": np.uint16, "FLOAT32": np.float32}
_WIDENINGS = {
    ("UINT8", "UINT8"),
    ("UINT8", "UINT16"),
    ("UINT8", "FLOAT32"),
    ("UINT16", "UINT16"),
    ("UINT16", "FLOAT32"),
    ("FLOAT32", "FLOAT32"),
}
_NARROWINGS = {(wide, narrow) for narrow, wide in _WIDENINGS if narrow != "FLOAT32"}


def quantised(values: Array, dtype: DTypeLike, quant: QuantInfo) -> Array:
    """Real values as the device takes them: clipped to the range that was compiled, rounded half to even."""
    numbers = values.astype(np.float32)
    if quant.qp_scale != 1.0 or quant.qp_zp != 0.0:
        clipped = np.clip(numbers, np.float32(quant.limvals_min), np.float32(quant.limvals_max))
        numbers = clipped / np.float32(quant.qp_scale) + np.float32(quant.qp_zp)
    limits = np.iinfo(np.dtype(dtype))
    # Without a quantisation the C cast of what does not fit is undefined; here it saturates.
    return np.clip(np.rint(numbers), limits.min, limits.max).astype(dtype)


def dequantised(values: Array, dtype: DTypeLike, quant: QuantInfo) -> Array:
    """Device values as real ones, (q - qp_zp) * qp_scale in float32."""
    real = (values.astype(np.float32) - np.float32(quant.qp_zp)) * np.float32(quant.qp_scale)
    return real.astype(dtype)


# What `_pyhailort` has of it.


def get_dtype(format_type: NativeEnum) -> np.dtype[Any]:
    """NumPy's of a format type. HailoRTStatusException for AUTO."""
    if format_type.name not in _DTYPES:
        raise HailoRTStatusException("Invalid format type.")
    return np.dtype(_DTYPES[format_type.name])


def get_format_data_bytes(format_: HailoFormat) -> int:
    """Bytes of one value; AUTO counts as one."""
    return data_bytes(format_.type)


def is_qp_valid(quant_info: QuantInfo) -> bool:
    """Whether the model has one quantisation for the whole tensor."""
    values = (quant_info.qp_zp, quant_info.qp_scale, quant_info.limvals_min, quant_info.limvals_max)
    return any(value != INVALID_QUANTISATION for value in values)


def dequantize_output_buffer(  # noqa: PLR0917 - HailoRT's signature
    src_buffer: Array,
    dst_buffer: Array,
    src_type: NativeEnum,
    dst_type: NativeEnum,
    elements_count: int,
    quant_info: QuantInfo,
) -> None:
    """Fill the first elements of `dst_buffer` with real values. INVALID_ARGUMENT when its type is narrower."""
    if (src_type.name, dst_type.name) not in _WIDENINGS:
        raise HailoRTStatusException(INVALID_ARGUMENT)
    source, target = _flat(src_buffer), _flat(dst_buffer)
    target[:elements_count] = dequantised(source[:elements_count], target.dtype, quant_info)


def dequantize_output_buffer_in_place(
    dst_buffer: Array, src_type: NativeEnum, dst_type: NativeEnum, elements_count: int, quant_info: QuantInfo
) -> None:
    """The same within one buffer, which must have room for the wider type."""
    if (src_type.name, dst_type.name) not in _WIDENINGS:
        raise HailoRTStatusException(INVALID_ARGUMENT)
    raw = _flat(dst_buffer).view(np.uint8)
    source, target = _DTYPES[src_type.name], np.dtype(_DTYPES[dst_type.name])
    values = raw[: elements_count * np.dtype(source).itemsize].view(source).copy()
    raw[: elements_count * target.itemsize].view(target)[:] = dequantised(values, target, quant_info)


def quantize_input_buffer(  # noqa: PLR0917 - HailoRT's signature
    src_buffer: Array,
    dst_buffer: Array,
    src_type: NativeEnum,
    dst_type: NativeEnum,
    elements_count: int,
    quant_info: QuantInfo,
) -> None:
    """Fill the first elements of `dst_buffer` with what the device takes. INVALID_ARGUMENT when its type is wider."""
    if (src_type.name, dst_type.name) not in _NARROWINGS:
        raise HailoRTStatusException(INVALID_ARGUMENT)
    source, target = _flat(src_buffer), _flat(dst_buffer)
    target[:elements_count] = quantised(source[:elements_count], target.dtype, quant_info)


def _flat(buffer: Array) -> Array:
    if not buffer.flags.writeable:
        raise ValueError("array is not writeable")
    return buffer.reshape(-1)


def convert_nms_with_byte_mask_buffer_to_detections(src_buffer: Array) -> list[NativeDetectionWithByteMask]:
    """The records of a buffer as the simulated version lays them."""
    return results.convert_nms_with_byte_mask_buffer_to_detections(src_buffer, _layout())


def _layout() -> str:
    return "5.2" if profile().mask_by_offset else "4.23"


class DetectionWithByteMaskByOffset(DetectionWithByteMask):
    """`DetectionWithByteMask` of HailoRT 5: the mask comes from the buffer that is given, not from an address."""

    def __init__(self, raw_output_buffer: U8, detection: NativeDetectionWithByteMask) -> None:
        self._detection = detection
        self._mask = _mask(raw_output_buffer, detection)


DetectionWithByteMaskByOffset.__name__ = DetectionWithByteMaskByOffset.__qualname__ = "DetectionWithByteMask"


def _mask(buffer: U8, detection: NativeDetectionWithByteMask) -> U8:
    if not profile().mask_by_offset:
        return detection.mask()
    return np.array(buffer[detection.mask_offset : detection.mask_offset + detection.mask_size])


class HailoRTTransformUtils:
    """Conversions of buffers. `quant_info` must be one for the whole tensor."""

    @staticmethod
    def get_dtype(data_bytes: int) -> type[Any]:
        """The type of values of 1, 2 or 4 bytes."""
        for dtype in (np.uint8, np.uint16, np.float32):
            if np.dtype(dtype).itemsize == data_bytes:
                return dtype
        raise HailoRTException("unsupported data bytes value")

    @staticmethod
    def _get_format_type(dtype: DTypeLike) -> NativeEnum:
        for name, known in _DTYPES.items():
            if dtype == known:
                return FormatType.__members__[name]
        raise HailoRTException(f"unsupported data type {dtype}")

    @staticmethod
    def _check(quant_info: QuantInfo) -> None:
        if not is_qp_valid(quant_info):
            raise HailoRTInvalidOperationException(
                "quant_info is invalid as the model was compiled with multiple quant_infos. Please compile again or "
                "provide a list of quant_infos."
            )

    @staticmethod
    def dequantize_output_buffer(
        src_buffer: Array, dst_buffer: Array, elements_count: int, quant_info: QuantInfo
    ) -> None:
        types = [HailoRTTransformUtils._get_format_type(buffer.dtype) for buffer in (src_buffer, dst_buffer)]
        HailoRTTransformUtils._check(quant_info)
        with ExceptionWrapper():
            dequantize_output_buffer(src_buffer, dst_buffer, types[0], types[1], elements_count, quant_info)

    @staticmethod
    def dequantize_output_buffer_in_place(
        raw_buffer: Array, dst_dtype: DTypeLike, elements_count: int, quant_info: QuantInfo
    ) -> None:
        types = [HailoRTTransformUtils._get_format_type(dtype) for dtype in (raw_buffer.dtype, dst_dtype)]
        HailoRTTransformUtils._check(quant_info)
        with ExceptionWrapper():
            dequantize_output_buffer_in_place(raw_buffer, types[0], types[1], elements_count, quant_info)

    @staticmethod
    def quantize_input_buffer(src_buffer: Array, dst_buffer: Array, elements_count: int, quant_info: QuantInfo) -> None:
        types = [HailoRTTransformUtils._get_format_type(buffer.dtype) for buffer in (src_buffer, dst_buffer)]
        HailoRTTransformUtils._check(quant_info)
        with ExceptionWrapper():
            quantize_input_buffer(src_buffer, dst_buffer, types[0], types[1], elements_count, quant_info)

    @staticmethod
    def output_raw_buffer_to_nms_format(
        raw_output_buffer: Iterable[Array], number_of_classes: int
    ) -> list[list[Array]]:
        """Per frame a list of classes, each (n, 5), views of the buffer."""
        one = HailoRTTransformUtils.output_raw_buffer_to_nms_format_single_frame
        return [one(frame, number_of_classes) for frame in raw_output_buffer]

    @staticmethod
    def output_raw_buffer_to_nms_format_single_frame(
        raw_output_buffer: Array, number_of_classes: int, offset: int = 0
    ) -> list[Array]:
        return results.per_class(raw_output_buffer[offset:], number_of_classes)

    @staticmethod
    def output_raw_buffer_to_nms_tf_format(
        raw_output_buffer: Array, shape: Sequence[int], dtype: DTypeLike, quantized_empty_bbox: Array
    ) -> Array:
        """(frames, classes, 5, max per class) of a flat buffer, filled up with the empty box."""
        frames, classes, width, limit = shape
        padded = np.empty((frames, classes, limit, width), dtype)
        for number, frame in enumerate(padded):
            offset = number * classes * (limit * width + 1)
            HailoRTTransformUtils.output_raw_buffer_to_nms_tf_format_single_frame(
                raw_output_buffer, frame, classes, limit, quantized_empty_bbox, offset
            )
        return np.swapaxes(padded, 2, 3)

    @staticmethod
    def output_raw_buffer_to_nms_tf_format_single_frame(  # noqa: PLR0917 - HailoRT's signature
        raw_output_buffer: Array,
        converted_output_frame: Array,
        number_of_classes: int,
        max_bboxes_per_class: int,
        quantized_empty_bbox: Array,
        offset: int = 0,
    ) -> None:
        """Fill (classes, max per class, 5). ValueError when a class has more boxes than that."""
        found = results.per_class(raw_output_buffer[offset:], number_of_classes)
        for rows, boxes in zip(converted_output_frame, found, strict=False):
            if len(boxes):
                rows[: len(boxes)] = boxes
            rows[len(boxes) : max_bboxes_per_class] = quantized_empty_bbox

    @staticmethod
    def _output_raw_buffer_to_nms_by_score_format_single_frame(raw_output_buffer: Array) -> list[Detection]:
        return [Detection(each) for each in results.convert_nms_by_score_buffer_to_detections(raw_output_buffer)]

    @staticmethod
    def _output_raw_buffer_to_nms_with_byte_mask_format(  # noqa: PLR0917 - HailoRT's signature
        raw_output_buffer: Array,
        number_of_classes: int,
        batch_size: int,
        image_height: int,
        image_width: int,
        max_bboxes_per_class: int,
        output_dtype: DTypeLike,
        is_tf_format: bool = False,
    ) -> Any:
        utils = HailoRTTransformUtils
        if not is_tf_format:
            return utils._output_raw_buffer_to_nms_with_byte_mask_hailo_format(raw_output_buffer)
        return utils._output_raw_buffer_to_nms_with_byte_mask_tf_format(
            raw_output_buffer,
            number_of_classes,
            batch_size,
            image_height,
            image_width,
            max_bboxes_per_class,
            output_dtype,
        )

    @staticmethod
    def _output_raw_buffer_to_nms_with_byte_mask_hailo_format(
        raw_output_buffer: Iterable[Array],
    ) -> list[list[DetectionWithByteMask]]:
        one = HailoRTTransformUtils._output_raw_buffer_to_nms_with_byte_mask_hailo_format_single_frame
        return [one(frame) for frame in raw_output_buffer]

    @staticmethod
    def _output_raw_buffer_to_nms_with_byte_mask_hailo_format_single_frame(
        raw_output_buffer: Array,
    ) -> list[DetectionWithByteMask]:
        found = convert_nms_with_byte_mask_buffer_to_detections(raw_output_buffer)
        if profile().mask_by_offset:
            return [DetectionWithByteMaskByOffset(raw_output_buffer, each) for each in found]
        return [DetectionWithByteMask(each) for each in found]

    @staticmethod
    def _output_raw_buffer_to_nms_with_byte_mask_tf_format(  # noqa: PLR0917 - HailoRT's signature
        raw_output_buffer: Iterable[Array],
        number_of_classes: int,
        batch_size: int,
        image_height: int,
        image_width: int,
        max_bboxes_per_class: int,
        output_dtype: DTypeLike,
    ) -> Array:
        """(frames, 1, 6 + picture, max boxes): box, score, class and the mask within the whole picture."""
        length = image_height * image_width + BBOX_WITH_MASK_PARAMS
        padded = np.empty((batch_size, max_bboxes_per_class, length), output_dtype)
        for frame, rows in zip(raw_output_buffer, padded, strict=False):
            HailoRTTransformUtils._output_raw_buffer_to_nms_with_byte_mask_tf_format_single_frame(
                frame, rows, number_of_classes, max_bboxes_per_class, image_height, image_width
            )
        return np.expand_dims(np.moveaxis(padded, 1, 2), 1)

    @staticmethod
    def _output_raw_buffer_to_nms_with_byte_mask_tf_format_single_frame(  # noqa: PLR0917 - HailoRT's signature
        raw_output_buffer: Array,
        converted_output_frame: Array,
        number_of_classes: int,
        max_boxes: int,
        image_height: int,
        image_width: int,
    ) -> None:
        """Fill rows; the rest of them stays as it was. Returns nothing, in HailoRT too."""
        found = convert_nms_with_byte_mask_buffer_to_detections(raw_output_buffer)
        for row, each in zip(converted_output_frame[:max_boxes], found, strict=False):
            box = each.box
            picture = np.zeros((image_height, image_width), np.uint8)
            width = int(np.ceil((box.x_max - box.x_min) * image_width))
            (pixels,) = np.nonzero(_mask(raw_output_buffer, each) == 1)
            if pixels.size:
                rows = np.ceil(box.y_min * image_height) + pixels // width
                columns = np.ceil(box.x_min * image_width) + pixels % width
                picture[
                    np.minimum(rows.astype(int), image_height - 1), np.minimum(columns.astype(int), image_width - 1)
                ] = 1
            row[:BBOX_WITH_MASK_PARAMS] = (box.y_min, box.x_min, box.y_max, box.x_max, each.score, each.class_id)
            row[BBOX_WITH_MASK_PARAMS:] = picture.reshape(-1)
