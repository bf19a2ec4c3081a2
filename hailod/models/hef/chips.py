"""Which chips run a HEF, and which HailoRT it takes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chip:
    """A chip that runs a HEF; `note` is what HailoRT then warns of, empty where they are made for each other."""

    name: str
    note: str = ""

    @property
    def reduced(self) -> bool:
        """Whether the chip is not the one that was compiled for."""
        return bool(self.note)


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a HEF was compiled for. `hw_arch` is its number in the file, `hailort` the major version that serves it."""

    name: str
    title: str
    hw_arch: int
    hailort: int
    chips: tuple[Chip, ...]


_SLOWER = "compiled for a smaller chip: runs, slower than it could"
_CLOCK = "compiled for another clock rate: runs, at other frame rates than compiled for"
_HAILO15H = (Chip("hailo15h"), Chip("hailo10h"))
_HAILO15L = (Chip("hailo15l"),)

# As HailoRT 4.23 (Hailo-8) and 5.2 (Hailo-10 and 15) check it when a model is configured. To HailoRT a Hailo-8R is a
# Hailo-8 with a lower clock. Numbers from 100 are Hailo's internal ones, of which released files carry only 103.
ARCHITECTURES = {
    architecture.hw_arch: architecture
    for architecture in (
        Architecture("hailo8-a0", "Hailo-8 (first silicon)", 0, 4, ()),
        Architecture("hailo8", "Hailo-8", 1, 4, (Chip("hailo8"), Chip("hailo8r", _CLOCK))),
        Architecture("hailo8r", "Hailo-8R", 2, 4, (Chip("hailo8r"), Chip("hailo8", _CLOCK))),
        Architecture("hailo8l", "Hailo-8L", 3, 4, (Chip("hailo8l"), Chip("hailo8", _SLOWER), Chip("hailo8r", _SLOWER))),
        Architecture(
            "hailo15m", "Hailo-15M", 4, 5, (Chip("hailo15m"), Chip("hailo15h", _SLOWER), Chip("hailo10h", _SLOWER))
        ),
        Architecture("hailo10h-early", "Hailo-10H (early compiler)", 5, 5, ()),
        Architecture("hailo15l", "Hailo-15L", 6, 5, _HAILO15L),
        Architecture("hailo8-sage-a0", "Hailo-8 (internal: Sage A0)", 100, 4, ()),
        Architecture("hailo8-sage-b0", "Hailo-8 (internal: Sage B0)", 101, 4, ()),
        Architecture("hailo8-paprika-b0", "Hailo-8 (internal: Paprika B0)", 102, 4, ()),
        Architecture("hailo15h", "Hailo-15H and Hailo-10H", 103, 5, _HAILO15H),
        Architecture("hailo15h-ginger", "Hailo-15H (internal: Ginger)", 104, 5, _HAILO15H),
        Architecture("hailo15h-lavender", "Hailo-15H (internal: Lavender)", 105, 5, _HAILO15H),
        Architecture("hailo15l-pluto", "Hailo-15L (internal: Pluto)", 106, 5, _HAILO15L),
        Architecture("hailo12l", "Hailo-12L", 108, 5, (Chip("hailo12l"),)),
    )
}
# Chips for which the compiler lays a network out once for each set of clusters that a device may have.
MULTI_LAYOUT = frozenset({3, 4})

# Extension -> the HailoRT that brought it, and its name in messages. Others are refused by HailoRT 5.2 too.
EXTENSIONS: dict[int, tuple[tuple[int, int], str]] = {
    0: ((4, 0), "ABBALE"),
    1: ((4, 0), "POSTED_WRITES"),
    2: ((4, 0), "DDR"),
    3: ((4, 0), "PADDED_DDR_BUFFERS"),
    4: ((4, 0), "IS_MULTI_CONTEXTS"),
    5: ((4, 0), "COMPRESSED_PARAMS"),
    6: ((4, 0), "TRANSPOSE_COMPONENT"),
    9: ((4, 0), "IS_NMS_MULTI_CONTEXT"),
    10: ((4, 0), "OFFLOAD_ARGMAX"),
    12: ((4, 0), "KO_RUN_ASAP"),
    13: ((4, 0), "HAILO_NET_FLOW"),
    14: ((4, 12), "HAILO_NET_FLOW_YOLOV5_NMS"),
    15: ((4, 14), "HAILO_NET_FLOW_YOLOX_NMS"),
    16: ((4, 14), "HAILO_NET_FLOW_SSD_NMS"),
    17: ((4, 15), "HAILO_NET_FLOW_IOU_NMS"),
    18: ((4, 14), "WRITE_DATA_BY_TYPE"),
    19: ((4, 14), "NMS_OUTPUT_BURST"),
    20: ((4, 14), "DUAL_DIRECTION_STREAM_INDEX"),
    21: ((4, 14), "HAILO_NET_FLOW_ARGMAX"),
    22: ((4, 14), "HAILO_NET_FLOW_SOFTMAX"),
    23: ((4, 14), "ALIGNED_FORMAT_TYPE"),
    24: ((4, 15), "HAILO_NET_FLOW_YOLOV5_SEG_NMS"),
    25: ((4, 14), "OUTPUT_SCALE_PER_FEATURE"),
    26: ((4, 14), "PERIPH_CALCULATION_IN_HAILORT"),
    11: ((4, 16), "HW_PADDING"),
    27: ((4, 16), "HAILO_NET_FLOW_YOLOV8_NMS"),
    28: ((4, 17), "BATCH_REGISTER_CONFIG"),
    29: ((4, 18), "HAILO_NET_FLOW_BBOX_DECODING"),
    30: ((4, 21), "CCW_PTR_SQUEEZE"),
    31: ((4, 21), "EXTERNAL_RESOURCES"),
    32: ((4, 21), "SHARED_CONFIG"),
    33: ((5, 1), "CSM_CRC"),
    34: ((5, 1), "ENABLE_CONFIG_CHANNELS"),
    35: ((5, 1), "STRICT_RUNTIME_VERSIONING"),
}
IS_MULTI_CONTEXTS = 4
MULTI_NETWORK = 8  # an optional extension: unknown ones of these are no reason to refuse
HW_PADDING = 11  # likewise optional where it says that the compiler has padded
NET_FLOW = 13
NMS_OUTPUT_BURST = 19
SCALE_PER_FEATURE = 25
PERIPH_IN_HAILORT = 26
STRICT_VERSIONING = 35

_FORMATS = {0: (4, 0), 1: (4, 18), 2: (4, 20), 3: (4, 21)}
# The first compiler that signs with XXH3, and the HailoRT that was released with it.
_XXH3_COMPILER = (3, 31)
_XXH3_HAILORT = (4, 21)


def architecture_of(hw_arch: int) -> Architecture:
    """The architecture of that number; one that nobody runs where the number is not known."""
    return ARCHITECTURES.get(hw_arch) or Architecture(f"unknown-{hw_arch}", f"unknown ({hw_arch})", hw_arch, 0, ())


def version_of(text: str) -> tuple[int, ...]:
    """The first version number in a text such as "3.29.0" or "sdk-version: 5.4.0, ..."; () where there is none."""
    found = re.search(r"\d{1,9}(?:\.\d{1,9})+", text)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def oldest_hailort(format_version: int, compiler: str, extensions: Collection[int], architecture: Architecture) -> str:
    """The oldest HailoRT that takes a file of this kind, as "major.minor"."""
    needs = [_FORMATS[format_version], (architecture.hailort, 0)]
    needs += [EXTENSIONS[extension][0] for extension in extensions]
    if version_of(compiler)[:2] >= _XXH3_COMPILER:
        needs.append(_XXH3_HAILORT)
    return "{}.{}".format(*max(needs))


def remarks(architecture: Architecture, compiler: str, extensions: Collection[int]) -> Iterator[str]:
    """What to mind about the chip and the versions."""
    if not architecture.chips:
        yield f"compiled for {architecture.title}: HailoRT refuses it on every device; it has to be compiled again"
    for chip in architecture.chips:
        if chip.reduced:
            yield f"on {chip.name}: {chip.note}"
    if architecture.hailort == 4:
        yield "needs HailoRT 4: HailoRT 5 does not serve this family of chips"
    if STRICT_VERSIONING in extensions:
        wanted = ".".join(str(part) for part in version_of(compiler)[:2]) or "the compiler's"
        yield f"runs with HailoRT {wanted} only: it was compiled with strict versioning"
