"""What is in the modules of `hailo_platform`, by their names within the package."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import os
import pathlib
import pprint
import sys
from argparse import ArgumentTypeError

from hailod.simulator import native
from hailod.simulator.native import ENUMS, profile
from hailod.simulator.pyhailort import (
    bindings,
    board,
    configured,
    configured_network,
    control,
    errors,
    hef,
    infer,
    infer_vstreams,
    logger,
    native_device,
    native_infer,
    native_vstreams,
    network_group,
    notices,
    output_layer,
    params,
    pcie,
    results,
    session,
    transform,
    unsupported,
    vdevice,
    vstream_params,
    vstreams,
)
from hailod.simulator.pyhailort import firmware as chip

PACKAGE = "hailo_platform"


def _names(text: str) -> list[str]:
    return text.split()


def _by_name(*things: object) -> dict[str, object]:
    return {thing.__name__: thing for thing in things}  # type: ignore[attr-defined]


class HailoRTDefaults:
    """HailoRT's constants."""

    HAILO_INFINITE = staticmethod(lambda: 0xFFFFFFFF)
    HAILO_DEFAULT_ETH_CONTROL_PORT = staticmethod(lambda: 22401)
    BBOX_PARAMS = staticmethod(lambda: native.BBOX_PARAMS)
    DEVICE_BASE_INPUT_STREAM_PORT = staticmethod(lambda: 32401)
    DEVICE_BASE_OUTPUT_STREAM_PORT = staticmethod(lambda: 32501)
    PCIE_ANY_DOMAIN = staticmethod(lambda: pcie.PCIE_ANY_DOMAIN)
    HAILO_UNIQUE_VDEVICE_GROUP_ID = staticmethod(lambda: params.UNIQUE_GROUP)


class HailoSocketDefs:
    """Sizes of UDP payloads."""

    MIN_UDP_PAYLOAD_SIZE = staticmethod(lambda: unsupported.HailoSocket.MIN_UDP_PAYLOAD_SIZE)
    MAX_UDP_PAYLOAD_SIZE = staticmethod(lambda: unsupported.HailoSocket.MAX_UDP_PAYLOAD_SIZE)
    MIN_UDP_PADDED_PAYLOAD_SIZE = staticmethod(lambda: unsupported.HailoSocket.MIN_UDP_PADDED_PAYLOAD_SIZE)
    MAX_UDP_PADDED_PAYLOAD_SIZE = staticmethod(lambda: unsupported.HailoSocket.MAX_UDP_PADDED_PAYLOAD_SIZE)
    MAX_ALIGNED_UDP_PAYLOAD_SIZE_RTP = staticmethod(lambda: unsupported.HailoSocket.MAX_ALIGNED_UDP_PAYLOAD_SIZE_RTP)


class MissingPyHRTLib(Exception):
    """Raised by the real package when its library is missing."""


def _verify_pyhailort_lib_exists() -> None:
    """It does."""


def join_drivers_path(path: str) -> str:
    """A path within the package's drivers."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), PACKAGE, "drivers", path)


HANDLES: dict[str, type] = {
    "AsyncInferJob": session.NativeJob,
    "ConfiguredInferModel": session.NativeConfiguredInferModel,
    "ConfiguredInferModelBindings": bindings.NativeBindings,
    "ConfiguredInferModelInferStream": bindings.NativeBindingsStream,
    "Detection": results.NativeDetection,
    "DetectionWithByteMask": results.NativeDetectionWithByteMask,
    "Device": native_device.NativeDevice,
    "HailoRectangle": results.NativeRectangle,
    "Hef": hef.NativeHef,
    "InferModel": infer.NativeInferModel,
    "InferModelInferStream": infer.NativeInferStream,
    "InferVStreams": native_infer.NativeInferVStreams,
    "InputVStream": native_vstreams.NativeInputVStream,
    "InputVStreams": native_vstreams.NativeInputVStreams,
    "OutputVStream": native_vstreams.NativeOutputVStream,
    "OutputVStreams": native_vstreams.NativeOutputVStreams,
    "PcieDeviceInfo": pcie.NativePcieDeviceInfo,
    "VDevice": vdevice.NativeVDevice,
}
"""What `_pyhailort` has under names that in this package are others."""

NATIVE: dict[str, object] = (
    ENUMS
    | HANDLES
    | unsupported.NATIVE
    | _by_name(
        native.HailoRTException,
        native.HailoRTCustomException,
        native.HailoRTStatusException,
        native.HailoFormat,
        native.ImageShape,
        native.NetworkGroupInfo,
        native.NmsInfo,
        native.NmsShape,
        native.QuantInfo,
        native.StreamInfo,
        native.VStreamInfo,
        native.get_status_message,
        chip.BoardInformation,
        chip.CoreInformation,
        chip.ExtendedDeviceInformation,
        chip.FirmwareUserConfigInformation,
        chip.FirmwareVersion,
        chip.HealthInformation,
        chip.PowerMeasurementData,
        chip.SupportedFeatures,
        chip.TemperatureInfo,
        chip.ThrottlingLevel,
        notices.Notification,
        notices.NotificationMessageParameters,
        *notices.MESSAGES.values(),
        network_group.ActivatedApp,
        network_group.ActivatedNetworkGroup,
        network_group.ConfiguredNetworkGroup,
        params.ActivateNetworkGroupParams,
        params.ConfigureParams,
        params.IntegratedInputStreamParams,
        params.IntegratedOutputStreamParams,
        params.NetworkParameters,
        params.PcieInputStreamParams,
        params.PcieOutputStreamParams,
        params.StreamParameters,
        params.TransformParams,
        params.VDeviceParams,
        params.VStreamParams,
        results.convert_nms_by_score_buffer_to_detections,
        transform.convert_nms_with_byte_mask_buffer_to_detections,
        transform.dequantize_output_buffer,
        transform.dequantize_output_buffer_in_place,
        transform.get_dtype,
        transform.get_format_data_bytes,
        transform.is_qp_valid,
        transform.quantize_input_buffer,
        HailoRTDefaults,
        HailoSocketDefs,
    )
)

_SUBCLASSED = {
    "HailoSchedulingAlgorithm": "SchedulingAlgorithm",
    "HailoFormatFlags": "FormatFlags",
    "HailoPowerMode": "PowerMode",
    "HailoCpuId": "CpuId",
    "HailoStreamDirection": "StreamDirection",
    "HailoStreamInterface": "StreamInterface",
}

# What the Python layer imports and so has, too.
_BORROWED: dict[str, object] = (
    _by_name(
        ArgumentTypeError,
        enum.Enum,
        enum.IntEnum,
        dataclasses.dataclass,
        collections.deque,
        datetime.timedelta,
        logger.default_logger,
        native.get_status_message,
        chip.PowerMeasurementData,
        chip.TemperatureInfo,
        HailoSocketDefs,
    )
    | {"List": list, "MipiInputStreamParams": unsupported.NATIVE["MipiInputStreamParams"]}
    | {
        name: ENUMS[name]
        for name in _names(
            "AveragingFactor BootSource DvmTypes Endianness FormatOrder FormatType IspLightFrequency "
            "MeasurementBufferIndex MipiClockSelection MipiDataTypeRx MipiIspImageInOrder MipiIspImageOutDataType "
            "MipiPixelsPerClock NotificationId OvercurrentAlertState PowerMeasurementTypes SamplingPeriod "
            "SensorConfigTypes WatchdogMode"
        )
    }
)

_CONSTANTS: dict[str, object] = {
    "BBOX_PARAMS": native.BBOX_PARAMS,
    "BBOX_WITH_MASK_PARAMS": transform.BBOX_WITH_MASK_PARAMS,
    "BOARD_INFO_NOT_CONFIGURED_ATTR": board.NOT_CONFIGURED,
    "DEFAULT_VSTREAM_QUEUE_SIZE": params.VSTREAM_QUEUE_SIZE,
    "DEFAULT_VSTREAM_TIMEOUT_MS": params.VSTREAM_TIMEOUT_MS,
    "HAILO_DEFAULT_ETH_CONTROL_PORT": HailoRTDefaults.HAILO_DEFAULT_ETH_CONTROL_PORT(),
    "HAILO_UNIQUE_VDEVICE_GROUP_ID": params.UNIQUE_GROUP,
    "INPUT_DATAFLOW_BASE_PORT": HailoRTDefaults.DEVICE_BASE_INPUT_STREAM_PORT(),
    "OUTPUT_DATAFLOW_BASE_PORT": HailoRTDefaults.DEVICE_BASE_OUTPUT_STREAM_PORT(),
    "MEGA_MULTIPLIER": board.MEGA,
    "PCIE_ANY_DOMAIN": pcie.PCIE_ANY_DOMAIN,
    "SUPPORTED_PROTOCOL_VERSION": native_device.PROTOCOL_VERSION,
}

OWN: dict[str, object] = (
    errors.EXCEPTIONS
    | unsupported.PYTHON
    | {name: type(name, (ENUMS[base],), {}) for name, base in _SUBCLASSED.items()}
    | _by_name(
        errors.ExceptionWrapper,
        board.BoardInformation,
        board.CoreInformation,
        board.DeviceArchitectureTypes,
        board.ExtendedDeviceInformation,
        board.HailoFirmwareMode,
        board.HailoFirmwareType,
        board.HailoFirmwareVersion,
        board.HealthInformation,
        board.SupportedFeatures,
        board.TemperatureThrottlingLevel,
        configured.AsyncInferCompletionInfo,
        configured.AsyncInferJob,
        configured.ConfiguredInferModel,
        configured_network.ActivatedNetwork,
        configured_network.ActivatedNetworkContextManager,
        configured_network.ConfigureParams,
        configured_network.ConfiguredNetwork,
        configured_network.EmptyContextManager,
        control.Control,
        control.Device,
        control.HailoPowerMeasurementUtils,
        hef.HEF,
        infer.InferModel,
        infer_vstreams.InferVStreams,
        output_layer.OutputLayerUtils,
        pcie.PcieDeviceInfo,
        results.Detection,
        results.DetectionWithByteMask,
        transform.HailoRTTransformUtils,
        vdevice.VDevice,
        vstream_params.InputVStreamParams,
        vstream_params.OutputVStreamParams,
        vstreams.InputVStream,
        vstreams.InputVStreams,
        vstreams.OutputVStream,
        vstreams.OutputVStreams,
    )
)

EXPORTED = _names(
    "AsyncInferJob AveragingFactor ConfigureParams Device DvmTypes Endianness EthernetDevice FormatOrder FormatType "
    "HEF HailoCommunicationClosedException HailoCpuId HailoFormatFlags HailoPowerMode HailoRTException "
    "HailoRTStreamAbortedByUser HailoSchedulingAlgorithm HailoStreamDirection HailoStreamInterface InferVStreams "
    "InputVStreamParams InputVStreams IspLightFrequency MeasurementBufferIndex MipiClockSelection MipiDataTypeRx "
    "MipiIspImageInOrder MipiIspImageOutDataType MipiPixelsPerClock OutputVStreamParams OutputVStreams PcieDevice "
    "PowerMeasurementTypes SamplingPeriod UDPRateLimiter VDevice join_drivers_path HailoSessionListener HailoSession"
)
"""`__all__` of the package, of each version what it has."""

_GENAI = _names("VDevice LLM VLM Speech2Text Speech2TextTask")


def contents() -> dict[str, dict[str, object]]:
    """Of the simulated version; the package itself is ""."""
    version = dict(zip(("MAJOR", "MINOR", "REVISION"), map(int, profile().version.split(".")), strict=True))
    constants = _CONSTANTS | {f"SUPPORTED_FW_{part}": number for part, number in version.items()}
    native_names, python = dict(NATIVE), _BORROWED | OWN | constants
    if profile().one_exception_tree:
        native_names["HailoRTException"] = errors.HailoRTException
        python |= unsupported.ADDED_IN_5_2 | {"DetectionWithByteMask": transform.DetectionWithByteMaskByOffset}
    top = (
        {name: python[name] for name in EXPORTED if name in python}
        | unsupported.TOP
        | _by_name(MissingPyHRTLib, _verify_pyhailort_lib_exists, join_drivers_path, os, pathlib, pprint, sys)
    )
    common = {
        "": top,
        "common.logger.logger": _by_name(logger.default_logger),
        "pyhailort._pyhailort": native_names,
        "pyhailort.pyhailort": python,
    }
    if profile().one_exception_tree:
        common["genai"] = {name: python[name] for name in _GENAI}
        gone = unsupported.REMOVED_IN_5_2
        return {
            path: {name: thing for name, thing in content.items() if name not in gone}
            for path, content in common.items()
        }
    hardware = {name: unsupported.TOP[name] for name in ("PcieDevice", "EthernetDevice")}
    measurement = _names(
        "AveragingFactor DvmTypes HailoPowerMeasurementUtils HailoRTException MeasurementBufferIndex "
        "PowerMeasurementTypes SamplingPeriod"
    )
    return common | {
        "drivers.control_object": {"Control": control.Control},
        "drivers.hailort.pyhailort": python,
        "drivers.hw_object": hardware,
        "pyhailort.control_object": {"Control": control.Control},
        "pyhailort.hailo_control_protocol": {
            name: thing for name, thing in python.items() if getattr(board, name, None) is thing
        },
        "pyhailort.hw_object": hardware,
        "pyhailort.power_measurement": {name: python[name] for name in measurement},
        "tools.udp_rate_limiter": {"UDPRateLimiter": unsupported.TOP["UDPRateLimiter"]},
    }
