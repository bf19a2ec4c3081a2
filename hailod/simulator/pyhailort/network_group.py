"""`_pyhailort.ConfiguredNetworkGroup`: a network group on the device, for the synchronous API.

It knows its streams in every process that has it by fork; only the one that made it activates and ends it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hailod.simulator.chip.device import OpenDevice, Simulation
from hailod.simulator.chip.pipeline import Pipeline
from hailod.simulator.native import (
    HailoRTStatusException,
    NativeEnum,
    StreamInfo,
    StreamInterface,
    VStreamInfo,
)
from hailod.simulator.networks.network import HefInfo, Network, NmsSettings, Program
from hailod.simulator.pyhailort.hef import NativeHef
from hailod.simulator.pyhailort.native_vstreams import NativeInputVStreams, NativeOutputVStreams
from hailod.simulator.pyhailort.params import ActivateNetworkGroupParams, ConfigureParams, VStreamParams
from hailod.simulator.pyhailort.rings import Ring, deliver, ready
from hailod.simulator.pyhailort.shared_settings import SharedSettings
from hailod.simulator.pyhailort.shuttle import Shuttle
from hailod.simulator.pyhailort.unsupported import refuse
from hailod.types import U8, TensorInfo

TIMEOUT = 4
INVALID_OPERATION = 6
NOT_IMPLEMENTED = 7
INTERNAL_FAILURE = 8
NETWORK_GROUP_NOT_ACTIVATED = 69


@dataclass(frozen=True, slots=True, eq=False)
class Configuration:
    """What a network group is configured with."""

    network: Network
    hef: NativeHef
    batch_size: int
    queue_size: int
    scheduled: bool


class _Resettled:
    """A program that follows the settings of its NMS."""

    def __init__(self, network: Network, settings: SharedSettings | None) -> None:
        self._network = network
        self._shared = settings
        self._compiled_for: tuple[tuple[TensorInfo, ...], NmsSettings | None] | None = None
        self._program: Program | None = None

    def __call__(self, inputs: Sequence[U8]) -> Sequence[U8]:
        info, shared = self._network.info, self._shared
        outputs = tuple(shared.apply(tensor) for tensor in info.outputs) if shared else info.outputs
        wanted = (outputs, shared.read() if shared else None)
        if self._program is None or wanted != self._compiled_for:
            self._compiled_for = wanted
            self._program = self._network.compile(info.inputs, *wanted)
        return self._program(inputs)


class ConfiguredNetworkGroup:
    """Made by `VDevice.configure`, which keeps it; once that is released every call fails with INTERNAL_FAILURE."""

    def __init__(self, simulation: Simulation, device: OpenDevice, configuration: Configuration) -> None:
        info = configuration.network.info
        self.info = info
        self.settings = _shared_settings(info)
        self.scheduled = configuration.scheduled
        self.multi_context = info.multi_context
        self.batch_size = configuration.batch_size
        self._configuration = configuration
        self._simulation = simulation
        self._device = device
        self._owner = os.getpid()
        outputs = [self.settings.roomiest(tensor) if self.settings else tensor for tensor in info.outputs]
        places = configuration.queue_size
        self._shuttle: Shuttle | None = Shuttle(
            [Ring(places, tensor.nbytes) for tensor in info.inputs], [Ring(places, tensor.nbytes) for tensor in outputs]
        )
        self._program = _Resettled(configuration.network, self.settings)
        if self.scheduled:
            self._start()

    @property
    def shuttle(self) -> Shuttle:
        """How frames come and go. Raises INTERNAL_FAILURE once the VDevice is released."""
        if self._shuttle is None:
            raise HailoRTStatusException(INTERNAL_FAILURE)
        return self._shuttle

    def _start(self) -> None:
        configuration = self._configuration
        pipeline = Pipeline(
            self._simulation,
            self._device,
            self.info,
            self._program,
            batch_size=configuration.batch_size,
            queue_size=configuration.queue_size,
            deliver=deliver,
        )
        pipeline.start()
        self._pipeline = pipeline
        self.shuttle.start(pipeline)

    def close(self) -> None:
        """End it, as the VDevice does. Of a forked copy only the copy ends."""
        shuttle, self._shuttle = self._shuttle, None
        if shuttle is not None:
            if self._device.active is self and os.getpid() == self._owner:
                self._device.active = None
            shuttle.close()

    def __reduce__(self) -> Any:
        # Only a network group of the multi-process service can be pickled.
        raise HailoRTStatusException(INVALID_OPERATION)

    # What it is.

    def get_name(self) -> str:
        self.shuttle  # noqa: B018 - asked for its error
        return self.info.name

    def is_scheduled(self) -> bool:
        self.shuttle  # noqa: B018 - asked for its error
        return self.scheduled

    def get_default_streams_interface(self) -> NativeEnum:
        return StreamInterface.PCIe

    @property
    def _hef(self) -> NativeHef:
        self.shuttle  # noqa: B018 - asked for its error
        return self._configuration.hef

    def get_networks_names(self) -> list[str]:
        self.shuttle  # noqa: B018 - asked for its error
        return list(self.info.networks)

    def get_sorted_output_names(self) -> list[str]:
        self.shuttle  # noqa: B018 - asked for its error
        return [tensor.name for tensor in self.info.outputs]

    def get_input_vstream_infos(self, name: str) -> list[VStreamInfo]:
        return self._hef.get_input_vstream_infos(name or self.info.name)

    def get_output_vstream_infos(self, name: str) -> list[VStreamInfo]:
        return self._hef.get_output_vstream_infos(name or self.info.name)

    def get_all_vstream_infos(self, name: str) -> list[VStreamInfo]:
        return self._hef.get_all_vstream_infos(name or self.info.name)

    def get_input_stream_infos(self, name: str) -> list[StreamInfo]:
        return self._hef.get_input_stream_infos(name or self.info.name)

    def get_output_stream_infos(self, name: str) -> list[StreamInfo]:
        return self._hef.get_output_stream_infos(name or self.info.name)

    def get_all_stream_infos(self, name: str) -> list[StreamInfo]:
        return self._hef.get_all_stream_infos(name or self.info.name)

    def get_stream_names_from_vstream_name(self, vstream_name: str) -> list[str]:
        return self._hef.get_stream_names_from_vstream_name(vstream_name, self.info.name)

    def get_vstream_names_from_stream_name(self, stream_name: str) -> list[str]:
        return self._hef.get_vstream_names_from_stream_name(stream_name, self.info.name)

    def get_udp_rates_dict(self, fps: int, max_supported_rate_bytes: int) -> dict[str, int]:
        """Refused: it has no Ethernet streams."""
        self.shuttle  # noqa: B018 - asked for its error
        refuse()

    # Whether it runs.

    def activate(self, params: ActivateNetworkGroupParams) -> ActivatedApp:
        self.shuttle  # noqa: B018 - asked for its error
        return ActivatedApp(self)

    def wait_for_activation(self, timeout_ms: int) -> None:
        """Within `timeout_ms`, in any process; TIMEOUT otherwise, INVALID_OPERATION with the scheduler."""
        if self.scheduled:
            raise HailoRTStatusException(INVALID_OPERATION)
        if not ready([self.shuttle.running], timeout_ms / 1000):
            raise HailoRTStatusException(TIMEOUT)

    def start(self) -> None:
        """Activate. INVALID_OPERATION with the scheduler, while any is active, or in a process without the device."""
        self._simulation.check_bus()
        if self.scheduled or self._device.active is not None or os.getpid() != self._owner:
            raise HailoRTStatusException(INVALID_OPERATION)
        self._start()
        self._device.active = self

    def stop(self) -> None:
        """Deactivate; harmless when it is not active."""
        if self._device.active is self and os.getpid() == self._owner:
            self._device.active = None
            self.shuttle.stop()

    def check_active(self) -> None:
        """Raise NETWORK_GROUP_NOT_ACTIVATED when frames are not welcome yet, or no more."""
        if not self.scheduled and not self.shuttle.running.is_set:
            raise HailoRTStatusException(NETWORK_GROUP_NOT_ACTIVATED)

    def set_scheduler_timeout(self, timeout_ms: int, network_name: str = "") -> None:
        """Of the whole group only: NOT_IMPLEMENTED for a network that is not all of it."""
        pipeline = self._scheduled_pipeline
        if network_name not in ("", f"{self.info.name}/{self.info.name}"):
            raise HailoRTStatusException(NOT_IMPLEMENTED)
        pipeline.set_timeout(timeout_ms / 1000)

    def set_scheduler_threshold(self, threshold: int) -> None:
        self._scheduled_pipeline.set_threshold(threshold)

    def set_scheduler_priority(self, priority: int) -> None:
        self._scheduled_pipeline.set_priority(priority)

    @property
    def _scheduled_pipeline(self) -> Pipeline:
        """The pipeline, while a scheduler has it. INVALID_OPERATION without one."""
        self.shuttle  # noqa: B018 - asked for its error
        if not self.scheduled:
            raise HailoRTStatusException(INVALID_OPERATION)
        return self._pipeline

    # What goes through it.

    def make_input_vstream_params(
        self, name: str, format_type: NativeEnum, timeout_ms: int, queue_size: int
    ) -> dict[str, VStreamParams]:
        infos = self.get_input_vstream_infos(name)
        return {info.name: VStreamParams.make(format_type, timeout_ms, queue_size) for info in infos}

    def make_output_vstream_params(
        self, name: str, format_type: NativeEnum, timeout_ms: int, queue_size: int
    ) -> dict[str, VStreamParams]:
        infos = self.get_output_vstream_infos(name)
        return {info.name: VStreamParams.make(format_type, timeout_ms, queue_size) for info in infos}

    def InputVStreams(self, params: dict[str, VStreamParams]) -> NativeInputVStreams:  # noqa: N802 - HailoRT's name
        return NativeInputVStreams(self, params)

    def OutputVStreams(self, params: dict[str, VStreamParams]) -> NativeOutputVStreams:  # noqa: N802 - HailoRT's name
        return NativeOutputVStreams(self, params)

    # Key-value caches: see `unsupported.CACHE`.

    init_cache = update_cache_offset = get_cache_ids = read_cache_buffer = write_cache_buffer = refuse


class ActivatedApp:
    """A context manager that activates its network group."""

    def __init__(self, group: ConfiguredNetworkGroup) -> None:
        self._group = group

    def __enter__(self) -> ActivatedNetworkGroup:
        self._group.start()
        return ActivatedNetworkGroup()

    def __exit__(self, *args: object) -> None:
        self._group.stop()


class ActivatedNetworkGroup:
    """A network group while it is active."""

    def get_invalid_frames_count(self) -> int:
        """None ever: a frame that fails here fails its stream."""
        return 0

    get_intermediate_buffer = refuse


def batch_size_of(params: ConfigureParams) -> int:
    """The batch size that parameters ask for, 0 for automatic: the group's, else the first of its networks'."""
    sizes = [network.batch_size for network in params.network_params_by_name.values()]
    return params.batch_size or next((size for size in sizes if size), 0)


def _shared_settings(info: HefInfo) -> SharedSettings | None:
    output = next((tensor for tensor in info.outputs if tensor.nms is not None), None)
    return SharedSettings(info.nms, output) if info.nms is not None and output is not None else None
