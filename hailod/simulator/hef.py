"""`HEF`: what a model file says of itself, before any device."""

from __future__ import annotations

import os
from collections.abc import Sequence

import structlog

from hailod.errors import ModelError
from hailod.simulator.device import Simulation, current
from hailod.simulator.errors import ExceptionWrapper
from hailod.simulator.native import HailoRTStatusException, NetworkGroupInfo, StreamDirection, VStreamInfo
from hailod.simulator.network import Network
from hailod.types import TensorInfo

log = structlog.get_logger(__name__)

OPEN_FILE_FAILURE = 13
FILE_OPERATION_FAILURE = 14
NOT_FOUND = 61
HEF_NOT_SUPPORTED = 92


def open_network(simulation: Simulation, source: str | bytes) -> Network:
    """The model of a file. Raises the native status; the log says what it cannot."""
    if isinstance(source, bytes):
        log.error("simulated device reads models from files only")
        raise HailoRTStatusException(HEF_NOT_SUPPORTED)
    try:
        if os.path.isdir(source) or not os.path.getsize(source):
            raise HailoRTStatusException(FILE_OPERATION_FAILURE)
        return simulation.network(source)
    except OSError as error:
        raise HailoRTStatusException(OPEN_FILE_FAILURE) from error
    except ModelError as error:
        log.error("model cannot be simulated", path=source, reason=str(error))
        raise HailoRTStatusException(HEF_NOT_SUPPORTED) from error


class HEF:
    """A model file. Raises ValueError for anything but a path as str, or bytes."""

    def __init__(self, hef_source: str | bytes) -> None:
        if not isinstance(hef_source, str | bytes):
            raise ValueError("HEF can only be created from a file path or a buffer")
        with ExceptionWrapper():
            self._network = open_network(current(), hef_source)
        self._info = self._network.info
        self._source = hef_source

    @property
    def path(self) -> str | bytes:
        return self._source

    def get_network_group_names(self) -> list[str]:
        return [self._info.name]

    def get_network_groups_infos(self) -> list[NetworkGroupInfo]:
        return [NetworkGroupInfo(self._info.name, self._info.multi_context)]

    def get_networks_names(self, network_group_name: str | None = None) -> list[str]:
        with ExceptionWrapper():
            self._check(network_group_name)
        return [f"{self._info.name}/{self._info.name}"]

    def get_input_vstream_infos(self, name: str | None = None) -> list[VStreamInfo]:
        return self._streams(name, self._info.inputs, ())

    def get_output_vstream_infos(self, name: str | None = None) -> list[VStreamInfo]:
        return self._streams(name, (), self._info.outputs)

    def get_all_vstream_infos(self, name: str | None = None) -> list[VStreamInfo]:
        return self._streams(name, self._info.inputs, self._info.outputs)

    def get_sorted_output_names(self, network_group_name: str | None = None) -> list[str]:
        with ExceptionWrapper():
            self._check(network_group_name)
        return [output.name for output in self._info.outputs]

    def bottleneck_fps(self, network_group_name: str | None = None) -> float:
        with ExceptionWrapper():
            self._check(network_group_name)
        return 1 / self._info.timing.frame if self._info.timing.frame else 0.0

    def _streams(
        self, name: str | None, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]
    ) -> list[VStreamInfo]:
        # Not wrapped in 4.x: the native exception leaks.
        self._check(name)
        network = f"{self._info.name}/{self._info.name}"
        return [VStreamInfo(tensor, network, StreamDirection.H2D) for tensor in inputs] + [
            VStreamInfo(tensor, network, StreamDirection.D2H) for tensor in outputs
        ]

    def _check(self, name: str | None) -> None:
        if name not in (None, "", self._info.name, f"{self._info.name}/{self._info.name}"):
            raise HailoRTStatusException(NOT_FOUND)
