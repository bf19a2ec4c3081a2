"""Camera URLs without their credentials, for everything that people or machines may read.

People write passwords into URLs without escaping them, so where the user-info ends is not always certain. In doubt more
is hidden, never less: the worst outcome is `rtsp://***`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote, unquote_plus

MASK = "***"

_NETWORK_URL = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)

# User names and query values shorter than this ("a", "channel=1") would tear holes into every text they occur in.
_SHORTEST_SECRET = 4


def redact_url(url: str) -> str:
    """`url` as it may be shown: `rtsp://***@host/path?key=***`. What is not a network URL comes back as it is."""
    split = _split(url)
    if split is None:
        return url
    scheme, userinfo, rest = split
    if userinfo is not None and ("?" in userinfo or "#" in userinfo):
        return f"{scheme}://{MASK}"
    address, mark, fragment = rest.partition("#")
    address, question, query = address.partition("?")
    shown = f"{scheme}://" + (f"{MASK}@" if userinfo is not None else "") + address
    if question:
        shown += "?" + "&".join(_redact_parameter(parameter) for parameter in query.split("&"))
    return shown + (f"#{MASK}" if mark and fragment else "")


def secrets_of(url: str) -> set[str]:
    """What of `url` must never be shown, as written and percent-decoded: password, user name, values of the query."""
    split = _split(url)
    if split is None:
        return set()
    _, userinfo, rest = split
    found: set[str] = set()
    if userinfo is not None:
        user, _, password = userinfo.partition(":")
        found |= {userinfo, password, unquote(password)}
        found |= _long_enough(user, unquote(user))
    query = rest.partition("#")[0].partition("?")[2]
    for parameter in query.split("&"):
        value = parameter.partition("=")[2] or parameter
        found |= _long_enough(value, unquote_plus(value))
    return found - {""}


def scrub(text: str, secrets: Iterable[str]) -> str:
    """`text` with every one of `secrets` masked."""
    for secret in sorted(secrets, key=len, reverse=True):
        if secret:
            text = text.replace(secret, MASK)
    return text


def _split(url: str) -> tuple[str, str | None, str] | None:
    """Scheme, user-info (as far as the last `@`, wherever it stands) and the rest; None when it is no network URL."""
    match = _NETWORK_URL.fullmatch(url)
    if match is None or match[1].lower() == "file":
        return None
    userinfo, at, rest = match[2].rpartition("@")
    return match[1], (userinfo if at else None), rest


def _redact_parameter(parameter: str) -> str:
    key, equals, value = parameter.partition("=")
    if not equals:
        return MASK if parameter else ""
    return f"{key}={MASK}" if value else f"{key}="


def _long_enough(*values: str) -> set[str]:
    return {value for value in values if len(value) >= _SHORTEST_SECRET}
