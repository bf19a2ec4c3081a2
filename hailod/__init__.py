"""hailod: cameras in, MQTT out, on a Hailo accelerator."""

from hailod.version import VERSION as __version__

__all__ = ["__version__"]
