"""`Device` and `Control`: the chip beside inference, which needs no ownership."""

from __future__ import annotations

import gc
import os
import signal
import struct
from typing import Any, Literal

from hailod.simulator.native import ENUMS, DvmTypes, NativeEnum, PowerMeasurementTypes
from hailod.simulator.pyhailort.board import (
    BoardInformation,
    CoreInformation,
    ExtendedDeviceInformation,
    HealthInformation,
)
from hailod.simulator.pyhailort.errors import ExceptionWrapper, HailoRTException, HailoRTInvalidOperationException
from hailod.simulator.pyhailort.firmware import PowerMeasurementData, TemperatureInfo
from hailod.simulator.pyhailort.native_device import NativeDevice, NotificationCallback, ResetDeviceMode

AveragingFactor = ENUMS["AveragingFactor"]
MeasurementBufferIndex = ENUMS["MeasurementBufferIndex"]
SamplingPeriod = ENUMS["SamplingPeriod"]


class Control:
    """Questions to the firmware. All of them hold the GIL; what is not simulated raises HAILO_NOT_SUPPORTED."""

    WORD_SIZE = 4

    def __init__(self, device: NativeDevice) -> None:
        self.__device = device
        # HailoRT blocks the signal of a resized terminal in the thread that opens a device.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGWINCH])
        self._identify_info = self.identify()

    @property
    def _device(self) -> NativeDevice:
        if not self.__device.is_valid():
            raise HailoRTInvalidOperationException(
                "The device in use has been released. This can happen if 'device.release()' has been called, or "
                "one-liner usage of control 'Device().control.XX()'"
            )
        return self.__device

    def _get_device_handle(self) -> NativeDevice:
        return self._device

    def _ask(self, question: str, *arguments: Any) -> Any:
        device = self._device
        with ExceptionWrapper():
            return getattr(device, question)(*arguments)

    @property
    def device_id(self) -> str:
        return self._device.device_id

    def open(self) -> None:
        """Nothing: the control is open as long as its device is."""

    def close(self) -> None:
        """Nothing, as in HailoRT."""

    # Who the chip is, and how.

    def identify(self) -> BoardInformation:
        answer = self._ask("identify")
        version = answer.fw_version
        return BoardInformation(
            answer.protocol_version,
            version.major,
            version.minor,
            version.revision,
            answer.logger_version,
            answer.board_name,
            answer.is_release,
            answer.extended_context_switch_buffer,
            int(answer.device_architecture),
            answer.serial_number,
            answer.part_number,
            answer.product_name,
        )

    def core_identify(self) -> CoreInformation:
        answer = self._ask("core_identify")
        version = answer.fw_version
        return CoreInformation(
            version.major, version.minor, version.revision, answer.is_release, answer.extended_context_switch_buffer
        )

    def get_extended_device_information(self) -> ExtendedDeviceInformation:
        return ExtendedDeviceInformation(**_fields(self._ask("get_extended_device_information")))

    def get_chip_temperature(self) -> TemperatureInfo:
        answer: TemperatureInfo = self._ask("get_chip_temperature")
        return answer

    def _get_health_information(self) -> HealthInformation:
        return HealthInformation(**_fields(self._ask("_get_health_information")))

    def set_throttling_state(self, should_activate: bool) -> None:
        self._ask("set_throttling_state", should_activate)

    def get_throttling_state(self) -> bool:
        return bool(self._ask("get_throttling_state"))

    def _set_overcurrent_state(self, should_activate: bool) -> None:
        self._ask("_set_overcurrent_state", should_activate)

    def _get_overcurrent_state(self) -> bool:
        return bool(self._ask("_get_overcurrent_state"))

    def previous_system_state(self, cpu_id: NativeEnum) -> int:
        return int(self._ask("previous_system_state", cpu_id))

    def test_chip_memories(self) -> None:
        self._ask("test_chip_memories")

    def set_fw_logger(self, level: NativeEnum, interface_mask: int) -> None:
        self._ask("set_fw_logger", level, interface_mask)

    # Power.

    def power_measurement(
        self,
        dvm: NativeEnum = DvmTypes.AUTO,
        measurement_type: NativeEnum = PowerMeasurementTypes.AUTO,
    ) -> float:
        """W, or mA, or mV; the AI HAT has no sensor and fails with FW_CONTROL_FAILURE."""
        return float(self._ask("power_measurement", dvm, measurement_type))

    def start_power_measurement(
        self,
        averaging_factor: NativeEnum = AveragingFactor.AVERAGE_256,
        sampling_period: NativeEnum = SamplingPeriod.PERIOD_1100us,
    ) -> None:
        self._ask("start_power_measurement", averaging_factor, sampling_period)

    def stop_power_measurement(self) -> None:
        self._ask("stop_power_measurement")

    def set_power_measurement(
        self,
        buffer_index: NativeEnum = MeasurementBufferIndex.MEASUREMENT_BUFFER_INDEX_0,
        dvm: NativeEnum = DvmTypes.AUTO,
        measurement_type: NativeEnum = PowerMeasurementTypes.AUTO,
    ) -> None:
        self._ask("set_power_measurement", buffer_index, dvm, measurement_type)

    def get_power_measurement(
        self,
        buffer_index: NativeEnum = MeasurementBufferIndex.MEASUREMENT_BUFFER_INDEX_0,
        should_clear: bool = True,
    ) -> PowerMeasurementData:
        answer: PowerMeasurementData = self._ask("get_power_measurement", buffer_index, should_clear)
        return answer

    # Notifications.

    def set_notification_callback(
        self, callback_func: NotificationCallback, notification_id: NativeEnum, opaque: object
    ) -> None:
        """Called as (device, notification, opaque) on a thread of the library; an exception there ends the process."""
        self._ask("set_notification_callback", callback_func, notification_id, opaque)

    def remove_notification_callback(self, notification_id: NativeEnum) -> None:
        self._ask("remove_notification_callback", notification_id)

    # Resets.

    def chip_reset(self) -> None:
        self._ask("reset", ResetDeviceMode.CHIP)

    def nn_core_reset(self) -> None:
        self._ask("reset", ResetDeviceMode.NN_CORE)

    def soft_reset(self) -> None:
        self._ask("reset", ResetDeviceMode.SOFT)

    def forced_soft_reset(self) -> None:
        self._ask("reset", ResetDeviceMode.FORCED_SOFT)

    # Maintenance, none of it simulated.

    def read_memory(self, address: int, data_length: int) -> bytes:
        return bytes(self._ask("read_memory", address, data_length))

    def write_memory(self, address: int, data_buffer: bytes) -> None:
        self._ask("write_memory", address, data_buffer, len(data_buffer))

    def read_register(self, address: int) -> int:
        (value,) = struct.unpack("!I", self.read_memory(address, self.WORD_SIZE))
        return int(value)

    def set_bit(self, address: int, bit_index: int) -> None:
        self.write_memory(address, struct.pack("!I", self.read_register(address) | 1 << bit_index))

    def reset_bit(self, address: int, bit_index: int) -> None:
        self.write_memory(address, struct.pack("!I", self.read_register(address) & ~(1 << bit_index)))

    def _examine_user_config(self) -> object:
        return self._ask("examine_user_config")

    def read_user_config(self) -> bytes:
        return bytes(self._ask("read_user_config"))

    def write_user_config(self, configuration: bytes) -> None:
        self._ask("write_user_config", configuration)

    def _erase_user_config(self) -> None:
        self._ask("erase_user_config")

    def read_board_config(self) -> bytes:
        return bytes(self._ask("read_board_config"))

    def write_board_config(self, configuration: bytes) -> None:
        self._ask("write_board_config", configuration)

    def firmware_update(self, firmware_binary: bytes, should_reset: bool = True) -> None:
        self._ask("firmware_update", firmware_binary, len(firmware_binary), should_reset)

    def second_stage_update(self, second_stage_binary: bytes) -> None:
        self._ask("second_stage_update", second_stage_binary, len(second_stage_binary))

    @staticmethod
    def _create_c_i2c_slave(pythonic_slave: Any) -> Any:
        return pythonic_slave

    def i2c_write(self, slave: object, register_address: int, data: bytes) -> None:
        self._ask("i2c_write", self._create_c_i2c_slave(slave), register_address, data, len(data))

    def i2c_read(self, slave: object, register_address: int, data_length: int) -> bytes:
        return bytes(self._ask("i2c_read", self._create_c_i2c_slave(slave), register_address, data_length))

    def store_sensor_config(  # noqa: PLR0917 - HailoRT's signature
        self,
        section_index: int,
        reset_data_size: int,
        sensor_type: NativeEnum,
        config_file_path: str,
        config_height: int = 0,
        config_width: int = 0,
        config_fps: int = 0,
        config_name: str | None = None,
    ) -> None:
        self._ask("sensor_store_config", section_index, reset_data_size, sensor_type, config_file_path)

    def store_isp_config(  # noqa: PLR0917 - HailoRT's signature
        self,
        reset_config_size: int,
        isp_static_config_file_path: str,
        isp_runtime_config_file_path: str,
        config_height: int = 0,
        config_width: int = 0,
        config_fps: int = 0,
        config_name: str | None = None,
    ) -> None:
        self._ask("store_isp_config", reset_config_size, isp_static_config_file_path, isp_runtime_config_file_path)

    def get_sensor_sections_info(self) -> bytes:
        return bytes(self._ask("sensor_get_sections_info"))

    def sensor_set_generic_i2c_slave(
        self,
        slave_address: int,
        register_address_size: int,
        bus_index: int,
        should_hold_bus: bool,
        endianness: NativeEnum,
    ) -> None:
        self._ask("sensor_set_generic_i2c_slave", slave_address, register_address_size, bus_index)

    def set_sensor_i2c_bus_index(self, sensor_type: NativeEnum, i2c_bus_index: int) -> None:
        self._ask("sensor_set_i2c_bus_index", sensor_type, i2c_bus_index)

    def load_and_start_sensor(self, section_index: int) -> None:
        self._ask("sensor_load_and_start_config", section_index)

    def reset_sensor(self, section_index: int) -> None:
        self._ask("sensor_reset", section_index)

    def wd_enable(self, cpu_id: NativeEnum) -> None:
        self._ask("wd_enable", cpu_id)

    def wd_disable(self, cpu_id: NativeEnum) -> None:
        self._ask("wd_disable", cpu_id)

    def wd_config(self, cpu_id: NativeEnum, wd_cycles: int, wd_mode: NativeEnum) -> None:
        self._ask("wd_config", cpu_id, wd_cycles, wd_mode)

    def set_pause_frames(self, rx_pause_frames_enable: bool) -> None:
        self._ask("set_pause_frames", rx_pause_frames_enable)


class Device:
    """A chip by its id, the first one by default. Failures to open a given id leak as native exceptions."""

    def __init__(self, device_id: str | None = None) -> None:
        gc.collect()
        # Known to __del__ even when the rest fails.
        self._device: NativeDevice | None = None
        if device_id is None:
            found = self.scan()
            if not found:
                raise HailoRTException("HailoRT device not found in the system")
            device_id = found[0]
        self._device_id = device_id
        self._device = NativeDevice.create(device_id)
        self._loaded_network_groups: list[object] = []
        self._creation_pid = os.getpid()
        self._control_object = Control(self._device)

    @classmethod
    def scan(cls) -> list[str]:
        return NativeDevice.scan()

    @property
    def device_id(self) -> str:
        return self._device_id

    @property
    def control(self) -> Control:
        return self._control_object

    @property
    def loaded_network_groups(self) -> list[object]:
        return self._loaded_network_groups

    @property
    def _loaded_network_group(self) -> object:
        return only(self._loaded_network_groups)

    def read_log(self, count: int, cpu_id: NativeEnum) -> bytes:
        with ExceptionWrapper():
            # None after release(): AttributeError, as in HailoRT.
            return self._device.read_log(count, cpu_id)  # type: ignore[union-attr]

    def release(self) -> None:
        """From now on every question is refused; harmless when done before."""
        if self._device is not None:
            self._device.release()
            self._device = None

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *args: object) -> Literal[False]:
        self.release()
        return False

    def __del__(self) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"Device({self._device_id!r})"


class HailoPowerMeasurementUtils:
    """What the enums of long measurements stand for."""

    @staticmethod
    def return_real_sampling_period(sampling_period: NativeEnum) -> int:
        """Microseconds. KeyError for what is none."""
        return _SAMPLING_PERIODS[sampling_period]

    @staticmethod
    def return_real_averaging_factor(averaging_factor: NativeEnum) -> int:
        """Samples. KeyError for what is none."""
        return _AVERAGING_FACTORS[averaging_factor]


_SAMPLING_PERIODS = {
    member: int(name.removeprefix("PERIOD_").removesuffix("us")) for name, member in SamplingPeriod.__members__.items()
}
_AVERAGING_FACTORS = {
    member: int(name.removeprefix("AVERAGE_")) for name, member in AveragingFactor.__members__.items()
}


def only(groups: list[Any]) -> Any:
    """The one loaded network group. HailoRTException when there are more or none."""
    if len(groups) != 1:
        raise HailoRTException("Access to network group is only allowed when there is a single loaded network group")
    return groups[0]


def _fields(answer: Any) -> dict[str, Any]:
    return {name: getattr(answer, name) for name in answer.__dataclass_fields__}
