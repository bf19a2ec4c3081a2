"""HailoRT's status numbers: what each means for us, and what people can do about it. Pure.

A row is a status of HailoRT 4.23 (94 to 97: of 5.x), its class and the fix. The class is the cure, never the text:

    session lost   the configured model is dead, the device probably is not
    device lost    driver, firmware or library state is not to be trusted: a new process assumes least
    unavailable    no device to be had now
    rejected       wrong file, chip, versions: trying again changes nothing

The same number means different things at different moments, so a row is read together with the stage (`cure_of`). Rows
were classed by HailoRT's sources and by what users report of them; statuses of interfaces that a HAT does not have
(Ethernet, Windows, MIPI) are device lost, like any that is not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum


class Fault(StrEnum):
    """The class of a device fault: what to do, not what it was."""

    UNAVAILABLE = "device_unavailable"
    REJECTED = "device_rejected"
    SESSION_LOST = "session_lost"
    DEVICE_LOST = "device_lost"
    HUNG = "device_hung"
    TOO_HOT = "device_hot"


class Stage(StrEnum):
    """When a status came: opening the device, loading or configuring a model, submitting a job, at its completion."""

    OPEN = "open"
    MODEL = "model"
    SUBMIT = "submit"
    COMPLETION = "completion"


IN_FLIGHT = frozenset({Stage.SUBMIT, Stage.COMPLETION})


@dataclass(frozen=True, slots=True)
class Cure:
    """A status's name, the class of the fault, and the fix to tell people: empty where hailod itself is the fix."""

    name: str
    fault: Fault
    fix: str = ""


_VERSIONS = (
    "kernel driver, library and firmware must be of one version: sudo apt update && sudo apt full-upgrade "
    "(packages hailo-all for Hailo-8/8L, hailo-h10-all for Hailo-10H), then reboot"
)
_IN_USE = "another program holds the device: stop it (sudo fuser -v /dev/hailo0 names it)"
_MISSING = "is the HAT seated and its driver loaded? lspci -d 1e60: and ls /dev/hailo* must show it"
_WRONG_CHIP = "take the HEF that was compiled for this chip (hailo8l files also run on hailo8, not the reverse)"
_BROKEN_HEF = "the HEF is damaged or from a later compiler: copy it again, or upgrade HailoRT"
_NOT_HERE = "this HailoRT does not do that on this chip: Hailo-10H needs hailo-h10-all (HailoRT 5), Hailo-8 hailo-all"
_FIRMWARE = "the firmware file does not fit the driver: sudo apt install --reinstall hailo-all, then reboot"
_UNREADABLE = "the model file cannot be read: check path and permissions"
_SERVICE = "hailort.service is in the way: sudo systemctl disable --now hailort"
_SLOW_LINK = "see dmesg; if it comes back, check the HAT's ribbon cable and the power supply, then reboot"
_MEMORY = "memory for the device is short: close other programs, or set cma= in /boot/firmware/config.txt and reboot"
_PAGES = (
    "if dmesg speaks of max_desc_page_size: echo 'options hailo_pci force_desc_page_size=4096' | "
    "sudo tee /etc/modprobe.d/hailo_pci.conf, then reboot"
)

_S, _L, _U, _R = Fault.SESSION_LOST, Fault.DEVICE_LOST, Fault.UNAVAILABLE, Fault.REJECTED

CURES: Mapping[int, Cure] = {
    1: Cure("UNINITIALIZED", _L),
    2: Cure("INVALID_ARGUMENT", _S),
    3: Cure("OUT_OF_HOST_MEMORY", _L, _MEMORY),
    4: Cure("TIMEOUT", _S),
    5: Cure("INSUFFICIENT_BUFFER", _S),
    6: Cure("INVALID_OPERATION", _S),
    7: Cure("NOT_IMPLEMENTED", _R, _NOT_HERE),
    8: Cure("INTERNAL_FAILURE", _L),
    9: Cure("DATA_ALIGNMENT_FAILURE", _L),
    10: Cure("CHUNK_TOO_LARGE", _L),
    11: Cure("INVALID_LOGGER_LEVEL", _L),
    12: Cure("CLOSE_FAILURE", _L),
    13: Cure("OPEN_FILE_FAILURE", _R, _UNREADABLE),
    14: Cure("FILE_OPERATION_FAILURE", _R, _BROKEN_HEF),
    15: Cure("UNSUPPORTED_CONTROL_PROTOCOL_VERSION", _R, _VERSIONS),
    16: Cure("UNSUPPORTED_FW_VERSION", _R, _VERSIONS),
    17: Cure("INVALID_CONTROL_RESPONSE", _L),
    18: Cure("FW_CONTROL_FAILURE", _L),
    19: Cure("ETH_FAILURE", _L),
    20: Cure("ETH_INTERFACE_NOT_FOUND", _L),
    21: Cure("ETH_RECV_FAILURE", _L),
    22: Cure("ETH_SEND_FAILURE", _L),
    23: Cure("INVALID_FIRMWARE", _R, _FIRMWARE),
    24: Cure("INVALID_CONTEXT_COUNT", _R, _BROKEN_HEF),
    25: Cure("INVALID_FRAME", _S),
    26: Cure("INVALID_HEF", _R, _WRONG_CHIP),
    27: Cure("PCIE_NOT_SUPPORTED_ON_PLATFORM", _R, _NOT_HERE),
    28: Cure("INTERRUPTED_BY_SIGNAL", _S),
    29: Cure("START_VDMA_CHANNEL_FAIL", _L),
    30: Cure("SYNC_VDMA_BUFFER_FAIL", _L),
    31: Cure("STOP_VDMA_CHANNEL_FAIL", _L),
    32: Cure("CLOSE_VDMA_CHANNEL_FAIL", _L),
    33: Cure("ATR_TABLES_CONF_VALIDATION_FAIL", _L, _SLOW_LINK),
    34: Cure("EVENT_CREATE_FAIL", _L),
    35: Cure("READ_EVENT_FAIL", _L),
    36: Cure("DRIVER_OPERATION_FAILED", _L, _SLOW_LINK),
    37: Cure("INVALID_FIRMWARE_MAGIC", _R, _FIRMWARE),
    38: Cure("INVALID_FIRMWARE_CODE_SIZE", _R, _FIRMWARE),
    39: Cure("INVALID_KEY_CERTIFICATE_SIZE", _R, _FIRMWARE),
    40: Cure("INVALID_CONTENT_CERTIFICATE_SIZE", _R, _FIRMWARE),
    41: Cure("MISMATCHING_FIRMWARE_BUFFER_SIZES", _R, _FIRMWARE),
    42: Cure("INVALID_FIRMWARE_CPU_ID", _R, _FIRMWARE),
    43: Cure("CONTROL_RESPONSE_MD5_MISMATCH", _L),
    44: Cure("GET_CONTROL_RESPONSE_FAIL", _L),
    45: Cure("GET_D2H_EVENT_MESSAGE_FAIL", _L),
    46: Cure("MUTEX_INIT_FAIL", _L),
    47: Cure("OUT_OF_DESCRIPTORS", _L, _MEMORY),
    48: Cure("UNSUPPORTED_OPCODE", _R, _VERSIONS),
    49: Cure("USER_MODE_RATE_LIMITER_NOT_SUPPORTED", _L),
    50: Cure("RATE_LIMIT_MAXIMUM_BANDWIDTH_EXCEEDED", _L),
    51: Cure("ANSI_TO_UTF16_CONVERSION_FAILED", _L),
    52: Cure("UTF16_TO_ANSI_CONVERSION_FAILED", _L),
    53: Cure("UNEXPECTED_INTERFACE_INFO_FAILURE", _L),
    54: Cure("UNEXPECTED_ARP_TABLE_FAILURE", _L),
    55: Cure("MAC_ADDRESS_NOT_FOUND", _L),
    56: Cure("NO_IPV4_INTERFACES_FOUND", _L),
    57: Cure("SHUTDOWN_EVENT_SIGNALED", _S),
    58: Cure("THREAD_ALREADY_ACTIVATED", _L),
    59: Cure("THREAD_NOT_ACTIVATED", _L),
    60: Cure("THREAD_NOT_JOINABLE", _L),
    61: Cure("NOT_FOUND", _S),
    62: Cure("COMMUNICATION_CLOSED", _L),
    63: Cure("STREAM_ABORT", _S),
    64: Cure("DRIVER_NOT_INSTALLED", _U, _MISSING),
    65: Cure("NOT_AVAILABLE", _L),
    66: Cure("TRAFFIC_CONTROL_FAILURE", _L),
    67: Cure("INVALID_SECOND_STAGE", _R, _FIRMWARE),
    68: Cure("INVALID_PIPELINE", _S),
    69: Cure("NETWORK_GROUP_NOT_ACTIVATED", _S),
    70: Cure("VSTREAM_PIPELINE_NOT_ACTIVATED", _S),
    71: Cure("OUT_OF_FW_MEMORY", _L, _MEMORY),
    72: Cure("STREAM_NOT_ACTIVATED", _S),
    73: Cure("DEVICE_IN_USE", _U, _IN_USE),
    74: Cure("OUT_OF_PHYSICAL_DEVICES", _U, f"{_MISSING}; or {_IN_USE}"),
    75: Cure("INVALID_DEVICE_ARCHITECTURE", _R, _WRONG_CHIP),
    76: Cure("INVALID_DRIVER_VERSION", _R, _VERSIONS),
    77: Cure("RPC_FAILED", _L, _SERVICE),
    78: Cure("INVALID_SERVICE_VERSION", _R, _VERSIONS),
    79: Cure("NOT_SUPPORTED", _R, _NOT_HERE),
    80: Cure("NMS_BURST_INVALID_DATA", _S),
    81: Cure("OUT_OF_HOST_CMA_MEMORY", _L, _MEMORY),
    82: Cure("QUEUE_IS_FULL", _S),
    83: Cure("DMA_MAPPING_ALREADY_EXISTS", _S),
    84: Cure("CANT_MEET_BUFFER_REQUIREMENTS", _S),
    85: Cure("DRIVER_INVALID_RESPONSE", _L, _SLOW_LINK),
    86: Cure("DRIVER_INVALID_IOCTL", _R, _VERSIONS),
    87: Cure("DRIVER_TIMEOUT", _L, _SLOW_LINK),
    88: Cure("DRIVER_INTERRUPTED", _S),
    89: Cure("CONNECTION_REFUSED", _L, _SERVICE),
    90: Cure("DRIVER_WAIT_CANCELED", _S),
    91: Cure("HEF_FILE_CORRUPTED", _R, _BROKEN_HEF),
    92: Cure("HEF_NOT_SUPPORTED", _R, _BROKEN_HEF),
    93: Cure("HEF_NOT_COMPATIBLE_WITH_DEVICE", _R, _WRONG_CHIP),
    94: Cure("INVALID_HEF_USE", _R, _BROKEN_HEF),
    95: Cure("OPERATION_ABORTED", _S),
    96: Cure("DEVICE_NOT_CONNECTED", _U, _MISSING),
    97: Cure("DEVICE_TEMPORARILY_UNAVAILABLE", _U, _IN_USE),
}

# What a number means at one stage alone.
AT_STAGE: Mapping[tuple[Stage, int], Cure] = {
    (Stage.OPEN, 2): Cure("INVALID_ARGUMENT", _U, "no device has the id of device.id: hailortcli scan lists them"),
    (Stage.MODEL, 2): Cure("INVALID_ARGUMENT", _R, "the HEF holds several network groups; hailod runs one"),
    (Stage.MODEL, 6): Cure("INVALID_OPERATION", _R, "the device takes no batch that large: lower batch_size"),
    (Stage.MODEL, 8): Cure("INTERNAL_FAILURE", _R, _PAGES),
}


def cure_of(status: int, stage: Stage) -> Cure:
    """What HailoRT's `status` calls for when it comes at `stage`.

    In flight nothing is rejected or missing any more: a model that ran was accepted. And before anything runs there is
    no session that could be lost: a model that cannot be configured because its pipeline aborts costs the process.
    """
    cure = AT_STAGE.get((stage, status)) or CURES.get(status) or Cure(f"status {status}", Fault.DEVICE_LOST)
    match cure.fault:
        case Fault.REJECTED if stage in IN_FLIGHT:
            return replace(cure, fault=Fault.SESSION_LOST)
        case Fault.UNAVAILABLE if stage in IN_FLIGHT:
            return replace(cure, fault=Fault.DEVICE_LOST)
        case Fault.SESSION_LOST if stage not in IN_FLIGHT:
            return replace(cure, fault=Fault.DEVICE_LOST)
    return cure
