"""Camera URLs and texts without credentials, for everything that people or machines may read.

People write passwords into URLs without escaping them, so where the user-info ends is not always certain. In doubt more
is hidden, never less: the worst outcome is `rtsp://***`.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus, unquote, unquote_plus

MASK = "***"

_NETWORK_URL = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)

# User names and query values shorter than this ("a", "channel=1") would tear holes into every text they occur in.
_SHORTEST_SECRET = 4
# Shorter ones are masked where they stand alone: a password `a` must not make every line unreadable.
_SHORTEST_ANYWHERE = 4
# The latest secrets; a hundred cameras have a few hundred.
_MAX_SECRETS = 2_048

_WORD = re.compile(r"\S+")
_PERCENT = re.compile(r"%[0-9A-F]{2}")
_SCHEME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-")


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
        # As it goes over the wire, and into the debug output of libraries: `Authorization: Basic ...`.
        found.add(base64.b64encode(unquote(userinfo).encode(errors="replace")).decode())
        found |= _long_enough(user, unquote(user))
    query = rest.partition("#")[0].partition("?")[2]
    for parameter in query.split("&"):
        value = parameter.partition("=")[2] or parameter
        found |= _long_enough(value, unquote_plus(value))
    return found - {""}


class SecretFilter:
    """Masks secrets in text: those it was told in every form in which they are written, and user-info and query of any
    URL. Thread-safe.

    The time it takes grows with the length of the text and no faster, whatever the text. Of more than a few thousand
    secrets the latest are known.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, None] = {}
        self._forms: tuple[str, ...] = ()

    def add(self, *secrets: str) -> None:
        """From now on mask `secrets` wherever they occur."""
        with self._lock:
            new = False
            for secret in secrets:
                if secret.strip():
                    new = new or secret not in self._known
                    self._known.pop(secret, None)
                    self._known[secret] = None
            if new:
                while len(self._known) > _MAX_SECRETS:
                    del self._known[next(iter(self._known))]
                forms = {form for secret in self._known for form in _forms_of(secret)}
                # The longest first, or a secret that begins with another would leave its rest.
                self._forms = tuple(sorted(forms, key=lambda form: (-len(form), form)))

    def scrub(self, text: str) -> str:
        """`text` without secrets."""
        found = [form for form in self._forms if form in text]
        if found:
            # In one pass: what has been masked is not looked at again.
            text = re.sub("|".join(map(_pattern, found)), MASK, text)
        return _WORD.sub(_without_credentials, text) if "://" in text else text


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


def _forms_of(secret: str) -> Iterator[str]:
    """How a secret is written: plain, percent-encoded or decoded, and each as a string of Python or JSON."""
    try:
        encoded = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    except UnicodeEncodeError:
        # A lone surrogate.
        encoded = set()
    encoded |= {_PERCENT.sub(lambda match: match[0].lower(), form) for form in encoded}
    for plain in {secret, unquote(secret), unquote_plus(secret)} | encoded:
        # An empty user leaves a secret that begins with `:`; blanks alone are no secret.
        if plain.strip():
            yield plain
            yield json.dumps(plain)[1:-1]
            yield json.dumps(plain, ensure_ascii=False)[1:-1]
            yield ascii(plain)[1:-1]
            yield repr(plain)[1:-1]
            # In a text that holds both kinds of quotes.
            yield repr(plain + "'\"")[1:-4]
            yield repr(plain.encode(errors="replace"))[2:-1]


def _pattern(form: str) -> str:
    escaped = re.escape(form)
    return escaped if len(form) >= _SHORTEST_ANYWHERE else rf"(?<!\w){escaped}(?!\w)"


def _without_credentials(word: re.Match[str]) -> str:
    """A word of a text, which may hold a URL with something before and behind it."""
    text = word[0]
    mark = text.find("://")
    if mark < 0:
        return text
    start = mark
    while start > 0 and text[start - 1] in _SCHEME:
        start -= 1
    text = text[:start] + redact_url(text[start:])
    # In doubt, several URLs in one word or one without a scheme: up to the last `@`.
    mark, end = text.find("://"), text.rfind("@")
    return f"{text[: mark + 3]}{MASK}{text[end:]}" if 0 <= mark < end else text


def _long_enough(*values: str) -> set[str]:
    return {value for value in values if len(value) >= _SHORTEST_SECRET}
