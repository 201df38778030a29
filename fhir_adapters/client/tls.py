"""TLS of the client: which authorities are trusted, and the certificate that it shows."""

from __future__ import annotations

import ssl
from pathlib import Path

from fhir_adapters.client.errors import ClientConfigError


def tls_context(
    ca_file: Path | None = None, *, cert_file: Path | None = None, key_file: Path | None = None
) -> ssl.SSLContext:
    """Certificates and host names are always checked, from TLS 1.2.

    `ca_file` (PEM) is trusted in place of the system's authorities. `cert_file` and `key_file` (PEM; one file may hold
    both) are shown to a server that asks. Raises ClientConfigError naming the file.
    """
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ClientConfigError(f"CA file {ca_file}: no PEM certificates ({type(error).__name__})") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert_file is not None:
        try:
            # An empty passphrase: without one OpenSSL would ask for it on the terminal.
            context.load_cert_chain(cert_file, key_file, password="")
        except (OSError, ssl.SSLError) as error:
            raise ClientConfigError(
                f"client certificate {cert_file}: no PEM certificate with its key, without a passphrase "
                f"({type(error).__name__})"
            ) from None
    return context
