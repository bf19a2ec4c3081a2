"""`VDevice`, and the modules that together are `hailo_platform`."""

from __future__ import annotations

import gc
import os
import sys
from types import ModuleType
from typing import Any, Literal

from hailod.simulator import configured, control, hef, infer, native
from hailod.simulator.device import OpenDevice, Simulation, current
from hailod.simulator.errors import EXCEPTIONS, ExceptionWrapper, HailoRTException
from hailod.simulator.native import ENUMS, VERSION, HailoRTStatusException, SchedulingAlgorithm, VDeviceParams

INVALID_ARGUMENT = 2
INVALID_OPERATION = 6
NOT_IMPLEMENTED = 7
UNIQUE_GROUP = "UNIQUE"


class NativeVDevice:
    """The open device, and whether a scheduler runs on it."""

    def __init__(self, simulation: Simulation, device: OpenDevice, scheduled: bool) -> None:
        self._simulation = simulation
        self._device = device
        self._scheduled = scheduled

    def create_infer_model(self, source: str | bytes, name: str) -> infer.NativeInferModel:
        network = hef.open_network(self._simulation, source)
        if name not in ("", network.info.name):
            raise HailoRTStatusException(NOT_IMPLEMENTED)
        return infer.NativeInferModel(self._simulation, self._device, network, self._scheduled)

    def release(self) -> None:
        self._simulation.close_device(self._device)


class VDevice:
    """Ownership of the device, from construction to `release()`. Without the scheduler unless `params` ask for it."""

    def __init__(self, params: VDeviceParams | None = None, *, device_ids: list[str] | None = None) -> None:
        gc.collect()
        self._creation_pid = os.getpid()
        self._vdevice: Any = None
        self._params = params
        self._device_ids = device_ids
        self._open_vdevice()

    def _open_vdevice(self) -> None:
        params = self._params or VDeviceParams.default()
        with ExceptionWrapper():
            if self._device_ids is not None and params.device_ids:
                raise HailoRTStatusException(INVALID_OPERATION)
            if params.device_count == 0:
                raise HailoRTStatusException(INVALID_ARGUMENT)
            scheduled = params.scheduling_algorithm == int(SchedulingAlgorithm.ROUND_ROBIN)
            if params.multi_process_service:
                raise HailoRTStatusException(INVALID_OPERATION if scheduled else INVALID_ARGUMENT)
            simulation = current()
            # Ids given beside the params disregard them, scheduler and group included.
            ids, group = params.device_ids, params.group_id
            if self._device_ids is not None:
                ids, group, scheduled = list(self._device_ids), UNIQUE_GROUP, False
            self._vdevice = NativeVDevice(simulation, simulation.open_device(ids, group), scheduled)

    def __enter__(self) -> VDevice:
        return self

    def __exit__(self, *args: object) -> Literal[False]:
        self.release()
        return False

    def __del__(self) -> None:
        self.release()

    @staticmethod
    def create_params() -> VDeviceParams:
        return VDeviceParams.default()

    def release(self) -> None:
        """Give the device up; harmless when done before. What was created on it must be gone by then."""
        if self._vdevice is not None:
            self._vdevice.release()
            self._vdevice = None

    def create_infer_model(self, hef_source: str | bytes, name: str = "") -> infer.InferModel:
        if self._creation_pid != os.getpid():
            raise HailoRTException("InferModel can be created only from the process VDevice was created in.")
        if not isinstance(hef_source, str | bytes):
            raise TypeError(f"create_infer_model(): incompatible function arguments. Invoked with: {hef_source!r}")
        with ExceptionWrapper():
            return infer.InferModel(self._vdevice.create_infer_model(hef_source, name), hef_source)

    def get_physical_devices(self) -> list[control.Device]:
        """New Device objects for the chips of this VDevice."""
        return [control.Device(device_id) for device_id in self.get_physical_devices_ids()]

    def get_physical_devices_ids(self) -> list[str]:
        return [current().options.device_id]

    @property
    def loaded_network_groups(self) -> list[object]:
        return []


_SUBCLASSED = {
    "HailoSchedulingAlgorithm": "SchedulingAlgorithm",
    "HailoFormatFlags": "FormatFlags",
    "HailoPowerMode": "PowerMode",
    "HailoCpuId": "CpuId",
    "HailoStreamDirection": "StreamDirection",
    "HailoStreamInterface": "StreamInterface",
}

_NATIVE: dict[str, object] = ENUMS | {
    thing.__name__: thing
    for thing in (
        native.HailoRTException,
        native.HailoRTCustomException,
        native.HailoRTStatusException,
        native.HailoFormat,
        native.QuantInfo,
        native.NmsShape,
        native.NetworkGroupInfo,
        native.TemperatureInfo,
        native.FirmwareVersion,
        native.VStreamInfo,
        native.VDeviceParams,
        native.get_status_message,
    )
}

_PYTHON: dict[str, object] = (
    EXCEPTIONS
    | {name: type(name, (ENUMS[base],), {}) for name, base in _SUBCLASSED.items()}
    | {
        thing.__name__: thing
        for thing in (
            VDevice,
            ExceptionWrapper,
            hef.HEF,
            infer.InferModel,
            configured.ConfiguredInferModel,
            configured.AsyncInferCompletionInfo,
            configured.AsyncInferJob,
            configured.Detection,
            control.Device,
            control.Control,
            control.BoardInformation,
            control.ExtendedDeviceInformation,
            control.DeviceArchitectureTypes,
        )
    }
    | {
        name: ENUMS[name]
        for name in ("FormatOrder", "FormatType", "DvmTypes", "PowerMeasurementTypes", "NotificationId")
    }
    | {"BBOX_PARAMS": 5, "HAILO_UNIQUE_VDEVICE_GROUP_ID": UNIQUE_GROUP}
)

_TOP = (
    "AsyncInferJob",
    "Device",
    "DvmTypes",
    "FormatOrder",
    "FormatType",
    "HEF",
    "HailoCommunicationClosedException",
    "HailoCpuId",
    "HailoFormatFlags",
    "HailoPowerMode",
    "HailoRTException",
    "HailoRTStreamAbortedByUser",
    "HailoSchedulingAlgorithm",
    "HailoStreamDirection",
    "HailoStreamInterface",
    "PowerMeasurementTypes",
    "VDevice",
)

PACKAGE = "hailo_platform"
LAYERS = (PACKAGE, f"{PACKAGE}.pyhailort", f"{PACKAGE}.pyhailort.pyhailort", f"{PACKAGE}.pyhailort._pyhailort")


def build() -> dict[str, ModuleType]:
    """The modules by their full names, as the real package has them."""
    top, package, python, binding = (ModuleType(name) for name in LAYERS)
    _fill(binding, _NATIVE, own=_NATIVE)
    _fill(python, _PYTHON, own={name: thing for name, thing in _PYTHON.items() if name not in ENUMS})
    _fill(top, {name: _PYTHON[name] for name in _TOP}, own={})
    for parent, child in ((top, package), (package, python), (package, binding)):
        parent.__path__ = []
        setattr(parent, child.__name__.rpartition(".")[2], child)
    vars(python)["_pyhailort"] = vars(top)["_pyhailort"] = binding
    vars(top).update(__version__=VERSION, __all__=list(_TOP))
    vars(binding)["__version__"] = VERSION
    return {module.__name__: module for module in (top, package, python, binding)}


def _fill(module: ModuleType, contents: dict[str, object], *, own: dict[str, object]) -> None:
    vars(module).update(contents)
    for thing in own.values():
        if isinstance(thing, type):
            thing.__module__ = module.__name__


def publish() -> None:
    """Make `import hailo_platform` find the simulated one. RuntimeError when the real one was imported before."""
    loaded = sys.modules.get(PACKAGE)
    if loaded is not None and not is_ours(loaded):
        raise RuntimeError("the real hailo_platform is imported already")
    modules = build()
    vars(modules[PACKAGE])["_simulated"] = True
    sys.modules.update(modules)


def withdraw() -> None:
    """Forget the simulated modules; the real ones stay."""
    loaded = sys.modules.get(PACKAGE)
    if loaded is not None and is_ours(loaded):
        for name in LAYERS:
            sys.modules.pop(name, None)


def is_ours(module: ModuleType) -> bool:
    """Whether a `hailo_platform` is the simulated one."""
    return bool(getattr(module, "_simulated", False))
