"""Notifications of the chip as programs get them: typed messages in a union, one member of which is meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from hailod.simulator.native import ENUMS, NativeEnum, NotificationId

OvercurrentAlertState = ENUMS["OvercurrentAlertState"]
TemperatureZone = ENUMS["TemperatureZone"]


@dataclass(frozen=True, slots=True)
class RxErrorNotificationMessage:
    """Ethernet."""

    error: int = 0
    queue_number: int = 0
    rx_errors_count: int = 0


@dataclass(frozen=True, slots=True)
class DebugNotificationMessage:
    """Of the firmware's developers."""

    connection_status: int = 0
    connection_type: int = 0
    vdma_is_active: int = 0
    host_port: int = 0
    host_ip_addr: int = 0


@dataclass(frozen=True, slots=True)
class HealthMonitorDataflowShutdownNotificationMessage:
    """Too hot: the chip stopped all inference."""

    ts0_temperature: float = 0.0
    ts1_temperature: float = 0.0


@dataclass(frozen=True, slots=True)
class HealthMonitorTemperatureAlarmNotificationMessage:
    """A temperature zone was entered or left. `alarm_ts_id` is the sensor that saw it."""

    temperature_zone: NativeEnum = TemperatureZone.TEMPERATURE_ZONE_GREEN
    alarm_ts_id: int = 0
    ts0_temperature: float = 0.0
    ts1_temperature: float = 0.0


@dataclass(frozen=True, slots=True)
class HealthMonitorOvercurrentAlertNotificationMessage:
    """The current crossed a threshold (mA)."""

    overcurrent_zone: NativeEnum = OvercurrentAlertState.OVERCURRENT_ZONE_GREEN
    exceeded_alert_threshold: float = 0.0
    is_last_overcurrent_violation_reached: bool = False


@dataclass(frozen=True, slots=True)
class HealthMonitorLcuEccErrorNotificationMessage:
    """Memory errors of clusters, a bit each."""

    cluster_error: int = 0


@dataclass(frozen=True, slots=True)
class HealthMonitorCpuEccNotificationMessage:
    """Memory errors of the CPUs, a bit per memory."""

    memory_bitmap: int = 0


@dataclass(frozen=True, slots=True)
class HealthMonitoClockChangedNotificationMessage:
    """The clock was lowered or raised (Hz). The name is HailoRT's."""

    previous_clock: int = 0
    current_clock: int = 0


MESSAGES: dict[str, type[Any]] = {
    "rx_error_notification": RxErrorNotificationMessage,
    "debug_notification": DebugNotificationMessage,
    "health_monitor_dataflow_shutdown_notification": HealthMonitorDataflowShutdownNotificationMessage,
    "health_monitor_temperature_alarm_notification": HealthMonitorTemperatureAlarmNotificationMessage,
    "health_monitor_overcurrent_alert_notification": HealthMonitorOvercurrentAlertNotificationMessage,
    "health_monitor_lcu_ecc_error_notification": HealthMonitorLcuEccErrorNotificationMessage,
    "health_monitor_cpu_ecc_notification": HealthMonitorCpuEccNotificationMessage,
    "health_monitor_clock_changed_notification": HealthMonitoClockChangedNotificationMessage,
}
_ENUM_FIELDS = {"temperature_zone": TemperatureZone, "overcurrent_zone": OvercurrentAlertState}


class NotificationMessageParameters:
    """The union of all messages. Members other than the one meant are garbage on a device, and zeros here."""

    def __init__(self, meant: str, message: object) -> None:
        self._meant = meant
        self._message = message


def _member(name: str) -> property:
    def get(self: NotificationMessageParameters) -> object:
        return self._message if name == self._meant else MESSAGES[name]()

    return property(get)


for _name in MESSAGES:
    setattr(NotificationMessageParameters, _name, _member(_name))


@dataclass(frozen=True, slots=True)
class Notification:
    """What a callback is given."""

    notification_id: NativeEnum
    sequence: int
    body: NotificationMessageParameters


def notification(number: int, member: str, values: Mapping[str, Any], sequence: int) -> Notification:
    """The notification of an event; `member` names its message in the union, `values` that message's fields."""
    kind = MESSAGES[member]
    known = {field.name for field in fields(kind)}
    typed = {
        name: _ENUM_FIELDS[name](int(value)) if name in _ENUM_FIELDS else value
        for name, value in values.items()
        if name in known
    }
    return Notification(NotificationId(number), sequence, NotificationMessageParameters(member, kind(**typed)))
