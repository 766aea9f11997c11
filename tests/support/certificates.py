"""Certificates for tests, made by the openssl command: of an authority, of its own, for servers alone."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """PEM files of one certificate."""

    certificate: Path
    key: Path


def make_certificate(
    folder: Path, name: str, authority: Certificate | None = None, *, use: str = "serverAuth,clientAuth"
) -> Certificate:
    """A certificate for the host «NAME.example», signed by `authority` or by itself; `use` is its extendedKeyUsage."""
    made = Certificate(folder / f"{name}.crt", folder / f"{name}.key")
    signed = ["-CA", str(authority.certificate), "-CAkey", str(authority.key)] if authority else []
    command = [
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", str(made.key), "-out", str(made.certificate), "-days", "2", "-subj", f"/CN={name}.example"),
        *("-addext", f"extendedKeyUsage={use}", *signed),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return made
