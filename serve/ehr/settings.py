"""Settings of the service as a client of the hospital's FHIR server."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class EhrSettings(BaseModel):
    """How the FHIR server at `fhir_base_url` is reached."""

    model_config = ConfigDict(frozen=True)
