"""`VDevice`: ownership of the device, and what is configured on it."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from typing import Any, Literal

from hailod.simulator.chip.device import OpenDevice, Simulation, current
from hailod.simulator.chip.foreign import Native, block
from hailod.simulator.native import HailoRTStatusException, SchedulingAlgorithm, StreamInterface, profile
from hailod.simulator.networks.network import Network
from hailod.simulator.pyhailort import hef as hefs
from hailod.simulator.pyhailort import infer
from hailod.simulator.pyhailort.configured_network import ConfiguredNetwork
from hailod.simulator.pyhailort.control import Device, only
from hailod.simulator.pyhailort.errors import ExceptionWrapper, HailoRTException
from hailod.simulator.pyhailort.network_group import Configuration, ConfiguredNetworkGroup, batch_size_of
from hailod.simulator.pyhailort.params import ConfigureParams as NativeConfigureParams
from hailod.simulator.pyhailort.params import VDeviceParams

INVALID_ARGUMENT = 2
INVALID_OPERATION = 6
NOT_IMPLEMENTED = 7
OUT_OF_PHYSICAL_DEVICES = 74
RPC_FAILED = 77
NOT_SUPPORTED = 79

# Accelerators that run Linux of their own, which HailoRT 5 talks to by remote calls.
SOC_ACCELERATORS = ("hailo10h", "hailo15h", "hailo15m", "hailo15l")


class NativeVDevice(Native):
    """The open device, and whether a scheduler runs on it."""

    def __init__(self, simulation: Simulation, device: OpenDevice, scheduled: bool) -> None:
        self._simulation = simulation
        self._device = device
        self._scheduled = scheduled
        self._owner = os.getpid()
        self._groups: list[ConfiguredNetworkGroup] = []

    @staticmethod
    def create(params: VDeviceParams, device_ids: list[str]) -> NativeVDevice:
        """Open the device. Raises the status that libhailort returns when it cannot be had."""
        if device_ids and params.device_ids:
            raise HailoRTStatusException(INVALID_OPERATION)
        return NativeVDevice.create_from_ids(device_ids) if device_ids else _open(params)

    @staticmethod
    def create_from_ids(device_ids: list[str]) -> NativeVDevice:
        """In 4.x without a scheduler, whatever the parameters."""
        params = VDeviceParams.default()
        params.device_ids = device_ids
        if profile().ids_disable_scheduler:
            params.scheduling_algorithm = SchedulingAlgorithm.NONE
        return _open(params)

    def get_physical_devices_ids(self) -> list[str]:
        return [self._simulation.options.device_id]

    def create_infer_model_from_file(self, hef_path: str, name: str) -> infer.NativeInferModel:
        return self._infer_model(hef_path, name)

    def create_infer_model_from_buffer(self, buffer: bytes, name: str) -> infer.NativeInferModel:
        return self._infer_model(buffer, name)

    def _infer_model(self, source: str | bytes, name: str) -> infer.NativeInferModel:
        model = hefs.open_model(self._simulation, source)
        hefs.check_group(model, name)
        return infer.NativeInferModel(self._simulation, self._device, model, name, self._scheduled)

    def configure(
        self, hef: hefs.NativeHef, params_by_name: Mapping[str, NativeConfigureParams]
    ) -> list[ConfiguredNetworkGroup]:
        """Load the network groups that parameters name, all with none of them. Holds the GIL all the while."""
        simulation = self._simulation
        if profile().one_exception_tree and simulation.options.arch in SOC_ACCELERATORS:
            raise HailoRTStatusException(NOT_IMPLEMENTED)
        simulation.check_bus()
        networks = {network.info.name: network for network in hef.model.networks}
        if not params_by_name.keys() <= networks.keys():
            raise HailoRTStatusException(INVALID_ARGUMENT)
        wanted = dict(params_by_name) or dict.fromkeys(networks, NativeConfigureParams())
        configurations = [self._configuration(hef, networks[name], params) for name, params in wanted.items()]
        block(simulation.options.configure_s, holding_gil=True)
        groups = [ConfiguredNetworkGroup(simulation, self._device, each) for each in configurations]
        self._groups.extend(groups)
        return groups

    def _configuration(self, hef: hefs.NativeHef, network: Network, params: NativeConfigureParams) -> Configuration:
        simulation, info = self._simulation, network.info
        simulation.check_configure(info.name)
        infer.check_architecture(simulation, info.arch)
        interfaces = {stream.stream_interface for stream in params.stream_params_by_name.values()}
        if not interfaces <= {StreamInterface.PCIe}:
            raise HailoRTStatusException(INVALID_OPERATION)
        batch = batch_size_of(params)
        if batch > infer.MAX_BATCH:
            raise HailoRTStatusException(INVALID_ARGUMENT)
        queue = infer.queue_size(simulation, batch, info.transferred)
        return Configuration(network, hef, batch, queue, self._scheduled)

    def release(self) -> None:
        # A forked copy owns nothing.
        if self._interpreter_ends() or os.getpid() != self._owner:
            return
        for group in self._groups:
            group.close()
        self._groups.clear()
        self._simulation.close_device(self._device)


def _open(params: VDeviceParams) -> NativeVDevice:
    if params.device_count == 0:
        raise HailoRTStatusException(INVALID_ARGUMENT)
    scheduled = params.scheduling_algorithm == int(SchedulingAlgorithm.ROUND_ROBIN)
    simulation = current()
    if params.multi_process_service:
        if not simulation.options.multi_process_build:
            raise HailoRTStatusException(INVALID_OPERATION)
        # Built in, but no service runs.
        raise HailoRTStatusException(RPC_FAILED if scheduled else INVALID_ARGUMENT)
    if simulation.options.arch == "hailo10h" and not profile().one_exception_tree:
        raise HailoRTStatusException(NOT_SUPPORTED)
    if params.device_count > 1:
        # One chip is simulated; an 8L is never joined with others.
        joined = simulation.options.arch != "hailo8l"
        raise HailoRTStatusException(OUT_OF_PHYSICAL_DEVICES if joined else INVALID_OPERATION)
    device = simulation.open_device(params.device_ids, params.group_id)
    block(simulation.options.open_s, holding_gil=True)
    return NativeVDevice(simulation, device, scheduled)


class VDevice:
    """Ownership of the device, from construction to `release()`. In 4.x without the scheduler unless `params` ask."""

    def __init__(self, params: VDeviceParams | None = None, *, device_ids: list[str] | None = None) -> None:
        gc.collect()
        # Known to __del__ even when the rest fails.
        self._vdevice: Any = None
        self._id = "VDevice"
        self._params = params
        self._device_ids = device_ids
        self._loaded_network_groups: list[ConfiguredNetwork] = []
        self._creation_pid = os.getpid()
        self._open_vdevice()

    def _open_vdevice(self) -> None:
        if self._params is None:
            self._params = self.create_params()
        with ExceptionWrapper():
            self._vdevice = NativeVDevice.create(self._params, list(self._device_ids or ()))

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

    def configure(
        self,
        hef: hefs.HEF,
        configure_params_by_name: Mapping[str, NativeConfigureParams] = {},
    ) -> list[ConfiguredNetwork]:
        """Load a HEF's network groups, for the synchronous API."""
        if self._creation_pid != os.getpid():
            raise HailoRTException("VDevice can only be configured from the process it was created in.")
        with ExceptionWrapper():
            groups = self._vdevice.configure(hef._hef, configure_params_by_name)
        configured = [ConfiguredNetwork(group) for group in groups]
        self._loaded_network_groups.extend(configured)
        return configured

    def create_infer_model(self, hef_source: str | bytes, name: str = "") -> infer.InferModel:
        if self._creation_pid != os.getpid():
            raise HailoRTException("InferModel can be created only from the process VDevice was created in.")
        if not isinstance(hef_source, str | bytes):
            raise TypeError(f"create_infer_model(): incompatible function arguments. Invoked with: {hef_source!r}")
        with ExceptionWrapper():
            if isinstance(hef_source, bytes):
                model = self._vdevice.create_infer_model_from_buffer(hef_source, name)
            else:
                model = self._vdevice.create_infer_model_from_file(hef_source, name)
        return infer.InferModel(model, hef_source)

    def get_physical_devices(self) -> list[Device]:
        """New Device objects for the chips of this VDevice."""
        return [Device(device_id) for device_id in self.get_physical_devices_ids()]

    def get_physical_devices_ids(self) -> list[str]:
        with ExceptionWrapper():
            ids: list[str] = self._vdevice.get_physical_devices_ids()
            return ids

    @property
    def loaded_network_groups(self) -> list[ConfiguredNetwork]:
        return self._loaded_network_groups

    @property
    def _loaded_network_group(self) -> Any:
        return only(self._loaded_network_groups)
