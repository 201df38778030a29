"""The knobs of a hospital from a YAML file, with those of a preset under it and those of the command line over it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from lang1.errors import Lang1Error
from training.synth.config import SynthConfig
from training.synth.presets import PRESETS


class SynthConfigError(Lang1Error):
    """A knob is wrong: names the file, the knob and what is wrong with it."""

    code = "invalid"


def synth_config(preset: str, file: Path | None, given: Mapping[str, Any], *, patients: int) -> SynthConfig:
    """The configuration of `preset`, changed by `file` (YAML), changed by `given`; `patients` where none says it.

    Raises SynthConfigError.
    """
    if preset not in PRESETS:
        raise SynthConfigError(f"no preset {preset!r}; there are {', '.join(PRESETS)}")
    where = "command line"
    stated: dict[str, Any] = {}
    if file is not None:
        where = str(file)
        try:
            stated = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError, RecursionError, ValueError) as error:
            raise SynthConfigError(
                f"{file}: cannot be read as YAML ({type(error).__name__}); send UTF-8 YAML"
            ) from None
        if not isinstance(stated, dict):
            raise SynthConfigError(f"{file}: is no list of knobs by name")
    try:
        return SynthConfig.model_validate({"patients": patients} | PRESETS[preset] | stated | dict(given), strict=False)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "configuration"
        raise SynthConfigError(f"{where}: {key}: {first['msg'].removeprefix('Value error, ')}") from None
