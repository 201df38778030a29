"""The channels: which bundle is champion, which challenger, and how far its rollout has come. One small file."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lang1.bundle import Sha256
from lang1.registry.errors import RegistryError
from lang1.registry.files import read_bytes

CHANNELS_FILE: Final = "channels.json"
Stage = Literal["shadow", "canary"]


class Channels(BaseModel):
    """One state of the channels. Each move makes a new one, with the next revision."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    revision: Annotated[int, Field(ge=0)]
    champion: Sha256 | None = None
    challenger: Sha256 | None = None
    previous: Sha256 | None = None
    """The champion before the last promotion: what a rollback restores."""
    stage: Stage | None = None
    share: Annotated[int, Field(ge=0, le=100)] = 0
    """Percent of encounters that the challenger answers; 0 in shadow."""
    since: datetime
    """When the last move was made."""
    rollout_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    """The same from shadow to promotion or rollback; the salt by which encounters are assigned."""

    @model_validator(mode="after")
    def _check(self) -> Channels:
        present = {self.challenger is None, self.stage is None, self.rollout_id is None}
        if len(present) != 1:
            raise ValueError("challenger, stage and rollout_id go together")
        if (self.share > 0) != (self.stage == "canary"):
            raise ValueError("a share above 0 is a canary's, and a canary has one")
        return self

    @property
    def in_rollout(self) -> bool:
        return self.stage is not None

    def to_bytes(self) -> bytes:
        """The file's content."""
        return json.dumps(self.model_dump(mode="json"), indent=2).encode() + b"\n"


def read_channels(folder: Path) -> Channels:
    """The channels of the registry at `folder`, as they are now; takes no lock. Raises RegistryError."""
    try:
        return Channels.model_validate_json(read_bytes(folder / CHANNELS_FILE))
    except OSError as error:
        raise RegistryError(
            f"{folder}: {CHANNELS_FILE} cannot be read ({type(error).__name__}); give a registry's folder, "
            "or make one with `lang1 registry init`"
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or CHANNELS_FILE
        raise RegistryError(f"{folder}: {CHANNELS_FILE}: {where}: {first['msg']}; restore the file") from None
