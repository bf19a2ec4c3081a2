"""What differs when HailoRT 5.2 is simulated."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hailod import simulator
from hailod.simulator import SimulatorOptions
from tests.contract.signatures import facts
from tests.support.simulated import SCRIPT
from tests.support.synchronous import status_of

GONE = [
    "EthernetDevice",
    "IspLightFrequency",
    "MipiClockSelection",
    "MipiDataTypeRx",
    "MipiIspImageInOrder",
    "MipiIspImageOutDataType",
    "MipiPixelsPerClock",
    "PcieDevice",
    "UDPRateLimiter",
]


@pytest.fixture
def hailo() -> Iterator[ModuleType]:
    simulator.install(
        SimulatorOptions(serial=f"profile-{os.getpid()}", profile="5.2", arch="hailo10h", configure_s=0.0)
    )
    yield importlib.import_module("hailo_platform")
    simulator.uninstall()


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "tiny.sim.toml"
    path.write_text(SCRIPT.format(frame_ms=0, outputs="nms_by_class"))
    return str(path)


def native(hailo: ModuleType) -> Any:
    return hailo.pyhailort._pyhailort


def test_one_tree_of_exceptions(hailo: ModuleType) -> None:
    """The binding's exceptions are HailoRTExceptions; UdpRecvError is gone."""
    python = hailo.pyhailort.pyhailort
    assert hailo.HailoRTException is python.HailoRTException is native(hailo).HailoRTException
    for name in ("HailoRTStatusException", "HailoRTCustomException"):
        names = [base.__name__ for base in getattr(native(hailo), name).__mro__]
        assert names == [name, "HailoRTException", "Exception", "BaseException", "object"]
    with pytest.raises(hailo.HailoRTException):
        hailo.Device("nonsense")
    assert not hasattr(python, "UdpRecvError")


def test_names_that_are_gone_and_new(hailo: ModuleType) -> None:
    """Ethernet, MIPI and the deprecated devices are no more; sessions and language models exist and refuse."""
    assert hailo.__version__ == native(hailo).__version__ == "5.2.0"
    assert [name for name in GONE if hasattr(hailo, name)] == []
    assert sorted(hailo.__all__) == sorted({*facts()["top_level"]} - {*GONE} | {"HailoSession", "HailoSessionListener"})
    for path in ("hailo_platform.drivers.hw_object", "hailo_platform.tools", "hailo_platform.pyhailort.hw_object"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(path)
    genai = importlib.import_module("hailo_platform.genai")
    for refused in (
        lambda: genai.LLM(None, "llm.hef"),
        lambda: genai.VLM(None, "vlm.hef"),
        lambda: genai.Speech2Text(None, "whisper.hef"),
        lambda: hailo.HailoSession.connect(1),
        lambda: hailo.HailoSessionListener(1),
    ):
        with pytest.raises(hailo.HailoRTException, match="HAILO_NOT_SUPPORTED"):
            refused()


def test_new_statuses(hailo: ModuleType) -> None:
    """94 to 97 have names; they are HailoRTExceptions with the number and the name."""
    for number, name in (
        (94, "HAILO_INVALID_HEF_USE"),
        (95, "HAILO_OPERATION_ABORTED"),
        (96, "HAILO_DEVICE_NOT_CONNECTED"),
        (97, "HAILO_DEVICE_TEMPORARILY_UNAVAILABLE"),
    ):
        assert native(hailo).get_status_message(number) == name
        raised = hailo.pyhailort.pyhailort.ExceptionWrapper.create_exception_from_status(number)
        assert str(raised) == f"libhailort failed with error: {number} ({name})"


def test_statuses_end_at_93_in_4_23() -> None:
    """Before 5.0 they are no statuses, and the exceptions of the binding stand apart."""
    simulator.install(SimulatorOptions(serial=f"profile-{os.getpid()}"))
    try:
        hailo = importlib.import_module("hailo_platform")
        assert native(hailo).get_status_message(94) == ""
        with pytest.raises(hailo.pyhailort.pyhailort.HailoStatusInvalidValueException):
            hailo.pyhailort.pyhailort.ExceptionWrapper.create_exception_from_status(94)
        assert not issubclass(native(hailo).HailoRTStatusException, hailo.HailoRTException)
    finally:
        simulator.uninstall()


def test_the_scheduler_is_on(hailo: ModuleType, model: str) -> None:
    """By default, and with ids beside the parameters, too: activation is refused."""
    assert hailo.VDevice.create_params().scheduling_algorithm == 1
    for arguments in ({}, {"device_ids": hailo.Device.scan()}):
        with hailo.VDevice(**arguments) as vdevice:
            configured = vdevice.create_infer_model(model).configure()
            with configured, pytest.raises(hailo.pyhailort.pyhailort.HailoRTInvalidOperationException):
                configured.activate()


def test_the_synchronous_api_is_not_implemented(hailo: ModuleType, model: str) -> None:
    """An accelerator with a Linux of its own takes InferModels only."""
    with hailo.VDevice() as vdevice, pytest.raises(hailo.HailoRTException) as caught:
        vdevice.configure(hailo.HEF(model))
    assert status_of(caught.value) == 7


def test_masks_are_found_by_offset(hailo: ModuleType) -> None:
    """A detection with a mask is made of the buffer and the record."""
    cls = hailo.pyhailort.pyhailort.DetectionWithByteMask
    assert list(inspect.signature(cls.__init__).parameters) == ["self", "raw_output_buffer", "detection"]
    assert cls.__name__ == "DetectionWithByteMask"


def test_the_firmware_is_of_the_same_version(hailo: ModuleType) -> None:
    """A Hailo-10H identifies itself with firmware 5.2.0."""
    with hailo.Device() as device:
        identity = device.control.identify()
    assert (str(identity.device_architecture), str(identity.firmware_version)) == ("HAILO10H", "5.2.0 (release,app)")


def test_a_hailo_10h_needs_5_x() -> None:
    """HailoRT 4.x does not support it."""
    simulator.install(SimulatorOptions(serial=f"profile-{os.getpid()}", arch="hailo10h"))
    try:
        hailo = importlib.import_module("hailo_platform")
        with pytest.raises(hailo.HailoRTException) as caught:
            hailo.VDevice()
        assert status_of(caught.value) == 79
    finally:
        simulator.uninstall()
