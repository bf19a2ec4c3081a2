"""The simulated `hailo_platform` against recorded facts about the real one, HailoRT 4.23.0, entry by entry."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from hailod import simulator
from tests.contract.signatures import (
    RECORDED,
    Compared,
    compare_class,
    compare_native_class,
    compare_values,
    derive,
    facts,
)

FACTS = facts()

# Classes of the binding without counterpart: they exist, cannot be made, and their members are not compared.
NATIVE_LEFT_OUT = {
    "EthInputStreamParams": "Ethernet",
    "EthOutputStreamParams": "Ethernet",
    "NetworkRateLimiter": "Ethernet",
    "UdpScan": "Ethernet",
    "sockaddr_in": "Ethernet",
    "MipiCommonParams": "MIPI",
    "MipiInputStreamParams": "MIPI",
    "MipiIspParams": "MIPI",
    "I2CSlaveConfig": "I2C",
    "PcieScan": "deprecated classes of the bus",
}

# What has the real signature and refuses with HAILO_NOT_SUPPORTED when it is used.
REFUSED_CONSTRUCTORS = {
    "HailoUdpScan": "Ethernet",
    "NetworkRateLimiter": "Ethernet",
    "InternalEthernetDevice": "Ethernet",
    "EthernetDevice": "Ethernet",
    "UDPRateLimiter": "Ethernet",
    "InternalPcieDevice": "deprecated classes of the bus",
    "PcieDebugLog": "deprecated classes of the bus",
    "PcieDevice": "deprecated classes of the bus",
}
REFUSED_CONTROLS = {
    "firmware and flash": (
        "firmware_update second_stage_update _examine_user_config read_user_config write_user_config "
        "_erase_user_config read_board_config write_board_config"
    ),
    "I2C and sensors": (
        "i2c_read i2c_write store_sensor_config store_isp_config get_sensor_sections_info "
        "sensor_set_generic_i2c_slave set_sensor_i2c_bus_index load_and_start_sensor reset_sensor"
    ),
    "raw memory": "read_memory write_memory read_register set_bit reset_bit",
    "watchdogs": "wd_enable wd_disable wd_config",
    "Ethernet": "set_pause_frames",
}


@dataclass(frozen=True, slots=True)
class Modules:
    """The three modules that programs import."""

    top: ModuleType
    python: ModuleType
    native: ModuleType


@pytest.fixture(scope="module")
def modules() -> Iterator[Modules]:
    simulator.install(simulator.SimulatorOptions(serial="contract"))
    top = importlib.import_module("hailo_platform")
    python = importlib.import_module("hailo_platform.pyhailort.pyhailort")
    native = importlib.import_module("hailo_platform.pyhailort._pyhailort")
    yield Modules(top, python, native)
    simulator.uninstall()


def python_classes(modules: Modules) -> Iterator[Compared]:
    for name, cls in FACTS["classes"].items():
        found = getattr(modules.python, name)
        bases = [f"{base.__module__}.{base.__qualname__}" for base in found.__bases__]
        yield Compared(f"{name} bases", None if bases == cls["bases"] else f"{bases}")
        yield from compare_class(found, cls["members"], name)


def native_classes(modules: Modules) -> Iterator[Compared]:
    for name, members in FACTS["native_classes"].items():
        if name not in NATIVE_LEFT_OUT:
            yield from compare_native_class(getattr(modules.native, name), members, f"_pyhailort.{name}")


def native_functions(modules: Modules) -> Iterator[Compared]:
    for name, count in FACTS["native_functions"].items():
        have = len(inspect.signature(getattr(modules.native, name)).parameters)
        yield Compared(f"_pyhailort.{name}", None if have == count else f"{have} parameters instead of {count}")


def exceptions(modules: Modules) -> Iterator[Compared]:
    for module, group in ((modules.python, "exceptions"), (modules.native, "native_exceptions")):
        for name, mro in FACTS[group].items():
            have = [base.__name__ for base in getattr(module, name).__mro__]
            yield Compared(name, None if have == mro else f"{have} instead of {mro}")


def enums(modules: Modules) -> Iterator[Compared]:
    for name, members in FACTS["enums"].items():
        enum = getattr(modules.native, name)
        have = {member: int(value) for member, value in enum.__members__.items()}
        same = have == members and all(getattr(enum, member) == value for member, value in enum.__members__.items())
        yield Compared(f"_pyhailort.{name}", None if same else f"{have} instead of {members}")
    for name, members in FACTS["python_enums"].items():
        have = {member.name: member.value for member in getattr(modules.python, name)}
        yield Compared(name, None if have == members else f"{have} instead of {members}")


def constants(modules: Modules) -> Iterator[Compared]:
    yield from compare_values(modules.python, FACTS["constants"], "pyhailort")


def statuses(modules: Modules) -> Iterator[Compared]:
    for number, (name, exception, message) in FACTS["statuses"].items():
        have = modules.native.get_status_message(int(number))
        if exception is None:
            yield Compared(f"status {number}", None if have == name else have)
            continue
        raised = modules.python.ExceptionWrapper.create_exception_from_status(int(number))
        got = (have, type(raised).__name__, str(raised))
        yield Compared(f"status {number}", None if got == (name, exception, message) else f"{got}")


def exported_names(modules: Modules) -> Iterator[Compared]:
    for name in FACTS["top_level_dir"]:
        yield Compared(f"hailo_platform.{name}", None if hasattr(modules.top, name) else "missing")
    have = sorted(modules.top.__all__)
    yield Compared("hailo_platform.__all__", None if have == FACTS["top_level"] else f"{have}")
    have_version = modules.top.__version__
    yield Compared("hailo_platform.__version__", None if have_version == FACTS["version"] else have_version)


GROUPS: tuple[Callable[[Modules], Iterator[Compared]], ...] = (
    python_classes,
    native_classes,
    native_functions,
    exceptions,
    enums,
    constants,
    statuses,
    exported_names,
)


COUNTED = [
    "native_functions",
    "exceptions",
    "native_exceptions",
    "enums",
    "python_enums",
    "constants",
    "statuses",
    "top_level_dir",
]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_nothing_differs(group: Callable[[Modules], Iterator[Compared]], modules: Modules) -> None:
    """Every entry of the contract that is not left out on purpose is there and is the same."""
    assert [each for each in group(modules) if each.difference is not None] == []


def test_every_entry_is_compared_or_left_out(modules: Modules, record_property: Callable[[str, object], None]) -> None:
    """No entry of the contract is lost: those compared and those left out are all there are."""
    compared = [each for group in GROUPS for each in group(modules)]
    matched = sum(each.difference is None for each in compared)
    left_out = sum(len(FACTS["native_classes"][name]) for name in NATIVE_LEFT_OUT)
    unconstructible = sum(
        members.get("__init__") == "wrapper_descriptor"
        for name, members in FACTS["native_classes"].items()
        if name not in NATIVE_LEFT_OUT
    )
    entries = (
        sum(1 + _leaves(cls["members"]) for cls in FACTS["classes"].values())
        + sum(len(members) for members in FACTS["native_classes"].values())
        + sum(len(FACTS[group]) for group in COUNTED)
        # And `__all__` and `__version__`.
        + 2
    )
    print(f"{entries} entries: {len(compared)} compared, {matched} matched, {left_out} left out on purpose, ", end="")
    print(f"{unconstructible} constructors that the binding does not have")
    record_property("compared", len(compared))
    record_property("matched", matched)
    record_property("left_out", left_out)
    assert len(compared) + left_out + unconstructible == entries
    assert matched == len(compared)


def _leaves(members: dict[str, Any]) -> int:
    return sum(
        _leaves(each["members"]) if isinstance(each, dict) and "members" in each else 1 for each in members.values()
    )


def test_the_facts_are_those_recorded() -> None:
    """The facts in this repository are what a recording of the real modules says."""
    if not RECORDED.exists():
        pytest.skip("the recording lies beside the repository")
    assert facts() == derive(json.loads(RECORDED.read_text("utf-8")))


# -- what is left out says so ------------------------------------------------------------------------------------------


def refusal(modules: Modules, function: Callable[..., object], arguments: list[object]) -> None:
    with pytest.raises(modules.python.HailoRTException, match=r"79 \(HAILO_NOT_SUPPORTED\)") as caught:
        function(*arguments)
    assert str(caught.value.__cause__) == "79"


def _arguments(function: Callable[..., object]) -> list[object]:
    needed = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is inspect.Parameter.empty and parameter.name != "self"
    ]
    # Contents have a length; all else may be a number.
    contents = ("configuration", "data", "data_buffer", "firmware_binary", "second_stage_binary")
    return [b"" if parameter.name in contents else 1 for parameter in needed]


@pytest.mark.parametrize("name", sorted(REFUSED_CONSTRUCTORS))
def test_a_class_that_is_left_out_refuses(name: str, modules: Modules) -> None:
    """It can be imported; making one says that it is not supported."""
    cls = getattr(modules.python, name, None) or getattr(modules.top, name)
    refusal(modules, cls, _arguments(cls.__init__))


@pytest.mark.parametrize("name", " ".join(REFUSED_CONTROLS.values()).split())
def test_a_control_that_is_left_out_refuses(name: str, modules: Modules) -> None:
    """Maintenance of the board is not simulated, and says so."""
    with modules.top.Device() as device:
        function = getattr(device.control, name)
        refusal(modules, function, _arguments(function))


def test_binding_classes_left_out_cannot_be_made(modules: Modules) -> None:
    """A class of the binding that is left out exists, and refuses."""
    for name in NATIVE_LEFT_OUT:
        refusal(modules, getattr(modules.native, name), [])


def test_mipi_inputs_are_refused(modules: Modules) -> None:
    """No camera is connected to the chip itself."""
    create = modules.top.ConfigureParams.create_mipi_inputs_from_hef
    refusal(modules, create, [None, modules.top.HailoStreamInterface.PCIe])


# -- what a list of names cannot tell ----------------------------------------------------------------------------------


def test_import_paths_lead_to_the_same_classes(modules: Modules) -> None:
    """The modules of the real package exist and share their classes."""
    assert modules.top.VDevice is modules.python.VDevice
    assert modules.top.pyhailort.pyhailort is modules.python
    assert modules.top.pyhailort._pyhailort is modules.native is modules.python._pyhailort is modules.top._pyhailort
    assert modules.top.VDevice.__module__ == "hailo_platform.pyhailort.pyhailort"
    assert modules.top.FormatType.__module__ == "hailo_platform.pyhailort._pyhailort"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("hailo_platform.drivers.hailort.pyhailort", "HEF"),
        ("hailo_platform.drivers.hw_object", "PcieDevice"),
        ("hailo_platform.pyhailort.hw_object", "PcieDevice"),
        ("hailo_platform.pyhailort.control_object", "Control"),
        ("hailo_platform.pyhailort.power_measurement", "SamplingPeriod"),
        ("hailo_platform.pyhailort.hailo_control_protocol", "BoardInformation"),
        ("hailo_platform.tools.udp_rate_limiter", "UDPRateLimiter"),
        ("hailo_platform.common.logger.logger", "default_logger"),
    ],
)
def test_old_import_paths(module: str, name: str, modules: Modules) -> None:
    """Programs of earlier versions find what they import where they import it."""
    assert hasattr(importlib.import_module(module), name)
    assert importlib.util.find_spec(module) is not None


@pytest.mark.parametrize("name", sorted(FACTS["native_exceptions"]))
def test_native_exceptions_are_apart(name: str, modules: Modules) -> None:
    """The binding's exceptions are no HailoRTException of the Python layer, as in 4.x."""
    assert not issubclass(getattr(modules.native, name), modules.python.HailoRTException)


def test_a_wrapped_status_keeps_its_number(modules: Modules) -> None:
    """The exception that stands for a status has the status as its cause, in text."""
    with pytest.raises(modules.python.HailoRTStreamAborted) as caught, modules.python.ExceptionWrapper():
        raise modules.native.HailoRTStatusException("63")
    assert str(caught.value.__cause__) == "63"
    with pytest.raises(modules.python.HailoStatusInvalidValueException):
        modules.python.ExceptionWrapper.create_exception_from_status(999)


def test_enum_behaves_as_bound_in_c(modules: Modules) -> None:
    """An enum equals neither a number nor another enum of the same number, and its subclass shares its members."""
    top = modules.top
    assert top.FormatType.UINT8 != 1
    assert top.FormatType.UINT8 != top.FormatOrder.NHWC
    assert top.HailoSchedulingAlgorithm(1) == top.HailoSchedulingAlgorithm.ROUND_ROBIN
    assert repr(top.FormatOrder.NHWC) == "<FormatOrder.NHWC: 1>"


def test_create_params_defaults(modules: Modules) -> None:
    """Scheduling is off by default in 4.x, reads as a number and takes only the enum."""
    params = modules.top.VDevice.create_params()
    assert (params.device_ids, params.device_count, params.scheduling_algorithm) == ([], 1, 0)
    assert (params.group_id, params.multi_process_service) == ("UNIQUE", False)
    with pytest.raises(TypeError):
        params.scheduling_algorithm = 1
    params.scheduling_algorithm = modules.top.HailoSchedulingAlgorithm.ROUND_ROBIN
    assert params.scheduling_algorithm == 1
    params.device_ids = ["a", "b"]
    assert params.device_count == 2
