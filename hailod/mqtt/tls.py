"""The TLS side of `[mqtt.tls]`."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hailod.config.model import TlsSettings

HANDSHAKE_TIMEOUT = 5.0
_WRONG = {"KEY_VALUES_MISMATCH": "certificate and key do not belong together"}


class _Socket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        # paho 2.1 allows it the whole keep-alive time, which may be ten minutes.
        self.settimeout(HANDSHAKE_TIMEOUT)
        try:
            super().do_handshake(block)
        except ConnectionError:
            # What a peer does that takes our first packet for nonsense.
            raise ssl.SSLError("the connection was closed during the handshake") from None


class TlsContext(ssl.SSLContext):
    """A client's context whose handshakes come to an end, and which knows its last socket: paho leaves that of a failed
    handshake open."""

    sslsocket_class = _Socket
    last: ssl.SSLSocket | None = None

    def wrap_socket(self, sock: socket.socket, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        self.last = super().wrap_socket(sock, *args, **kwargs)
        return self.last

    def close_last(self) -> None:
        """Close the last socket; idempotent."""
        if self.last is not None:
            self.last.close()
            self.last = None


class TlsFilesError(ValueError):
    """A file of `[mqtt.tls]` cannot be used; the message names the setting and the file, and never what is in it."""


def tls_context(settings: TlsSettings) -> TlsContext:
    """What `settings` trust and present, read anew for each connection: a renewed certificate needs no restart.

    TLS 1.2 or newer; the broker's certificate is verified with its name. Raises TlsFilesError.
    """
    context = TlsContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.ca is not None:
        with _reading("ca", settings.ca):
            context.load_verify_locations(settings.ca)
    else:
        context.load_default_certs()
    if settings.cert is not None:
        for name, file in (("cert", settings.cert), ("key", settings.key)):
            if file is not None:
                with _reading(name, file), open(file, "rb"):
                    pass
        with _reading("cert", settings.cert):
            # Without a password OpenSSL would ask the terminal for that of an encrypted key.
            context.load_cert_chain(settings.cert, settings.key, password="")
    if settings.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@contextmanager
def _reading(name: str, file: Path) -> Iterator[None]:
    try:
        yield
    except ssl.SSLError as error:
        wrong = _WRONG.get(error.reason or "", "it is no PEM file of a certificate or key, or the key has a password")
        raise TlsFilesError(f"mqtt.tls.{name} ({file}): {wrong}") from None
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise TlsFilesError(f"mqtt.tls.{name} ({file}): {why.lower()}") from None
