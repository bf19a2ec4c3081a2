"""What programs ask of HailoRT's command `hailortcli`, answered for the simulated device."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from hailo_platform import Device, HailoRTException, __version__

OUT_OF_PHYSICAL_DEVICES = 74


def version() -> None:
    print(f"HailoRT-CLI version {__version__}")


def scan() -> None:
    found = Device.scan()
    print("Hailo Devices:" if found else "Hailo devices not found")
    for device_id in found:
        print(f"[-] Device: {device_id}")


def identify() -> None:
    device = Device()
    board = str(device.control.identify()).rstrip()
    print(f"Executing on device: {device.device_id}\nIdentifying board\n{board}\n")
    device.release()


COMMANDS: Mapping[tuple[str, ...], Callable[[], None]] = {
    ("-v",): version,
    ("--version",): version,
    ("scan",): scan,
    ("fw-control", "identify"): identify,
}


def main(arguments: tuple[str, ...]) -> int:
    if arguments not in COMMANDS:
        known = ", ".join(" ".join(command) for command in COMMANDS)
        print(f"hailortcli: the simulated one answers to {known}", file=sys.stderr)
        return 1
    try:
        COMMANDS[arguments]()
    except HailoRTException as error:
        print(error, file=sys.stderr)
        return OUT_OF_PHYSICAL_DEVICES
    return 0


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:])))
