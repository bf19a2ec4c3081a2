"""The simulated `hailo_platform` against recorded facts about the real one, HailoRT 4.23.0."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hailod import simulator

FACTS: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "hailo_platform_signatures.json").read_text())


def _names(text: str) -> set[str]:
    return set(text.split())


# Not there yet: the synchronous API, Ethernet, MIPI, firmware and board maintenance, diagnostics.
CLASSES_LEFT_OUT = _names(
    "ActivatedNetwork ActivatedNetworkContextManager ConfigureParams ConfiguredNetwork CoreInformation "
    "DetectionWithByteMask EmptyContextManager HailoFirmwareVersion HailoPowerMeasurementUtils HailoRTTransformUtils "
    "HailoSocket HailoUdpScan HealthInformation InferVStreams InputVStream InputVStreamParams InputVStreams "
    "InternalEthernetDevice InternalPcieDevice NetworkRateLimiter OutputLayerUtils OutputVStream OutputVStreamParams "
    "OutputVStreams PcieDebugLog PcieDeviceInfo SupportedFeatures TemperatureThrottlingLevel"
)
NAMES_LEFT_OUT = _names(
    "AveragingFactor ConfigureParams Endianness EthernetDevice InferVStreams InputVStreamParams InputVStreams "
    "IspLightFrequency MeasurementBufferIndex MipiClockSelection MipiDataTypeRx MipiIspImageInOrder "
    "MipiIspImageOutDataType MipiPixelsPerClock OutputVStreamParams OutputVStreams PcieDevice SamplingPeriod "
    "UDPRateLimiter join_drivers_path"
)
MEMBERS_LEFT_OUT = {
    "ConfiguredInferModel": {"NmsHailoTransformationInfo", "NmsTfTransformationInfo"},
    "Control": _names(
        "_create_c_i2c_slave _erase_user_config _examine_user_config _get_device_handle _get_health_information "
        "_get_overcurrent_state _set_overcurrent_state chip_reset core_identify firmware_update forced_soft_reset "
        "get_power_measurement get_sensor_sections_info get_throttling_state i2c_read i2c_write "
        "load_and_start_sensor nn_core_reset previous_system_state read_board_config read_memory read_register "
        "read_user_config reset_bit reset_sensor second_stage_update sensor_set_generic_i2c_slave set_bit "
        "set_fw_logger set_pause_frames set_power_measurement set_sensor_i2c_bus_index set_throttling_state "
        "soft_reset start_power_measurement stop_power_measurement store_isp_config store_sensor_config "
        "test_chip_memories wd_config wd_disable wd_enable write_board_config write_memory write_user_config"
    ),
    "Device": {"__del__", "_loaded_network_group", "read_log"},
    "HEF": _names(
        "_get_external_resources get_all_stream_infos get_input_stream_infos get_original_names_from_vstream_name "
        "get_output_stream_infos get_stream_names_from_vstream_name get_udp_rates_dict "
        "get_vstream_name_from_original_name get_vstream_names_from_stream_name"
    ),
    "VDevice": {"_loaded_network_group", "configure"},
}


@pytest.fixture(scope="module")
def platform() -> Iterator[ModuleType]:
    simulator.install(simulator.SimulatorOptions(serial="contract"))
    yield importlib.import_module("hailo_platform")
    simulator.uninstall()


@pytest.fixture(scope="module")
def python(platform: ModuleType) -> ModuleType:
    return importlib.import_module("hailo_platform.pyhailort.pyhailort")


@pytest.fixture(scope="module")
def native(platform: ModuleType) -> ModuleType:
    return importlib.import_module("hailo_platform.pyhailort._pyhailort")


def _parameters(signature: str) -> list[tuple[str, str, str]]:
    """(kind, name, default) of each parameter, annotations dropped; defaults as text."""
    body = re.sub(r"<[^<>]*>|dtype\([^()]*\)", lambda match: repr(match.group()), signature.partition(" -> ")[0])
    made: dict[str, Any] = {}
    exec(f"from __future__ import annotations\ndef function{body}: ...", made)
    return [
        (parameter.kind.name, parameter.name, _default(parameter.default))
        for parameter in inspect.signature(made["function"]).parameters.values()
    ]


def _default(value: object) -> str:
    return "" if value is inspect.Parameter.empty else str(value) if isinstance(value, str) else repr(value)


def _compare(cls: type, facts: dict[str, Any], left_out: set[str], path: str) -> Iterator[str]:
    """Every way in which a class differs from the facts about it."""
    for name, expected in facts["members"].items():
        where = f"{path}.{name}"
        raw = inspect.getattr_static(cls, name, None)
        if (raw is None) != (name in left_out):
            yield f"{where} is {'missing' if raw is None else 'there, but listed as left out'}"
        elif raw is None:
            continue
        elif isinstance(expected, dict):
            yield from _compare(raw, expected["class"], set(), where)
        elif expected == "property":
            if not isinstance(raw, property):
                yield f"{where} is no property"
        else:
            function = raw.__func__ if isinstance(raw, staticmethod | classmethod) else raw
            have = [
                (parameter.kind.name, parameter.name, _default(parameter.default))
                for parameter in inspect.signature(function).parameters.values()
            ]
            if have != _parameters(expected):
                yield f"{where}{expected}: got {have}"


@pytest.mark.parametrize("name", sorted(FACTS["classes"].keys() - CLASSES_LEFT_OUT))
def test_class_has_the_signatures_of_the_real_one(name: str, python: ModuleType) -> None:
    """A program that calls the real class can call the simulated one the same way."""
    differences = list(_compare(getattr(python, name), FACTS["classes"][name], MEMBERS_LEFT_OUT.get(name, set()), name))
    assert differences == []


def test_classes_left_out_are_listed(python: ModuleType) -> None:
    """What is not simulated yet is known, and no name of the list is there by now."""
    assert {name for name in FACTS["classes"] if not hasattr(python, name)} == CLASSES_LEFT_OUT


def test_top_level_names(platform: ModuleType) -> None:
    """`from hailo_platform import ...` works for every name but the listed ones."""
    assert {name for name in FACTS["top_level"] if not hasattr(platform, name)} == NAMES_LEFT_OUT
    assert platform.__version__ == FACTS["version"]


def test_import_paths_lead_to_the_same_classes(platform: ModuleType, python: ModuleType, native: ModuleType) -> None:
    """The four modules of the real package exist and share their classes."""
    assert platform.VDevice is python.VDevice
    assert platform.pyhailort.pyhailort is python
    assert platform.pyhailort._pyhailort is native is python._pyhailort
    assert platform.VDevice.__module__ == "hailo_platform.pyhailort.pyhailort"


@pytest.mark.parametrize("name", sorted(FACTS["exceptions"]))
def test_exception_tree(name: str, python: ModuleType) -> None:
    """Every exception exists with the bases of the real one, so that `except` clauses catch the same."""
    assert [base.__name__ for base in getattr(python, name).__mro__] == FACTS["exceptions"][name]


@pytest.mark.parametrize("name", sorted(FACTS["native_exceptions"]))
def test_native_exceptions_are_apart(name: str, python: ModuleType, native: ModuleType) -> None:
    """The binding's exceptions are no HailoRTException of the Python layer, as in 4.x."""
    thing = getattr(native, name)
    assert [base.__name__ for base in thing.__mro__] == FACTS["native_exceptions"][name]
    assert not issubclass(thing, python.HailoRTException)


@pytest.mark.parametrize("status", sorted(map(int, FACTS["statuses"])))
def test_status_becomes_its_exception(status: int, python: ModuleType, native: ModuleType) -> None:
    """Each status of libhailort is raised as the class and with the text of the real one, its number in the cause."""
    name, message = FACTS["statuses"][str(status)]
    if name is None:
        with pytest.raises(python.HailoStatusInvalidValueException):
            python.ExceptionWrapper.create_exception_from_status(status)
        return
    with pytest.raises(python.HailoRTException) as caught, python.ExceptionWrapper():
        raise native.HailoRTStatusException(status)
    assert (type(caught.value).__name__, str(caught.value)) == (name, message)
    assert str(caught.value.__cause__) == str(status)


@pytest.mark.parametrize("name", sorted(FACTS["enums"]))
def test_enum(name: str, native: ModuleType) -> None:
    """Every enum has the members and numbers of the real one."""
    enum = getattr(native, name)
    assert {member: int(value) for member, value in enum.__members__.items()} == FACTS["enums"][name]
    assert all(getattr(enum, member) == value for member, value in enum.__members__.items())


def test_enum_behaves_as_bound_in_c(platform: ModuleType) -> None:
    """An enum equals neither a number nor another enum of the same number, and its subclass shares its members."""
    assert platform.FormatType.UINT8 != 1
    assert platform.FormatType.UINT8 != platform.FormatOrder.NHWC
    assert platform.HailoSchedulingAlgorithm(1) == platform.HailoSchedulingAlgorithm.ROUND_ROBIN
    assert repr(platform.FormatOrder.NHWC) == "<FormatOrder.NHWC: 1>"


def test_create_params_defaults(platform: ModuleType) -> None:
    """Scheduling is off by default in 4.x, reads as a number and takes only the enum."""
    params = platform.VDevice.create_params()
    assert (params.device_ids, params.device_count, params.scheduling_algorithm) == ([], 1, 0)
    assert (params.group_id, params.multi_process_service) == ("UNIQUE", False)
    with pytest.raises(TypeError):
        params.scheduling_algorithm = 1
    params.scheduling_algorithm = platform.HailoSchedulingAlgorithm.ROUND_ROBIN
    assert params.scheduling_algorithm == 1
    params.device_ids = ["a", "b"]
    assert params.device_count == 2
