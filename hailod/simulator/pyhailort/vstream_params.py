"""`InputVStreamParams`, `OutputVStreamParams`: where the parameters of virtual streams come from."""

from __future__ import annotations

from hailod.simulator.native import FormatType, NativeEnum
from hailod.simulator.pyhailort.configured_network import ConfiguredNetwork
from hailod.simulator.pyhailort.errors import ExceptionWrapper
from hailod.simulator.pyhailort.params import VSTREAM_QUEUE_SIZE, VSTREAM_TIMEOUT_MS, VStreamParams

Params = dict[str, VStreamParams]


def _make(  # noqa: PLR0917 - HailoRT's parameters
    maker: str,
    configured_network: ConfiguredNetwork,
    format_type: NativeEnum | None,
    timeout_ms: int | None,
    queue_size: int | None,
    network_name: str | None,
) -> Params:
    with ExceptionWrapper():
        made: Params = getattr(configured_network._configured_network, maker)(
            network_name or "",
            FormatType.AUTO if format_type is None else format_type,
            VSTREAM_TIMEOUT_MS if timeout_ms is None else timeout_ms,
            VSTREAM_QUEUE_SIZE if queue_size is None else queue_size,
        )
        return made


class InputVStreamParams:
    """Parameters of inputs, by name. `quantized` is ignored: whether a float is converted follows from its type."""

    @staticmethod
    def make(  # noqa: PLR0917 - HailoRT's signature
        configured_network: ConfiguredNetwork,
        quantized: bool | None = None,
        format_type: NativeEnum | None = None,
        timeout_ms: int | None = None,
        queue_size: int | None = None,
        network_name: str | None = None,
    ) -> Params:
        return _make("make_input_vstream_params", configured_network, format_type, timeout_ms, queue_size, network_name)

    @staticmethod
    def make_from_network_group(  # noqa: PLR0917 - HailoRT's signature
        configured_network: ConfiguredNetwork,
        quantized: bool | None = None,
        format_type: NativeEnum | None = None,
        timeout_ms: int | None = None,
        queue_size: int | None = None,
        network_name: str | None = None,
    ) -> Params:
        return InputVStreamParams.make(configured_network, quantized, format_type, timeout_ms, queue_size, network_name)


class OutputVStreamParams:
    """Parameters of outputs, by name. `quantized` is ignored, as for inputs."""

    @staticmethod
    def make(  # noqa: PLR0917 - HailoRT's signature
        configured_network: ConfiguredNetwork,
        quantized: bool | None = None,
        format_type: NativeEnum | None = None,
        timeout_ms: int | None = None,
        queue_size: int | None = None,
        network_name: str | None = None,
    ) -> Params:
        return _make(
            "make_output_vstream_params", configured_network, format_type, timeout_ms, queue_size, network_name
        )

    @staticmethod
    def make_from_network_group(  # noqa: PLR0917 - HailoRT's signature
        configured_network: ConfiguredNetwork,
        quantized: bool | None = None,
        format_type: NativeEnum | None = None,
        timeout_ms: int | None = None,
        queue_size: int | None = None,
        network_name: str | None = None,
    ) -> Params:
        return OutputVStreamParams.make(
            configured_network, quantized, format_type, timeout_ms, queue_size, network_name
        )

    @staticmethod
    def make_groups(
        configured_network: ConfiguredNetwork,
        quantized: bool | None = None,
        format_type: NativeEnum | None = None,
        timeout_ms: int | None = None,
        queue_size: int | None = None,
    ) -> list[Params]:
        """The same, divided so that each part can be received by a process of its own."""
        left = OutputVStreamParams.make(
            configured_network, format_type=format_type, timeout_ms=timeout_ms, queue_size=queue_size
        )
        groups: list[Params] = []
        for stream in configured_network.get_output_stream_infos():
            names = configured_network.get_vstream_names_from_stream_name(stream.name)
            group = {name: left.pop(name) for name in names if name in left}
            if group:
                groups.append(group)
        return groups
