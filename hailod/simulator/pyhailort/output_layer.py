"""`OutputLayerUtils`: how to read one output of a pipeline of virtual streams."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hailod.simulator.native import BBOX_PARAMS, FormatOrder, HailoFormat, NativeEnum, VStreamInfo
from hailod.simulator.pyhailort.errors import HailoRTException
from hailod.simulator.pyhailort.native_infer import NativeInferVStreams
from hailod.simulator.pyhailort.native_vstreams import NativeOutputVStream
from hailod.simulator.pyhailort.transform import HailoRTTransformUtils, get_dtype

Array = NDArray[Any]

_LISTED = (FormatOrder.HAILO_NMS_BY_CLASS, FormatOrder.HAILO_NMS_BY_SCORE)


class OutputLayerUtils:
    """Shape, type and order of an output as the program asked for it, and the names that the HEF has for it."""

    def __init__(
        self,
        output_vstream_infos: list[VStreamInfo],
        vstream_name: str,
        pipeline: NativeInferVStreams | NativeOutputVStream,
        net_group_name: str = "",
    ) -> None:
        self._output_vstream_infos = output_vstream_infos
        self._vstream_info = self._get_vstream_info(net_group_name, vstream_name)
        self._user_buffer_format: HailoFormat
        if isinstance(pipeline, NativeInferVStreams):
            self._user_buffer_format = pipeline.get_user_buffer_format(vstream_name)
            self._output_shape = pipeline.get_shape(vstream_name)
        else:
            self._user_buffer_format = pipeline.get_user_buffer_format()
            self._output_shape = pipeline.shape
        self._is_nms = self._user_buffer_format.order in _LISTED
        if self._is_nms:
            self._quantized_empty_bbox = np.zeros(BBOX_PARAMS, self.output_dtype)
            if self.output_dtype == np.float32:
                HailoRTTransformUtils.dequantize_output_buffer_in_place(
                    self._quantized_empty_bbox, self.output_dtype, BBOX_PARAMS, self._vstream_info.quant_info
                )

    @property
    def output_dtype(self) -> np.dtype[Any]:
        return get_dtype(self._user_buffer_format.type)

    @property
    def output_order(self) -> NativeEnum:
        return self._user_buffer_format.order

    @property
    def output_shape(self) -> list[int]:
        return self._output_shape

    @property
    def vstream_info(self) -> VStreamInfo:
        return self._vstream_info

    @property
    def output_tensor_info(self) -> tuple[list[int], np.dtype[Any]]:
        return self.output_shape, self.output_dtype

    @property
    def is_nms(self) -> bool:
        return self._is_nms

    @property
    def quantized_empty_bbox(self) -> Array:
        if not self.is_nms:
            raise HailoRTException("Requested NMS info for non-NMS layer")
        return self._quantized_empty_bbox

    def _get_vstream_info(self, net_group_name: str, vstream_name: str) -> VStreamInfo:
        for info in self._output_vstream_infos:
            if info.name == vstream_name:
                return info
        raise HailoRTException(f"No vstream matches the given name {vstream_name}")

    @property
    def tf_nms_fomrat_shape(self) -> list[int]:
        """Classes, 5, boxes per class as compiled. The name is HailoRT's."""
        if not self.is_nms and self.output_order != FormatOrder.HAILO_NMS_WITH_BYTE_MASK:
            raise HailoRTException("Requested NMS info for non-NMS layer")
        nms_shape = self._vstream_info.nms_shape
        return [nms_shape.number_of_classes, BBOX_PARAMS, nms_shape.max_bboxes_per_class]
