"""`registry.json`: the rules of a registry, and the rights of its folder."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lang1.registry.errors import RegistryError
from lang1.registry.files import folder_mode, read_bytes, replace_bytes

DESCRIPTION_FILE: Final = "registry.json"
CANARY_STEPS: Final = (5, 25, 50, 100)


class Description(BaseModel):
    """`registry.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    require_approval: bool = True
    """A canary needs a person's approval."""
    canary_steps: tuple[Annotated[int, Field(ge=1, le=100)], ...] = CANARY_STEPS
    """Percent of encounters, rising to 100."""

    @model_validator(mode="after")
    def _check(self) -> Description:
        if list(self.canary_steps) != sorted(set(self.canary_steps)) or self.canary_steps[-1:] != (100,):
            raise ValueError("canary_steps must rise and end at 100")
        return self


def read_description(folder: Path) -> Description:
    """The rules of the registry at `folder`. Raises RegistryError, also for a folder that everyone may write to."""
    try:
        description = Description.model_validate_json(read_bytes(folder / DESCRIPTION_FILE))
        check_rights(folder)
    except OSError as error:
        raise RegistryError(
            f"{folder}: no readable {DESCRIPTION_FILE} ({type(error).__name__}); give a registry's folder, "
            "or make one with `lang1 registry init`"
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise RegistryError(f"{folder}/{DESCRIPTION_FILE}: {first['msg']}; correct the file") from None
    return description


def write_description(folder: Path, description: Description) -> None:
    """Write the rules: the last step of making a registry."""
    replace_bytes(folder / DESCRIPTION_FILE, description.model_dump_json(indent=2).encode() + b"\n", folder)


def check_rights(folder: Path) -> None:
    """Raise RegistryError for a folder that everyone on this machine may write to."""
    if folder_mode(folder) & stat.S_IWOTH:
        raise RegistryError(f"{folder} can be written by everyone on this machine; take that right away (chmod o-w)")
