"""`PcieDeviceInfo`: where on the bus a chip is."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from typing import Self

from hailod.simulator.native import HailoRTStatusException
from hailod.simulator.pyhailort.errors import ExceptionWrapper, HailoRTException

INVALID_ARGUMENT = 2
PCIE_ANY_DOMAIN = 0xFFFFFFFF
_ADDRESS = re.compile(r"(?:([0-9a-fA-F]{1,8}):)?([0-9a-fA-F]{1,2}):([0-9a-fA-F]{1,2})\.([0-7])")


class NativePcieDeviceInfo:
    """Domain, bus, device and function."""

    def __init__(self) -> None:
        self.domain = PCIE_ANY_DOMAIN
        self.bus = 0
        self.device = 0
        self.func = 0

    @staticmethod
    def _parse(text: str) -> NativePcieDeviceInfo:
        """Of "[domain:]bus:device.function", hexadecimal. Raises INVALID_ARGUMENT."""
        found = _ADDRESS.fullmatch(text)
        if found is None:
            raise HailoRTStatusException(INVALID_ARGUMENT)
        made = NativePcieDeviceInfo()
        domain, *rest = found.groups()
        made.domain = PCIE_ANY_DOMAIN if domain is None else int(domain, 16)
        made.bus, made.device, made.func = (int(part, 16) for part in rest)
        return made

    def __str__(self) -> str:
        domain = "" if self.domain == PCIE_ANY_DOMAIN else f"{self.domain:04x}:"
        return f"{domain}{self.bus:02x}:{self.device:02x}.{self.func}"


class PcieDeviceInfo(NativePcieDeviceInfo):
    """The same for programs, with parsers."""

    BOARD_LOCATION_HELP_STRING = (
        "Board location in the format of the command: \"lspci -d 1e60: | cut -d' ' -f1\" "
        "([<domain>]:<bus>:<device>.<func>). If not specified the first board is taken."
    )

    def __init__(self, bus: int, device: int, func: int, domain: int | None = None) -> None:
        super().__init__()
        self.bus, self.device, self.func = bus, device, func
        if domain is not None:
            self.domain = domain

    def __eq__(self, other: object) -> bool:
        return _address(self) == _address(other)

    # As a class that has __eq__ alone: its objects are no keys.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"PcieDeviceInfo({self})"

    @classmethod
    def from_string(cls, board_location_str: str) -> Self:
        with ExceptionWrapper():
            found = NativePcieDeviceInfo._parse(board_location_str)
        return cls(found.bus, found.device, found.func, found.domain)

    @classmethod
    def argument_type(cls, board_location_str: str) -> Self:
        """For argparse."""
        try:
            return cls.from_string(board_location_str)
        except HailoRTException as error:
            raise ArgumentTypeError("Invalid device info string, format is [<domain>]:<bus>:<device>.<func>") from error


def _address(info: object) -> tuple[int, int, int, int]:
    # Anything without these is an AttributeError, as in HailoRT.
    return info.domain, info.bus, info.device, info.func  # type: ignore[attr-defined]
