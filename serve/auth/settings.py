"""Settings of authentication."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class AuthSettings(BaseModel):
    """Who may call."""

    model_config = ConfigDict(frozen=True)
