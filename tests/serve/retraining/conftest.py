"""An authorisation server for the routes' tests."""

from __future__ import annotations

from tests.serve.auth.conftest import idp

__all__ = ["idp"]
