"""A checked DocumentReference to a ClinicalNote, and the identity that travels on to the answer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from fhir_adapters.attachments.fetching import Fetcher, NoFetcher
from fhir_adapters.attachments.limits import AttachmentLimits
from fhir_adapters.attachments.reading import read_document_text
from fhir_adapters.document_reference import NotePolicy, ParsedDocument, check_scorable_status
from fhir_adapters.errors import FhirInputError
from fhir_adapters.references import parse_instant
from lang1.errors import NoteError
from lang1.notes import ClinicalNote, check_scorable, clean_text


@dataclass(frozen=True, slots=True)
class DocumentIdentity:
    """Which document a score is of. No text; but references and identifiers are PHI, for the store and not for logs.

    References are literal (`Patient/1`); `..._identifier` are tokens `system|value`. Times are FHIR strings, as sent.
    """

    document_id: str | None
    version_id: str | None
    master_identifier: str | None
    identifier: str | None
    subject: str | None
    subject_identifier: str | None
    encounter: str | None
    encounter_identifier: str | None
    period_start: str | None
    period_end: str | None
    date: str | None
    status: str
    doc_status: str | None
    note_type: str | None
    replaces: tuple[str, ...]
    text_sha256: str
    """SHA-256 (hex) of the decoded text in UTF-8, before cleaning."""

    @property
    def preliminary(self) -> bool:
        """Whether the note was unsigned when it was scored."""
        return self.doc_status == "preliminary"

    @property
    def key(self) -> str | None:
        """What the source calls the document: its id, else masterIdentifier, else identifier, else None."""
        return self.document_id or self.master_identifier or self.identifier


@dataclass(frozen=True, slots=True)
class ScorableNote:
    """A note ready to be scored and the document it came from."""

    note: ClinicalNote
    identity: DocumentIdentity


def document_to_note(
    document: ParsedDocument,
    fetcher: Fetcher | None = None,
    limits: AttachmentLimits | None = None,
    policy: NotePolicy | None = None,
) -> ScorableNote:
    """Check the policy, read the preferred attachment, clean its text and apply the filter shared with training.

    Blocking: a url is fetched, and anything but text/plain is parsed in a process of its own. Raises FhirInputError:
    what `check_scorable_status` and `read_document_text` raise; 422 required for a note of white space; 422
    business-rule for one that training would have dropped.
    """
    check_scorable_status(document, policy or NotePolicy())
    raw = read_document_text(document.contents, fetcher or NoFetcher(), limits or AttachmentLimits())
    text = _scorable(raw)
    identity = document_identity(document, hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest())
    note = ClinicalNote(
        note_id=identity.key or f"sha256:{identity.text_sha256}",
        text=text,
        note_type=document.note_type,
        subject=document.subject or document.subject_identifier,
        encounter=document.encounter or document.encounter_identifier,
        authored=parse_instant(document.date) if document.date else None,
    )
    return ScorableNote(note, identity)


def document_identity(document: ParsedDocument, text_sha256: str) -> DocumentIdentity:
    """The identity of a document whose decoded text has this SHA-256."""
    return DocumentIdentity(
        document_id=document.document_id,
        version_id=document.version_id,
        master_identifier=document.master_identifier,
        identifier=document.identifier,
        subject=document.subject,
        subject_identifier=document.subject_identifier,
        encounter=document.encounter,
        encounter_identifier=document.encounter_identifier,
        period_start=document.period_start,
        period_end=document.period_end,
        date=document.date,
        status=document.status,
        doc_status=document.doc_status,
        note_type=document.note_type,
        replaces=document.replaces,
        text_sha256=text_sha256,
    )


def _scorable(raw: str) -> str:
    text = clean_text(raw)
    expression = "DocumentReference.content"
    if not text:
        raise FhirInputError(
            "the note is empty or white space; send the note's narrative text", code="required", expression=expression
        )
    try:
        check_scorable(text)
    except NoteError as error:
        raise FhirInputError(str(error), code="business-rule", expression=expression) from None
    return text
