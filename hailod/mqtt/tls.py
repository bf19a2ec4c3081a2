"""The TLS side of `[mqtt.tls]`."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from hailod.config.model import TlsSettings

HANDSHAKE_TIMEOUT = 5.0


class _Socket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        # paho 2.1 allows it the whole keep-alive time, which may be ten minutes.
        self.settimeout(HANDSHAKE_TIMEOUT)
        super().do_handshake(block)


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


def tls_context(settings: TlsSettings) -> TlsContext:
    """What `settings` trust and present, read anew for each connection: a renewed certificate needs no restart.

    Raises OSError.
    """
    context = TlsContext(ssl.PROTOCOL_TLS_CLIENT)
    if settings.ca is not None:
        context.load_verify_locations(settings.ca)
    else:
        context.load_default_certs()
    if settings.cert is not None:
        # Without a password OpenSSL would ask the terminal for that of an encrypted key.
        context.load_cert_chain(settings.cert, settings.key, password="")
    if settings.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
