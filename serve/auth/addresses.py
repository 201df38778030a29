"""Addresses and URLs that settings name: what stays on this machine, what is safe to fetch from."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether an address (or `localhost`) can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def trusted_url(url: str) -> str:
    """`url` as it is. Raises ValueError unless it is https, or http to a loopback address, without user or fragment."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        raise ValueError("not a URL; give one as https://idp.example.org/path") from None
    if not host or "@" in parts.netloc or "#" in url or not url.isascii() or any(c.isspace() for c in url):
        raise ValueError("not a plain URL; give one as https://idp.example.org/path, without user or fragment")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise ValueError("must be https (http only to a loopback address)")
    return url


def is_trusted_url(url: object) -> bool:
    """Whether `trusted_url` takes it."""
    try:
        return isinstance(url, str) and bool(trusted_url(url))
    except ValueError:
        return False


def origin(url: str) -> str:
    """scheme://host[:port] of a URL, as a browser's Origin header has it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()
