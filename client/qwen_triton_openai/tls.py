"""Certificate files, checked before anything is served with them."""

from __future__ import annotations

import ssl

from qwen_triton.errors import ConfigurationError

from .gate_settings import GateSettings


def check_certificate(settings: GateSettings) -> None:
    """Raises ConfigurationError for files that cannot be used; nothing is asked for where no certificate is named."""
    if settings.tls_certificate is None:
        if settings.tls_key is not None:
            raise ConfigurationError("openai.tls_key: a key alone serves nothing; give tls_certificate as well")
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(settings.tls_certificate, settings.tls_key)
    except OSError as error:
        files = " and ".join(str(file) for file in (settings.tls_certificate, settings.tls_key) if file)
        raise ConfigurationError(f"openai.tls_certificate: {files} cannot be used: {error.strerror or error}") from None
