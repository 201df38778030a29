"""Where Ray Serve's proxy really listens: a config file binds it by its own `http_options`, not by our `host`."""

from __future__ import annotations

from serve.auth.addresses import is_loopback
from serve.errors import SettingsError
from serve.settings import Settings


def check_listen_address(settings: Settings) -> None:
    """Raise SettingsError where the proxy listens beyond this machine and there is no authentication.

    Where the address cannot be known nothing is raised: the guard still answers loopback connections alone.
    """
    if settings.authenticates:
        return
    host = proxy_host()
    if host is not None and not is_loopback(host):
        raise SettingsError(
            f"Ray Serve listens on {host} and there is no authentication; set http_options.host to 127.0.0.1 in the "
            "Serve config file, or auth_issuers"
        )


def proxy_host() -> str | None:
    """The address in Ray Serve's running HTTP options; None where Ray does not say."""
    try:
        from ray.serve.context import _get_global_client

        client = _get_global_client(raise_if_no_controller_running=False)
        host = client.http_config.host if client is not None else None
    except Exception:  # Ray's own API: whatever it raises, the guard holds
        return None
    return host if isinstance(host, str) else None
