"""What goes wrong with cameras: a stable code for machines, and for people what happened and what to do about it."""

from __future__ import annotations

import errno
import socket
from typing import Final

from hailod.errors import SourceLost, SourceUnavailable

ADVICE: Final = {
    "certificate": "the camera's TLS certificate is not trusted: install the authority that signed it, or use http",
    "closed": "closed",
    "dns": "the host name cannot be resolved: check its spelling and the name server, or write the IP address",
    "ended": "the camera ended the stream",
    "forbidden": "the camera refuses access: give its user the right to view this stream",
    "invalid_data": "no video that can be decoded: check the path of the URL or file, and the camera's codec",
    "lost": "the connection broke",
    "no_permission": "permission denied: the user hailod must be allowed to read it",
    "not_found": "not found: check the path",
    "refused": "nothing listens there: check host and port, and that the camera's stream is switched on",
    "timeout": "no answer in time: check that the camera is on and reachable",
    "too_large": "the picture is larger than hailod takes: choose a smaller resolution",
    "unauthorised": "user name or password refused: correct them; special characters must be percent-encoded",
    "unreachable": "no route to the host: check the network",
    "unsupported": "this kind of stream is not supported here",
}

_BY_ERRNO: Final = {
    errno.ECONNREFUSED: "refused",
    errno.ENOENT: "not_found",
    errno.ENODEV: "not_found",
    errno.ENXIO: "not_found",
    errno.EACCES: "no_permission",
    errno.EPERM: "no_permission",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.ENETDOWN: "unreachable",
    errno.ETIMEDOUT: "timeout",
    errno.EPROTONOSUPPORT: "unsupported",
    errno.EISDIR: "not_found",
}


def code_of(error: BaseException, default: str) -> str:
    """The code for an error of the operating system, by its number; `default` where that says nothing."""
    if isinstance(error, socket.gaierror):
        return "dns"
    if isinstance(error, TimeoutError):
        return "timeout"
    number = getattr(error, "errno", None)
    return _BY_ERRNO.get(number, default) if isinstance(number, int) else default


def unavailable(shown: str, code: str, advice: str | None = None) -> SourceUnavailable:
    """The error for a source that cannot be opened; `shown` is its redacted URL."""
    return SourceUnavailable(f"{shown}: {advice or ADVICE[code]}", code=code)


def lost(shown: str, code: str, advice: str | None = None) -> SourceLost:
    """The error for a source that was open; `shown` is its redacted URL."""
    return SourceLost(f"{shown}: {advice or ADVICE[code]}", code=code)
