"""What of HailoRT has no place on a simulated PCIe accelerator: it exists, and says so when it is used.

Everything here raises HAILO_NOT_SUPPORTED, as libhailort does for what a device cannot do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from typing import Any, NoReturn

from hailod.simulator.native import HailoRTStatusException
from hailod.simulator.pyhailort.errors import ExceptionWrapper

NOT_SUPPORTED = 79

ETHERNET = "no Hailo-8 module for a Raspberry Pi has Ethernet; removed in HailoRT 5.1"
MIPI = "cameras are not connected to the accelerator's own MIPI; removed in HailoRT 5.1"
MAINTENANCE = "flash, firmware, sensors, watchdogs and raw memory: the administrator's hailortcli, never an inference"
DEPRECATED = "deprecated since HailoRT 4.x in favour of Device and VDevice, removed in 5.2"
GENAI = "language models and sessions with the board's own Linux need a Hailo-10H; new in HailoRT 5.1"
CACHE = "key-value caches are for language models, which run on a Hailo-10H"


def refuse(*_: object, **__: object) -> NoReturn:
    """Raise the native HAILO_NOT_SUPPORTED."""
    raise HailoRTStatusException(NOT_SUPPORTED)


def refuse_wrapped(*_: object, **__: object) -> NoReturn:
    """Raise HAILO_NOT_SUPPORTED as programs see it: HailoRTException, 79."""
    with ExceptionWrapper():
        refuse()


def _parameters(text: str) -> list[Parameter]:
    """Of a list such as "self, port, timeout=3"; defaults are numbers, None, or names kept as text."""
    made = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, default = part.partition("=")
        value: object = Parameter.empty
        if equals:
            value = int(default) if default.isdigit() else None if default == "None" else default
        made.append(Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=value))
    return made


def function(name: str, parameters: str) -> Callable[..., NoReturn]:
    """A function of that signature that refuses."""

    def refused(*arguments: object, **named: object) -> NoReturn:
        refuse_wrapped()

    refused.__name__ = refused.__qualname__ = name
    refused.__signature__ = Signature(_parameters(parameters))  # type: ignore[attr-defined]
    return refused


def cls(name: str, why: str, methods: Mapping[str, str], static: Mapping[str, str] | None = None) -> type[Any]:
    """A class whose constructor and methods refuse; `why` is its docstring."""
    members: dict[str, object] = {"__doc__": f"Not simulated: {why}."}
    members |= {method: function(method, parameters) for method, parameters in methods.items()}
    members |= {method: staticmethod(function(method, parameters)) for method, parameters in (static or {}).items()}
    if "__init__" not in methods:
        members["__init__"] = function("__init__", "self")
    return type(name, (), members)


class HailoSocket:
    """Sizes of UDP payloads."""

    MIN_UDP_PAYLOAD_SIZE = 24
    MAX_UDP_PAYLOAD_SIZE = 1456
    MIN_UDP_PADDED_PAYLOAD_SIZE = 24
    MAX_UDP_PADDED_PAYLOAD_SIZE = 1448
    MAX_ALIGNED_UDP_PAYLOAD_SIZE_RTP = 1472


PYTHON: dict[str, object] = {
    "HailoSocket": HailoSocket,
    "HailoUdpScan": cls(
        "HailoUdpScan", ETHERNET, {"__init__": "self", "scan_devices": "self, interface_name, timeout_seconds=3"}
    ),
    "NetworkRateLimiter": cls(
        "NetworkRateLimiter",
        ETHERNET,
        {
            "__init__": "self, ip, port, rate_bytes_per_sec",
            "set_rate_limit": "self",
            "reset_rate_limit": "self",
            "get_interface_name": "ip",
        },
    ),
    "InternalEthernetDevice": cls(
        "InternalEthernetDevice",
        ETHERNET,
        {"__init__": "self, address, port, response_timeout_seconds=10, max_number_of_attempts=3", "release": "self"},
    ),
    "InternalPcieDevice": cls(
        "InternalPcieDevice",
        DEPRECATED,
        {
            "__init__": "self, device_info=None",
            "release": "self",
            "create_debug_log": "self",
            "read_memory": "self, address, size",
            "write_memory": "self, address, data",
        },
        {"scan_devices": ""},
    ),
    "PcieDebugLog": cls("PcieDebugLog", DEPRECATED, {"__init__": "self, pci_device", "read": "self, count, cpu_id"}),
}
"""What `hailo_platform.pyhailort.pyhailort` has of it. Nothing to destroy: they cannot be constructed."""

for _name in ("InternalEthernetDevice", "InternalPcieDevice"):
    setattr(PYTHON[_name], "__del__", lambda self: None)  # noqa: B010 - mypy knows them as objects

TOP: dict[str, object] = {
    "PcieDevice": cls("PcieDevice", DEPRECATED, {"__init__": "self, device_info=None"}, {"scan_devices": ""}),
    "EthernetDevice": cls("EthernetDevice", ETHERNET, {"__init__": "self, remote_ip, remote_control_port=22401"}),
    "UDPRateLimiter": cls(
        "UDPRateLimiter",
        ETHERNET,
        {
            "__init__": "self, remote_ip, port, rate_kbits_per_sec=0",
            "set_rate_limit": "self",
            "reset_rate_limit": "self",
        },
        {"calc_udp_rate": "hef, network_group_name, fps, fps_factor=1, max_supported_kbps_rate=850000"},
    ),
}
"""What only the package itself exports of it."""

NATIVE: dict[str, object] = {
    name: cls(name, why, {})
    for why, names in {
        ETHERNET: "EthInputStreamParams EthOutputStreamParams NetworkRateLimiter UdpScan sockaddr_in",
        MIPI: "MipiCommonParams MipiInputStreamParams MipiIspParams",
        MAINTENANCE: "I2CSlaveConfig",
        DEPRECATED: "PcieScan",
    }.items()
    for name in names.split()
}
"""What `hailo_platform.pyhailort._pyhailort` has of it."""

ADDED_IN_5_2: dict[str, object] = {
    "HailoSession": cls("HailoSession", GENAI, {"__init__": "self, session"}, {"connect": "port, device_id="}),
    "HailoSessionListener": cls("HailoSessionListener", GENAI, {"__init__": "self, port, device_id="}),
    "LLM": cls("LLM", GENAI, {"__init__": "self, vdevice, model_path, lora_name=, optimize_memory_on_device=0"}),
    "VLM": cls("VLM", GENAI, {"__init__": "self, vdevice, model_path, optimize_memory_on_device=0"}),
    "Speech2Text": cls("Speech2Text", GENAI, {"__init__": "self, vdevice, model_path"}),
    "Speech2TextTask": cls("Speech2TextTask", GENAI, {}),
}
"""Names that HailoRT 5.2 has and 4.23 has not."""

REMOVED_IN_5_2 = frozenset(
    [
        "EthInputStreamParams",
        "EthOutputStreamParams",
        "EthernetDevice",
        "HAILO_DEFAULT_ETH_CONTROL_PORT",
        "HailoSocket",
        "HailoSocketDefs",
        "HailoUdpScan",
        "InternalEthernetDevice",
        "IspLightFrequency",
        "MipiClockSelection",
        "MipiCommonParams",
        "MipiDataTypeRx",
        "MipiInputStreamParams",
        "MipiIspImageInOrder",
        "MipiIspImageOutDataType",
        "MipiIspParams",
        "MipiPixelsPerClock",
        "NetworkRateLimiter",
        "PcieDebugLog",
        "PcieDevice",
        "UDPRateLimiter",
        "UdpRecvError",
        "UdpScan",
    ]
)
"""Names that HailoRT 5.2 no longer has, in whichever module."""
