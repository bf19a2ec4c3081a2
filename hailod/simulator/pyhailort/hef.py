"""`HEF`: what a model file says of itself, before any device."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import structlog

from hailod.errors import ModelError
from hailod.models.hef import HefError
from hailod.simulator.chip.device import Simulation, current
from hailod.simulator.native import (
    FormatOrder,
    HailoRTStatusException,
    NativeEnum,
    NetworkGroupInfo,
    StreamDirection,
    StreamInfo,
    VStreamInfo,
)
from hailod.simulator.networks import loader
from hailod.simulator.networks.network import HefInfo, Model, Origin, Stream
from hailod.simulator.pyhailort.errors import ExceptionWrapper, HailoRTException
from hailod.simulator.pyhailort.params import ConfigureParams, NetworkParameters, stream_parameters
from hailod.simulator.pyhailort.unsupported import refuse
from hailod.types import TensorInfo

log = structlog.get_logger(__name__)

NOT_IMPLEMENTED = 7
OPEN_FILE_FAILURE = 13
FILE_OPERATION_FAILURE = 14
NOT_FOUND = 61
HEF_NOT_SUPPORTED = 92

Answer = TypeVar("Answer")


def open_model(simulation: Simulation, source: str | bytes) -> Model:
    """The model of a file or of a HEF's bytes. Raises the native status; the log says what it cannot."""
    if isinstance(source, bytes) and not source:
        # libhailort reads through the null pointer of an empty buffer.
        ctypes.memset(0, 0, 1)
    try:
        if isinstance(source, bytes):
            return loader.load_bytes(source, simulation.options.arch, simulation.options.profile, simulation.scenes)
        if not simulation.stand_ins.find(source) and (os.path.isdir(source) or not os.path.getsize(source)):
            raise HailoRTStatusException(FILE_OPERATION_FAILURE)
        return simulation.model(source)
    except HefError as error:
        log.error("HEF cannot be read", reason=str(error))
        raise HailoRTStatusException(error.status) from error
    except OSError as error:
        log.error("no HEF, and no model stands behind it", path=source, reason=error.strerror)
        raise HailoRTStatusException(OPEN_FILE_FAILURE) from error
    except ModelError as error:
        log.error("model cannot be simulated", path=source, reason=str(error))
        raise HailoRTStatusException(HEF_NOT_SUPPORTED) from error


def check_group(model: Model, name: str) -> None:
    """Raise what `create_infer_model` does for a name that is no network group: a network's is not implemented."""
    groups = [network.info for network in model.networks]
    if not name or any(name == info.name for info in groups):
        return
    raise HailoRTStatusException(NOT_IMPLEMENTED if any(name in info.networks for info in groups) else NOT_FOUND)


class NativeHef:
    """`_pyhailort.Hef`: the answers of a parsed file. All raise NOT_FOUND for a name that is not in it."""

    def __init__(self, model: Model) -> None:
        self.model = model

    @staticmethod
    def create_from_file(path: str) -> NativeHef:
        return NativeHef(open_model(current(), path))

    @staticmethod
    def create_from_buffer(content: bytes) -> NativeHef:
        return NativeHef(open_model(current(), content))

    def create_configure_params(self, interface: NativeEnum) -> dict[str, ConfigureParams]:
        """Parameters for configuring each network group, with streams over `interface`."""
        return {
            info.name: ConfigureParams(
                stream_params_by_name=stream_parameters(
                    interface,
                    [stream.tensor.name for stream in info.input_streams],
                    [stream.tensor.name for stream in info.output_streams],
                ),
                network_params_by_name={name: NetworkParameters() for name in info.networks},
            )
            for info in self._infos
        }

    create_configure_params_mipi_input = staticmethod(refuse)

    def get_network_group_names(self) -> list[str]:
        return [info.name for info in self._infos]

    def get_network_groups_infos(self) -> list[NetworkGroupInfo]:
        return [NetworkGroupInfo(info.name, info.multi_context) for info in self._infos]

    def get_networks_names(self, group: str) -> list[str]:
        return list(self._group(group).networks)

    def get_sorted_output_names(self, group: str) -> list[str]:
        return [output.name for output in self._group(group).outputs]

    def get_bottleneck_fps(self, group: str) -> float:
        return self._group(group).bottleneck_fps

    def get_external_resources(self) -> dict[str, bytes]:
        return dict(self.model.resources)

    # Rates are for limiters on Ethernet, which there is none of.
    get_udp_rates_dict = staticmethod(refuse)

    def get_input_vstream_infos(self, name: str) -> list[VStreamInfo]:
        info = self._group_or_network(name)
        return _vstreams(info, name, info.inputs, StreamDirection.H2D)

    def get_output_vstream_infos(self, name: str) -> list[VStreamInfo]:
        info = self._group_or_network(name)
        return _vstreams(info, name, info.outputs, StreamDirection.D2H)

    def get_all_vstream_infos(self, name: str) -> list[VStreamInfo]:
        return self.get_input_vstream_infos(name) + self.get_output_vstream_infos(name)

    def get_input_stream_infos(self, name: str) -> list[StreamInfo]:
        return _streams(self._group_or_network(name).input_streams, StreamDirection.H2D)

    def get_output_stream_infos(self, name: str) -> list[StreamInfo]:
        return _streams(self._group_or_network(name).output_streams, StreamDirection.D2H)

    def get_all_stream_infos(self, name: str) -> list[StreamInfo]:
        return self.get_input_stream_infos(name) + self.get_output_stream_infos(name)

    def get_vstream_name_from_original_name(self, original_name: str, group: str) -> str:
        return _first(name for name, origin in self._origins(group) if original_name in origin.layers)

    def get_original_names_from_vstream_name(self, vstream_name: str, group: str) -> list[str]:
        return _first(list(origin.layers) for name, origin in self._origins(group) if name == vstream_name)

    def get_vstream_names_from_stream_name(self, stream_name: str, group: str) -> list[str]:
        found = [name for name, origin in self._origins(group) if stream_name in origin.streams]
        return _first([found] if found else [])

    def get_stream_names_from_vstream_name(self, vstream_name: str, group: str) -> list[str]:
        return _first(list(origin.streams) for name, origin in self._origins(group) if name == vstream_name)

    @property
    def _infos(self) -> list[HefInfo]:
        return [network.info for network in self.model.networks]

    def _group(self, name: str) -> HefInfo:
        """A group by its name; without one the first."""
        network = self.model.group(name)
        if network is None:
            raise HailoRTStatusException(NOT_FOUND)
        return network.info

    def _group_or_network(self, name: str) -> HefInfo:
        """A group by its name or that of one of its networks; without one the first."""
        return _first(info for info in self._infos if name in ("", info.name, *info.networks))

    def _origins(self, group: str) -> list[tuple[str, Origin]]:
        info = self._group(group)
        return [(tensor.name, info.origin(tensor.name)) for tensor in (*info.inputs, *info.outputs)]


class HEF:
    """A model file. Raises ValueError for anything but a path as str, or bytes.

    Where no network group is named the first is meant.
    """

    def __init__(self, hef_source: str | bytes) -> None:
        with ExceptionWrapper():
            if isinstance(hef_source, str):
                self._hef = NativeHef.create_from_file(hef_source)
            elif isinstance(hef_source, bytes):
                self._hef = NativeHef.create_from_buffer(hef_source)
            else:
                raise ValueError("HEF can only be created from a file path (str) or a buffer (bytes)")
        self._path = hef_source if isinstance(hef_source, str) else None

    @property
    def path(self) -> str | None:
        """The path that was given; None for bytes."""
        return self._path

    def get_network_group_names(self) -> list[str]:
        with ExceptionWrapper():
            return self._hef.get_network_group_names()

    def get_network_groups_infos(self) -> list[NetworkGroupInfo]:
        with ExceptionWrapper():
            return self._hef.get_network_groups_infos()

    def get_networks_names(self, network_group_name: str | None = None) -> list[str]:
        with ExceptionWrapper():
            return self._hef.get_networks_names(network_group_name or "")

    def get_sorted_output_names(self, network_group_name: str | None = None) -> list[str]:
        with ExceptionWrapper():
            return self._hef.get_sorted_output_names(network_group_name or "")

    def bottleneck_fps(self, network_group_name: str | None = None) -> float:
        """Frames per second of the slowest part. HailoRTException when the file does not say."""
        with ExceptionWrapper():
            fps = self._hef.get_bottleneck_fps(network_group_name or "")
            if fps == 0:
                raise HailoRTException("bottleneck_fps is zero")
            return fps

    def get_udp_rates_dict(
        self, fps: int, max_supported_rate_bytes: float, network_group_name: str | None = None
    ) -> dict[str, int]:
        """Not supported: rates are for limiters on Ethernet, which there is none of."""
        with ExceptionWrapper():
            self._hef.get_udp_rates_dict(network_group_name or "", fps, int(max_supported_rate_bytes))

    def get_vstream_name_from_original_name(self, original_name: str, network_group_name: str | None = None) -> str:
        with ExceptionWrapper():
            return self._hef.get_vstream_name_from_original_name(original_name, network_group_name or "")

    def get_original_names_from_vstream_name(
        self, vstream_name: str, network_group_name: str | None = None
    ) -> list[str]:
        with ExceptionWrapper():
            return self._hef.get_original_names_from_vstream_name(vstream_name, network_group_name or "")

    def get_vstream_names_from_stream_name(self, stream_name: str, network_group_name: str | None = None) -> list[str]:
        with ExceptionWrapper():
            return self._hef.get_vstream_names_from_stream_name(stream_name, network_group_name or "")

    def get_stream_names_from_vstream_name(self, vstream_name: str, network_group_name: str | None = None) -> list[str]:
        with ExceptionWrapper():
            return self._hef.get_stream_names_from_vstream_name(vstream_name, network_group_name or "")

    def _get_external_resources(self) -> dict[str, bytes]:
        with ExceptionWrapper():
            return self._hef.get_external_resources()

    # These are not wrapped: the native exception of an unknown name leaks.

    def get_input_vstream_infos(self, name: str | None = None) -> list[VStreamInfo]:
        return self._hef.get_input_vstream_infos(name or "")

    def get_output_vstream_infos(self, name: str | None = None) -> list[VStreamInfo]:
        return self._hef.get_output_vstream_infos(name or "")

    def get_all_vstream_infos(self, name: str | None = None) -> list[VStreamInfo]:
        return self._hef.get_all_vstream_infos(name or "")

    def get_input_stream_infos(self, name: str | None = None) -> list[StreamInfo]:
        return self._hef.get_input_stream_infos(name or "")

    def get_output_stream_infos(self, name: str | None = None) -> list[StreamInfo]:
        return self._hef.get_output_stream_infos(name or "")

    def get_all_stream_infos(self, name: str | None = None) -> list[StreamInfo]:
        return self._hef.get_all_stream_infos(name or "")


def _first(found: Iterable[Answer]) -> Answer:
    for each in found:
        return each
    raise HailoRTStatusException(NOT_FOUND)


def _vstreams(info: HefInfo, name: str, tensors: Sequence[TensorInfo], direction: Any) -> list[VStreamInfo]:
    """Those of the group, or of the network of that name."""
    named = [(tensor, info.origin(tensor.name).network) for tensor in tensors]
    return [VStreamInfo(tensor, network, direction) for tensor, network in named if name in ("", info.name, network)]


def _streams(streams: Sequence[Stream], direction: Any) -> list[StreamInfo]:
    return [
        StreamInfo(
            stream.tensor,
            direction,
            index=stream.index,
            shape=stream.padded,
            order=FormatOrder.__members__[stream.order],
        )
        for stream in streams
    ]
