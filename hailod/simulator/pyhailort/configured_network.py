"""`ConfiguredNetwork` and its activation, of the synchronous API. What is not wrapped leaks native exceptions."""

from __future__ import annotations

from typing import Any, NoReturn

from hailod.simulator.native import ENUMS, NativeEnum, StreamInfo, VStreamInfo
from hailod.simulator.pyhailort.errors import ExceptionWrapper, HailoRTException
from hailod.simulator.pyhailort.hef import HEF
from hailod.simulator.pyhailort.logger import default_logger
from hailod.simulator.pyhailort.network_group import ActivatedApp, ActivatedNetworkGroup, ConfiguredNetworkGroup
from hailod.simulator.pyhailort.params import ActivateNetworkGroupParams, VStreamParams
from hailod.simulator.pyhailort.params import ConfigureParams as NativeConfigureParams
from hailod.simulator.pyhailort.unsupported import refuse_wrapped

FOREVER_MS = 0x7FFFFFFF

MipiClockSelection = ENUMS["MipiClockSelection"]
MipiDataTypeRx = ENUMS["MipiDataTypeRx"]
MipiIspImageInOrder = ENUMS["MipiIspImageInOrder"]
MipiIspImageOutDataType = ENUMS["MipiIspImageOutDataType"]
MipiPixelsPerClock = ENUMS["MipiPixelsPerClock"]
IspLightFrequency = ENUMS["IspLightFrequency"]


class ConfigureParams:
    """Where the parameters of `VDevice.configure` come from."""

    @staticmethod
    def create_from_hef(hef: HEF, interface: NativeEnum) -> dict[str, NativeConfigureParams]:
        """By network group, to be changed at will."""
        with ExceptionWrapper():
            return hef._hef.create_configure_params(interface)

    @staticmethod
    def create_mipi_inputs_from_hef(  # noqa: PLR0917 - HailoRT's signature
        hef: HEF,
        output_interface: NativeEnum,
        mipi_rx_id: int = 0,
        data_type: NativeEnum = MipiDataTypeRx.RAW_8,
        img_width_pixels: int = 1920,
        img_height_pixels: int = 1080,
        pixels_per_clock: NativeEnum = MipiPixelsPerClock.PIXELS_PER_CLOCK_4,
        number_of_lanes: int = 2,
        clock_selection: NativeEnum = MipiClockSelection.SELECTION_AUTOMATIC,
        data_rate: int = 260,
        virtual_channel_index: int = 0,
        isp_enable: bool = False,
        isp_img_in_order: NativeEnum = MipiIspImageInOrder.GR_FIRST,
        isp_img_out_data_type: NativeEnum = MipiIspImageOutDataType.RGB_888,
        isp_crop_enable: bool = False,
        isp_crop_output_width_pixels: int = 1920,
        isp_crop_output_height_pixels: int = 1080,
        isp_crop_output_width_start_offset_pixels: int = 0,
        isp_crop_output_height_start_offset_pixels: int = 0,
        isp_test_pattern_enable: bool = True,
        isp_configuration_bypass: bool = False,
        isp_run_time_ae_enable: bool = True,
        isp_run_time_awb_enable: bool = True,
        isp_run_time_adt_enable: bool = True,
        isp_run_time_af_enable: bool = False,
        isp_run_time_calculations_interval_ms: int = 0,
        isp_light_frequency: NativeEnum = IspLightFrequency.LIGHT_FREQ_50_HZ,
    ) -> NoReturn:
        """Refused: no camera is connected to the chip."""
        refuse_wrapped()


class EmptyContextManager:
    """What activation is with the scheduler."""

    def __init__(self) -> None:
        """Nothing to keep."""

    def __enter__(self) -> None:
        """Nothing is activated."""

    def __exit__(self, *args: object) -> None:
        """Nothing was."""


class ActivatedNetwork:
    """A network group while it is active."""

    def __init__(self, configured_network: ConfiguredNetwork, activated_network: ActivatedNetworkGroup) -> None:
        self._configured_network = configured_network
        self._activated_network = activated_network
        self._last_number_of_invalid_frames_read = 0

    @property
    def name(self) -> str:
        return self._configured_network.name

    def get_number_of_invalid_frames(self, clear: bool = True) -> int:
        """Since the last call; with `clear` off, since activation."""
        total = self._activated_network.get_invalid_frames_count()
        before, self._last_number_of_invalid_frames_read = self._last_number_of_invalid_frames_read, total
        return total - before if clear else total

    def validate_all_frames_are_valid(self) -> None:
        invalid = self.get_number_of_invalid_frames()
        if invalid:
            raise HailoRTException(f"There are {invalid} invalid frames.")

    def get_sorted_output_names(self) -> list[str]:
        return self._configured_network.get_sorted_output_names()

    def _get_intermediate_buffer(self, src_context_index: int, src_stream_index: int) -> NoReturn:
        with ExceptionWrapper():
            self._activated_network.get_intermediate_buffer(src_context_index, src_stream_index)
        raise AssertionError("refused above")


class ActivatedNetworkContextManager:
    """Activates on entry, deactivates on exit."""

    def __init__(self, configured_network: ConfiguredNetwork, activated_network: ActivatedApp) -> None:
        self._configured_network = configured_network
        self._activated_network = activated_network

    def __enter__(self) -> ActivatedNetwork:
        with ExceptionWrapper():
            return ActivatedNetwork(self._configured_network, self._activated_network.__enter__())

    def __exit__(self, *args: object) -> None:
        self._activated_network.__exit__(*args)


class ConfiguredNetwork:
    """A network group on the device."""

    def __init__(self, configured_network: ConfiguredNetworkGroup) -> None:
        self._configured_network = configured_network
        self._input_vstreams_holders: list[object] = []
        self._output_vstreams_holders: list[object] = []

    @property
    def name(self) -> str:
        return self._configured_network.get_name()

    def get_networks_names(self) -> list[str]:
        return self._configured_network.get_networks_names()

    # Activation.

    def activate(
        self, network_group_params: ActivateNetworkGroupParams | None = None
    ) -> ActivatedNetworkContextManager | EmptyContextManager:
        """A context in which frames are taken. With the scheduler it does nothing, and says so in the log."""
        if self._configured_network.is_scheduled():
            default_logger().warning(
                "Calls to `activate()` when working with scheduler are deprecated! "
                "On future versions this call will raise an error."
            )
            return EmptyContextManager()
        with ExceptionWrapper():
            app = self._configured_network.activate(network_group_params or self.create_params())
        return ActivatedNetworkContextManager(self, app)

    def wait_for_activation(self, timeout_ms: int | None = None) -> None:
        """Until it is active, whoever activates it. HailoRTTimeout; with the scheduler an invalid operation."""
        with ExceptionWrapper():
            self._configured_network.wait_for_activation(FOREVER_MS if timeout_ms is None else timeout_ms)

    @staticmethod
    def create_params() -> ActivateNetworkGroupParams:
        return ActivateNetworkGroupParams.default()

    # What it is.

    def get_output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """In the order of `get_sorted_output_names`."""
        shapes = {info.name: info.shape for info in self.get_output_vstream_infos()}
        return tuple(shapes[name] for name in self.get_sorted_output_names())

    def get_sorted_output_names(self) -> list[str]:
        return self._configured_network.get_sorted_output_names()

    def get_input_vstream_infos(self, network_name: str | None = None) -> list[VStreamInfo]:
        return self._configured_network.get_input_vstream_infos(network_name or "")

    def get_output_vstream_infos(self, network_name: str | None = None) -> list[VStreamInfo]:
        return self._configured_network.get_output_vstream_infos(network_name or "")

    def get_all_vstream_infos(self, network_name: str | None = None) -> list[VStreamInfo]:
        return self._configured_network.get_all_vstream_infos(network_name or "")

    def get_input_stream_infos(self, network_name: str | None = None) -> list[StreamInfo]:
        return self._configured_network.get_input_stream_infos(network_name or "")

    def get_output_stream_infos(self, network_name: str | None = None) -> list[StreamInfo]:
        return self._configured_network.get_output_stream_infos(network_name or "")

    def get_all_stream_infos(self, network_name: str | None = None) -> list[StreamInfo]:
        return self._configured_network.get_all_stream_infos(network_name or "")

    def get_stream_names_from_vstream_name(self, vstream_name: str) -> list[str]:
        with ExceptionWrapper():
            return self._configured_network.get_stream_names_from_vstream_name(vstream_name)

    def get_vstream_names_from_stream_name(self, stream_name: str) -> list[str]:
        with ExceptionWrapper():
            return self._configured_network.get_vstream_names_from_stream_name(stream_name)

    def get_udp_rates_dict(self, fps: float, max_supported_rate_bytes: float) -> dict[str, int]:
        with ExceptionWrapper():
            return self._configured_network.get_udp_rates_dict(int(fps), int(max_supported_rate_bytes))

    # How it is scheduled.

    def set_scheduler_timeout(self, timeout_ms: int, network_name: str | None = None) -> None:
        self._configured_network.set_scheduler_timeout(timeout_ms, network_name or "")

    def set_scheduler_threshold(self, threshold: int) -> None:
        self._configured_network.set_scheduler_threshold(threshold)

    def set_scheduler_priority(self, priority: int) -> None:
        """0 to 31, 16 unless set; the higher goes first."""
        self._configured_network.set_scheduler_priority(priority)

    # What goes through it.

    def _create_input_vstreams(self, input_vstreams_params: dict[str, VStreamParams]) -> Any:
        holder = self._configured_network.InputVStreams(input_vstreams_params)
        self._input_vstreams_holders.append(holder)
        return holder

    def _create_output_vstreams(self, output_vstreams_params: dict[str, VStreamParams]) -> Any:
        holder = self._configured_network.OutputVStreams(output_vstreams_params)
        self._output_vstreams_holders.append(holder)
        return holder

    # Key-value caches of language models: refused.

    def init_cache(self, read_offset: int) -> None:
        self._configured_network.init_cache(read_offset)

    def update_cache_offset(self, offset_delta_entries: int) -> None:
        self._configured_network.update_cache_offset(offset_delta_entries)

    def get_cache_ids(self) -> list[int]:
        return self._configured_network.get_cache_ids()

    def read_cache_buffer(self, cache_id: int) -> bytes:
        return self._configured_network.read_cache_buffer(cache_id)

    def write_cache_buffer(self, cache_id: int, buffer: bytes) -> None:
        self._configured_network.write_cache_buffer(cache_id, buffer)
