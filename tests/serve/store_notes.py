"""Notes as the store gets them, all invented."""

from __future__ import annotations

from serve.store.records import NewNote, NewPrediction, note_key, prediction_id

BUNDLE = "b" * 64


def note(
    document: str = "DocumentReference/1", *, tasks: int = 2, subject: str | None = "Patient/1", **more: object
) -> NewNote:
    key = note_key("test", document, "0" * 64)
    predictions = tuple(
        NewPrediction(
            prediction_id(key, f"task{i}", 1, BUNDLE), f"task{i}", 1, 0.5, {"p": [i]}, f"ident-{document}-{i}"[:64]
        )
        for i in range(tasks)
    )
    fields: dict[str, object] = {
        "note_key": key, "source": "test", "document": document, "text_sha256": "0" * 64, "subject": subject,
        "encounter": "Encounter/1", "model_version": "1", "bundle_sha256": BUNDLE, "predictions": predictions,
    }  # fmt: skip
    return NewNote(**{**fields, **more})  # type: ignore[arg-type]
