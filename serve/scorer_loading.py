"""From a bundle's folder to a model that scores. Imports torch when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lang1.errors import BundleError
from lang1.tasks import BUILT_IN, load_tasks

if TYPE_CHECKING:
    from lang1.scorer import PackedScorer
    from serve.scorer import ScorerSettings


def load_scorer(bundle: Path, settings: ScorerSettings, sha256: str | None = None) -> PackedScorer:
    """The model of a bundle, which is the one with this hash where one is given. Raises BundleError, DeviceError."""
    from lang1.scorer import PackedScorer

    registry = load_tasks(Path(settings.tasks_file)) if settings.tasks_file else BUILT_IN
    scorer = PackedScorer.load(
        bundle,
        device=settings.device,  # type: ignore[arg-type]  # checked by Settings
        dtype=settings.dtype,  # type: ignore[arg-type]
        registry=registry,
    )
    if sha256 is not None and scorer.identity.bundle_sha256 != sha256:
        raise BundleError(f"the registry holds another bundle under the hash {sha256}; add the original again")
    # A task that somebody wrote down and the model cannot answer must not go missing in silence.
    if unknown := [name for name in registry if name not in BUILT_IN and name not in scorer.registry]:
        raise BundleError(f"tasks_file: the bundle was not trained on {', '.join(unknown)}; take it out or train it")
    return scorer
