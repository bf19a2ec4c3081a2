"""What goes wrong with cameras: a stable code for machines, and for people what happened and what to do about it."""

from __future__ import annotations

import errno
import socket
from typing import Final, NamedTuple, TypeVar

from hailod.errors import SourceError, SourceLost, SourceUnavailable


class Words(NamedTuple):
    """For people: what happened, and what to do about it (nothing where that goes without saying)."""

    what: str
    fix: str = ""


ADVICE: Final = {
    "certificate": Words(
        "the camera's TLS certificate is not trusted", "install the authority that signed it, or use http"
    ),
    "closed": Words("closed"),
    "corrupt": Words(
        "data comes, but no picture that can be decoded",
        "check cable and Wi-Fi, choose a lower bit rate, restart the camera",
    ),
    "dns": Words("the host name cannot be resolved", "check its spelling and the name server, or write the IP address"),
    "ended": Words("the camera ended the stream", "see whether it restarted, or serves too many at once"),
    "forbidden": Words("the camera refuses access", "give its user the right to view this stream"),
    "invalid_data": Words("no video that can be decoded", "check the path of the URL or file, and the camera's codec"),
    "lost": Words("the connection broke", "check that the camera is on, and its network"),
    "no_permission": Words("permission denied", "the user hailod must be allowed to read it"),
    "not_found": Words("not found", "check the path"),
    "refused": Words("nothing listens there", "check host and port, and that the camera's stream is switched on"),
    "timeout": Words("no answer in time", "check that the camera is on and reachable"),
    "too_large": Words("the picture is larger than hailod takes", "choose a smaller resolution"),
    "unauthorised": Words("user name or password refused", "correct them; special characters must be percent-encoded"),
    "unreachable": Words("no route to the host", "check the network"),
    "unsupported": Words("this kind of stream is not supported here", "choose another codec or kind of stream"),
}

# How a camera that sleeps looks from outside. A refused password or a wrong path is told by one that is awake.
AWAY: Final = frozenset({"dns", "ended", "lost", "refused", "timeout", "unreachable"})

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


def unavailable(shown: str, code: str, words: Words | None = None) -> SourceUnavailable:
    """The error for a source that cannot be opened; `shown` is its redacted URL."""
    what, fix = words or ADVICE[code]
    return _noted(SourceUnavailable(f"{shown}: {what}", code=code), fix)


def lost(shown: str, code: str, words: Words | None = None) -> SourceLost:
    """The error for a source that was open; `shown` is its redacted URL."""
    what, fix = words or ADVICE[code]
    return _noted(SourceLost(f"{shown}: {what}", code=code), fix)


def fix_of(error: SourceError) -> str:
    """What a person can do about it; empty where nothing is known. It is the error's note, which tracebacks show."""
    return " ".join(getattr(error, "__notes__", ()))


E = TypeVar("E", bound=SourceError)


def _noted(error: E, fix: str) -> E:
    if fix:
        error.add_note(fix)
    return error
