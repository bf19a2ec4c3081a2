"""`InferVStreams`: blocking inference on whole batches, of the synchronous API."""

from __future__ import annotations

import time
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from hailod.simulator.native import FormatOrder
from hailod.simulator.pyhailort.configured_network import ConfiguredNetwork
from hailod.simulator.pyhailort.errors import ExceptionWrapper, HailoRTException
from hailod.simulator.pyhailort.logger import default_logger
from hailod.simulator.pyhailort.native_infer import NativeInferVStreams
from hailod.simulator.pyhailort.output_layer import OutputLayerUtils
from hailod.simulator.pyhailort.transform import HailoRTTransformUtils, get_format_data_bytes
from hailod.simulator.pyhailort.vstream_params import Params

Array = NDArray[Any]


class InferVStreams:
    """Blocking inference on whole batches, to be used as a context manager."""

    def __init__(
        self,
        configured_net_group: ConfiguredNetwork,
        input_vstreams_params: Params,
        output_vstreams_params: Params,
        tf_nms_format: bool = False,
    ) -> None:
        self._configured_net_group = configured_net_group
        self._net_group_name = configured_net_group.name
        self._input_vstreams_params = input_vstreams_params
        self._output_vstreams_params = output_vstreams_params
        self._tf_nms_format = tf_nms_format
        self._total_time: float | None = None
        self._hw_time: float | None = None
        self._network_name_to_outputs = self._get_network_to_outputs_mapping(configured_net_group)
        self._input_name_to_network_name = self._get_input_name_to_network_mapping(configured_net_group)

    @staticmethod
    def _get_input_name_to_network_mapping(configured_net_group: ConfiguredNetwork) -> dict[str, str]:
        return {
            info.name: network
            for network in configured_net_group.get_networks_names()
            for info in configured_net_group.get_input_vstream_infos(network)
        }

    @staticmethod
    def _get_network_to_outputs_mapping(configured_net_group: ConfiguredNetwork) -> dict[str, set[str]]:
        return {
            network: {info.name for info in configured_net_group.get_output_vstream_infos(network)}
            for network in configured_net_group.get_networks_names()
        }

    def __enter__(self) -> Self:
        # Not wrapped: the native exception leaks.
        self._infer_pipeline = NativeInferVStreams(
            self._configured_net_group._configured_network, self._input_vstreams_params, self._output_vstreams_params
        )
        return self

    def __exit__(self, *args: object) -> Literal[False]:
        self._infer_pipeline.release()
        return False

    def infer(self, input_data: dict[str, Array] | Array) -> dict[str, Any]:
        """Run frames stacked along the first axis; an array alone is that of the one input.

        Returns by output name: arrays (frames, ...); NMS by class: per frame a list of (n, 5) per class, or with
        `tf_nms_format` (frames, classes, 5, max per class). Arrays that had to be converted are replaced in the dict.
        """
        began = time.perf_counter()
        if not isinstance(input_data, dict):
            infos = self._configured_net_group.get_input_vstream_infos()
            if len(infos) != 1:
                raise Exception(
                    "when there is more than one input, the input_data should be of type dict, mapping between each "
                    f"input_name, and his input_data tensor. number of inputs: {len(infos)}"
                )
            input_data = {infos[0].name: input_data}
        frames = self._get_number_of_frames(input_data)
        buffers, layers = self._make_output_buffers_and_infos(input_data, frames)
        for name in input_data:
            self._cast_input_data_if_needed(name, input_data)
            self._validate_input_data_format_type(name, input_data)
            self._make_c_contiguous_if_needed(name, input_data)
        with ExceptionWrapper():
            submitted = time.perf_counter()
            self._infer_pipeline.infer(input_data, buffers, frames)
            self._hw_time = time.perf_counter() - submitted
        results = {name: self._read(buffer, layers[name], frames) for name, buffer in buffers.items()}
        self._total_time = time.perf_counter() - began
        return results

    def get_hw_time(self) -> float | None:
        """Seconds that the device took for the last batch, transfers included."""
        return self._hw_time

    def get_total_time(self) -> float | None:
        """Seconds that the last call took."""
        return self._total_time

    def set_nms_score_threshold(self, threshold: float) -> None:
        self._infer_pipeline.set_nms_score_threshold(threshold)

    def set_nms_iou_threshold(self, threshold: float) -> None:
        self._infer_pipeline.set_nms_iou_threshold(threshold)

    def set_nms_max_proposals_per_class(self, max_proposals_per_class: int) -> None:
        self._infer_pipeline.set_nms_max_proposals_per_class(max_proposals_per_class)

    def set_nms_max_accumulated_mask_size(self, max_accumulated_mask_size: int) -> None:
        self._infer_pipeline.set_nms_max_accumulated_mask_size(max_accumulated_mask_size)

    def _make_output_buffers_and_infos(
        self, input_data: dict[str, Array], batch_size: int
    ) -> tuple[dict[str, Array], dict[str, OutputLayerUtils]]:
        infos = self._configured_net_group.get_output_vstream_infos()
        networks = {self._input_name_to_network_name[name] for name in input_data}
        layers = {
            name: OutputLayerUtils(infos, name, self._infer_pipeline, self._net_group_name)
            for network in networks
            for name in self._network_name_to_outputs[network]
        }
        buffers = {}
        for name, layer in layers.items():
            shape, dtype = layer.output_tensor_info
            if layer.output_order == FormatOrder.HAILO_NMS_WITH_BYTE_MASK:
                dtype = np.dtype(np.uint8)
            buffers[name] = np.empty([batch_size, *shape], dtype)
        return buffers, layers

    def _read(self, buffer: Array, layer: OutputLayerUtils, frames: int) -> Any:
        if layer.output_order == FormatOrder.HAILO_NMS_WITH_BYTE_MASK:
            inputs = self._configured_net_group.get_input_vstream_infos()
            if len(inputs) != 1:
                raise Exception(
                    f"Output format HAILO_NMS_WITH_BYTE_MASK should have 1 input. Number of inputs: {len(inputs)}"
                )
            height, width = inputs[0].shape[:2]
            shape = layer.vstream_info.nms_shape
            return HailoRTTransformUtils._output_raw_buffer_to_nms_with_byte_mask_format(
                buffer,
                shape.number_of_classes,
                frames,
                height,
                width,
                shape.max_bboxes_per_class,
                layer.output_dtype,
                self._tf_nms_format,
            )
        if not layer.is_nms:
            return buffer
        if self._tf_nms_format:
            return HailoRTTransformUtils.output_raw_buffer_to_nms_tf_format(
                buffer.reshape(-1),
                [frames, *layer.tf_nms_fomrat_shape],
                layer.output_dtype,
                layer.quantized_empty_bbox,
            )
        classes = layer.vstream_info.nms_shape.number_of_classes
        return HailoRTTransformUtils.output_raw_buffer_to_nms_format(buffer, classes)

    def _cast_input_data_if_needed(self, input_layer_name: str, input_data: dict[str, Array]) -> None:
        have = input_data[input_layer_name].dtype
        with ExceptionWrapper():
            want = self._infer_pipeline.get_host_dtype(input_layer_name)
        if have != want:
            default_logger().warning(
                "Given input data dtype (%s) is different than inferred dtype (%s). "
                "conversion for every frame will reduce performance",
                have,
                want,
            )
            input_data[input_layer_name] = input_data[input_layer_name].astype(want)

    def _validate_input_data_format_type(self, input_layer_name: str, input_data: dict[str, Array]) -> None:
        if input_layer_name not in self._input_vstreams_params:
            return
        # AUTO counts as one byte: a 16-bit model needs its type said.
        want = get_format_data_bytes(self._input_vstreams_params[input_layer_name].user_buffer_format)
        have = input_data[input_layer_name].dtype.itemsize
        if have != want:
            raise HailoRTException(f"{input_layer_name} numpy array item size is {have}, not {want}")

    @staticmethod
    def _get_number_of_frames(input_data: dict[str, Array]) -> int:
        if not input_data:
            raise ValueError("Input_data can't be empty")
        numbers = [int(array.shape[0]) for array in input_data.values()]
        for number in numbers:
            if number != numbers[0]:
                raise ValueError(
                    "The number of frames on all input_tensors should be equal! different sizes detected: "
                    f"{numbers[0]} != {number}"
                )
        return numbers[0]

    def _make_c_contiguous_if_needed(self, input_layer_name: str, input_data: dict[str, Array]) -> None:
        if not input_data[input_layer_name].flags.c_contiguous:
            default_logger().warning("Converting %s numpy array to be C_CONTIGUOUS", input_layer_name)
            input_data[input_layer_name] = np.asarray(input_data[input_layer_name], order="C")
