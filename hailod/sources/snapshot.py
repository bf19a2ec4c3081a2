"""A picture polled over HTTP: what cameras without a usable stream offer."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

from hailod.clock import Clock
from hailod.errors import SourceError
from hailod.redact import redact_url
from hailod.sources.base import Captured
from hailod.sources.faults import code_of, lost, unavailable
from hailod.sources.pictures import decode_image, is_image
from hailod.types import Picture

MAX_BYTES: Final = 16 * 2**20
_CHUNK = 65536

# So many broken pictures in a row are no accident.
_MAX_BROKEN = 3

_BY_STATUS = {401: "unauthorised", 403: "forbidden", 404: "not_found"}


class SnapshotSource:
    """A `Source` of JPEG or PNG pictures fetched every `poll_interval` seconds, with basic or digest authentication.

    Credentials go to the camera's own host only, redirections elsewhere are followed without them. Environment
    variables for proxies are ignored: cameras are local.
    """

    def __init__(
        self, url: str, clock: Clock, *, poll_interval: float, open_timeout: float, read_timeout: float
    ) -> None:
        self._clock = clock
        self._poll_interval = poll_interval
        self._open_timeout = open_timeout
        self._read_timeout = read_timeout
        self._shown = redact_url(url)
        self._url, self._login = _without_login(url)
        self._opener: urllib.request.OpenerDirector | None = None
        self._first: Picture | None = None
        self._broken = 0

    def open(self) -> None:
        self._opener = _opener(self._url, self._login)
        self._broken = 0
        picture = self._fetch(self._open_timeout)
        if isinstance(picture, str):
            raise unavailable(self._shown, picture)
        self._first = picture

    def read(self) -> Captured:
        if self._broken >= _MAX_BROKEN:
            raise lost(self._shown, "corrupt")
        fetched = self._first or self._fetch(self._read_timeout)
        self._first = None
        if fetched == "corrupt":
            self._broken += 1
            return Captured(None, corrupt=1, rest=self._poll_interval)
        if isinstance(fetched, str):
            raise lost(self._shown, fetched)
        self._broken = 0
        return Captured(fetched, rest=self._poll_interval)

    def close(self) -> None:
        self._opener = self._first = None

    def _fetch(self, timeout: float) -> Picture | str:
        """The picture, or the code of what went wrong: errors of urllib hold the URL and end here."""
        try:
            body = self._download(timeout)
        except SourceError as error:
            return error.code
        except urllib.error.HTTPError as error:
            error.close()
            return _BY_STATUS.get(error.code, "invalid_data")
        except urllib.error.URLError as error:
            return _code(error.reason)
        except OSError as error:
            return _code(error)
        except (http.client.HTTPException, ValueError):
            return "invalid_data"
        return _decoded(body)

    def _download(self, timeout: float) -> bytes:
        """The body. The socket's time-out holds for each of its reads only, so the whole is watched too."""
        opener = self._opener
        if opener is None:
            raise lost(self._shown, "closed")
        deadline = self._clock.monotonic() + timeout
        body = bytearray()
        with opener.open(self._url, timeout=timeout) as response:
            while chunk := response.read1(_CHUNK):
                body += chunk
                if len(body) > MAX_BYTES:
                    raise lost(self._shown, "too_large")
                if self._clock.monotonic() > deadline:
                    raise lost(self._shown, "timeout")
        return bytes(body)


def _decoded(body: bytes) -> Picture | str:
    """The picture, or a code: another page than a picture is no damage."""
    if not is_image(body):
        return "invalid_data"
    try:
        return decode_image(body)
    except ValueError:
        return "corrupt"


def _code(error: object) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "certificate"
    return code_of(error, "lost") if isinstance(error, BaseException) else "lost"


def _without_login(url: str) -> tuple[str, tuple[str, str] | None]:
    parts = urlsplit(url)
    userinfo, at, address = parts.netloc.rpartition("@")
    bare = urlunsplit((parts.scheme, address, parts.path, parts.query, ""))
    if not at:
        return bare, None
    user, _, password = userinfo.partition(":")
    return bare, (unquote(user), unquote(password))


def _opener(url: str, login: tuple[str, str] | None) -> urllib.request.OpenerDirector:
    """An opener that knows HTTP and HTTPS and nothing else."""
    opener = urllib.request.OpenerDirector()
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ]
    if login is not None:
        logins = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        logins.add_password(None, url, *login)
        handlers += [urllib.request.HTTPDigestAuthHandler(logins), urllib.request.HTTPBasicAuthHandler(logins)]
    for handler in handlers:
        opener.add_handler(handler)
    return opener
