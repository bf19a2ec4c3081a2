"""An authority of its own that signs certificates, made by the openssl command."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, as files."""

    cert: Path
    key: Path


class Authority:
    """A certificate authority; `ca` is what one trusts it by."""

    def __init__(self, directory: Path, name: str) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("needs openssl: apt-get install openssl")
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._key = directory / f"{name}.key"
        self.ca = directory / f"{name}.pem"
        # Python 3.13 wants of an authority that it says what its key is for.
        about = ["-days", "2", "-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        self._openssl("req", "-x509", *_KEY, *about, "-keyout", self._key, "-out", self.ca)

    def sign(self, name: str, alternative: str = "", *, days: int = 2) -> Certificate:
        """A certificate for `name` and its address `alternative` (`IP:127.0.0.1`); with `days` < 0 it has expired."""
        cert, key, request = (self._directory / f"{name}.{end}" for end in ("pem", "key", "csr"))
        self._openssl("req", "-new", *_KEY, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        extension = self._directory / f"{name}.ext"
        identity = "authorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\nbasicConstraints=CA:FALSE\n"
        extension.write_text(identity + (f"subjectAltName={alternative}\n" if alternative else ""))
        signed = ["-CA", self.ca, "-CAkey", self._key, "-CAcreateserial", "-extfile", extension]
        self._openssl("x509", "-req", "-in", request, *signed, "-days", days, "-out", cert)
        return Certificate(cert, key)

    def _openssl(self, *arguments: object) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, cwd=self._directory)
