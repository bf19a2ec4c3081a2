"""`InputVStreams` and `OutputVStreams`: frame by frame, in whichever process has the network group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from hailod.simulator.native import FormatOrder, NativeEnum, VStreamInfo
from hailod.simulator.pyhailort.configured_network import ConfiguredNetwork
from hailod.simulator.pyhailort.errors import ExceptionWrapper, HailoRTException, HailoRTInvalidHEFException
from hailod.simulator.pyhailort.logger import default_logger
from hailod.simulator.pyhailort.native_vstreams import NativeInputVStream, NativeOutputVStream
from hailod.simulator.pyhailort.output_layer import OutputLayerUtils
from hailod.simulator.pyhailort.transform import BBOX_WITH_MASK_PARAMS, HailoRTTransformUtils
from hailod.simulator.pyhailort.vstream_params import Params

Array = NDArray[Any]


class InputVStream:
    """One input."""

    def __init__(self, send_object: NativeInputVStream) -> None:
        self._send_object = send_object
        self._input_dtype = self._send_object.dtype

    @property
    def shape(self) -> list[int]:
        return self._send_object.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._send_object.dtype

    @property
    def name(self) -> str:
        return self._send_object.info.name

    @property
    def network_name(self) -> str:
        return self._send_object.info.network_name

    @property
    def info(self) -> VStreamInfo:
        with ExceptionWrapper():
            return self._send_object.info

    def send(self, input_data: Array) -> None:
        """Frames stacked along the first axis, one after the other; HailoRTTimeout when the device takes none."""
        if input_data.dtype != self._input_dtype:
            input_data = input_data.astype(self._input_dtype)
        if not input_data.flags.c_contiguous:
            default_logger().warning("Warning - Converting input numpy array to be C_CONTIGUOUS")
            input_data = np.asarray(input_data, order="C")
        for number in range(input_data.shape[0]):
            with ExceptionWrapper():
                self._send_object.send(input_data[number : number + 1])

    def flush(self) -> None:
        """Return once the device has taken all that was sent."""
        with ExceptionWrapper():
            self._send_object.flush()


class OutputVStream:
    """One output."""

    def __init__(
        self,
        configured_network: ConfiguredNetwork,
        recv_object: NativeOutputVStream,
        name: str,
        tf_nms_format: bool = False,
        net_group_name: str = "",
    ) -> None:
        self._recv_object = recv_object
        infos = configured_network.get_output_vstream_infos()
        self._output_layer_utils = OutputLayerUtils(infos, name, recv_object, net_group_name)
        self._output_dtype = self._output_layer_utils.output_dtype
        self._vstream_info = self._output_layer_utils.vstream_info
        self._output_tensor_info = self._output_layer_utils.output_tensor_info
        self._is_nms = self._output_layer_utils.is_nms
        self._tf_nms_format = tf_nms_format
        self._input_stream_infos = configured_network.get_input_stream_infos()

    @property
    def output_order(self) -> NativeEnum:
        return self._output_layer_utils.output_order

    @property
    def shape(self) -> list[int]:
        return self._recv_object.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._recv_object.dtype

    @property
    def name(self) -> str:
        return self._vstream_info.name

    @property
    def network_name(self) -> str:
        return self._vstream_info.network_name

    @property
    def info(self) -> VStreamInfo:
        with ExceptionWrapper():
            return self._recv_object.info

    def recv(self) -> Any:
        """The next frame, as `InferVStreams.infer` gives each; HailoRTTimeout when none comes.

        With byte masks and `tf_nms_format` it returns None, as in HailoRT, which fills an array and forgets it.
        """
        with ExceptionWrapper():
            raw = self._recv_object.recv()
        if self.output_order == FormatOrder.HAILO_NMS_WITH_BYTE_MASK:
            return self._masked(raw)
        if not self._is_nms:
            return raw
        shape = self._vstream_info.nms_shape
        if not self._tf_nms_format:
            return HailoRTTransformUtils.output_raw_buffer_to_nms_format_single_frame(raw, shape.number_of_classes)
        classes, width, limit = self._output_layer_utils.tf_nms_fomrat_shape
        padded = np.empty((classes, limit, width), self._output_dtype)
        HailoRTTransformUtils.output_raw_buffer_to_nms_tf_format_single_frame(
            raw, padded, classes, limit, self._output_layer_utils.quantized_empty_bbox
        )
        return np.swapaxes(padded, 1, 2)

    def _masked(self, raw: Array) -> Any:
        if len(self._input_stream_infos) != 1:
            raise HailoRTInvalidHEFException(
                "Output format HAILO_NMS_WITH_BYTE_MASK should have 1 input. "
                f"Number of inputs: {len(self._input_stream_infos)}"
            )
        if not self._tf_nms_format:
            return HailoRTTransformUtils._output_raw_buffer_to_nms_with_byte_mask_hailo_format_single_frame(raw)
        height, width = self._input_stream_infos[0].shape[:2]
        shape = self._vstream_info.nms_shape
        padded = np.empty((shape.max_bboxes_per_class, height * width + BBOX_WITH_MASK_PARAMS), self._output_dtype)
        HailoRTTransformUtils._output_raw_buffer_to_nms_with_byte_mask_tf_format_single_frame(
            raw, padded, shape.number_of_classes, shape.max_bboxes_per_class, height, width
        )
        return None

    def set_nms_score_threshold(self, threshold: float) -> None:
        self._recv_object.set_nms_score_threshold(threshold)

    def set_nms_iou_threshold(self, threshold: float) -> None:
        self._recv_object.set_nms_iou_threshold(threshold)

    def set_nms_max_proposals_per_class(self, max_proposals_per_class: int) -> None:
        self._recv_object.set_nms_max_proposals_per_class(max_proposals_per_class)

    def set_nms_max_accumulated_mask_size(self, max_accumulated_mask_size: int) -> None:
        self._recv_object.set_nms_max_accumulated_mask_size(max_accumulated_mask_size)


class InputVStreams:
    """Inputs of a network group, to be used as a context manager."""

    def __init__(self, configured_network: ConfiguredNetwork, input_vstreams_params: Params) -> None:
        self._configured_network = configured_network
        self._input_vstreams_params = input_vstreams_params
        self._vstreams: dict[str, InputVStream] = {}

    def __enter__(self) -> Self:
        self._input_vstreams_holder = self._configured_network._create_input_vstreams(self._input_vstreams_params)
        self._input_vstreams_holder.__enter__()
        for name, vstream in self._input_vstreams_holder.get_all_inputs().items():
            self._vstreams[name] = InputVStream(vstream)
        return self

    def __exit__(self, *args: object) -> Literal[False]:
        self._input_vstreams_holder.__exit__(*args)
        return False

    def __iter__(self) -> Iterator[InputVStream]:
        return iter(self._vstreams.values())

    def get(self, name: str | None = None) -> InputVStream:
        """By its name; the only one without."""
        if name is None:
            if len(self._vstreams) != 1:
                raise HailoRTException("There is no single input vStream. You must give a name")
            name = next(iter(self._vstreams))
        return self._vstreams[name]

    def clear(self) -> None:
        with ExceptionWrapper():
            self._input_vstreams_holder.clear()


class OutputVStreams:
    """Outputs of a network group, to be used as a context manager."""

    def __init__(
        self, configured_network: ConfiguredNetwork, output_vstreams_params: Params, tf_nms_format: bool = False
    ) -> None:
        self._configured_network = configured_network
        self._net_group_name = configured_network.name
        self._output_vstreams_params = output_vstreams_params
        self._output_tensor_info: dict[str, object] = {}
        self._tf_nms_format = tf_nms_format
        self._vstreams: dict[str, OutputVStream] = {}

    def __enter__(self) -> Self:
        self._output_vstreams_holder = self._configured_network._create_output_vstreams(self._output_vstreams_params)
        self._output_vstreams_holder.__enter__()
        for name, vstream in self._output_vstreams_holder.get_all_outputs().items():
            self._vstreams[name] = OutputVStream(
                self._configured_network, vstream, name, self._tf_nms_format, self._net_group_name
            )
        return self

    def __exit__(self, *args: object) -> Literal[False]:
        self._output_vstreams_holder.__exit__(*args)
        return False

    def __iter__(self) -> Iterator[OutputVStream]:
        return iter(self._vstreams.values())

    def get(self, name: str | None = None) -> OutputVStream:
        """By its name; the only one without."""
        if name is None:
            if len(self._vstreams) != 1:
                raise HailoRTException("There is no single output vStream. You must give a name")
            name = next(iter(self._vstreams))
        return self._vstreams[name]

    def clear(self) -> None:
        with ExceptionWrapper():
            self._output_vstreams_holder.clear()
