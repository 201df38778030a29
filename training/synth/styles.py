"""How a note is laid out and worded: headings, order of sections, sentences, pasted text. What it tells is the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from training.synth import filler, phrases

Pool = tuple[str, ...]
HP_ORDER = ("history", "family", "social", "review", "drugs", "exam", "data", "assessment", "background")
DISCHARGE_ORDER = ("history", "social", "drugs", "course", "data", "leaving")


@dataclass(frozen=True, slots=True)
class NoteStyle:
    """`orders` by kind of note, without the story, which comes first, and coverage, which `coverage_first` places.

    Frames have the fields that those of `filler` and `phrases` have, and end with a full stop.
    """

    orders: Mapping[str, Pool] = field(default_factory=lambda: {"admission": HP_ORDER, "discharge": DISCHARGE_ORDER})
    coverage_first: float = 0.55
    """Share of admission notes whose coverage follows the story; else it comes last."""
    headers: Mapping[str, Pool] = field(default_factory=lambda: filler.HEADERS)
    openings: Mapping[str, Pool] = field(default_factory=lambda: filler.OPENINGS)
    templates: Mapping[str, Pool] = field(default_factory=lambda: filler.TEMPLATES)
    pasted: Pool = filler.PASTED
    plain: Pool = phrases.PLAIN_FRAMES
    contrast: Pool = phrases.CONTRAST_FRAMES
    positive: Pool = filler.POSITIVE_FRAMES
    negative: Pool = filler.NEGATIVE_FRAMES
    mixed: Pool = filler.MIXED_FRAMES
    family: Pool = filler.FAMILY_FRAMES
    late: Pool = ()
    """Sections moved to the end, in this order."""
    missing: frozenset[str] = frozenset()
    """Sections that are left out."""

    def laid_out(self, late: Pool = (), missing: frozenset[str] = frozenset()) -> NoteStyle:
        """This style with other sections moved or left out."""
        return replace(self, late=late, missing=missing)


PLAIN = NoteStyle()

NEW_TEMPLATE = NoteStyle(
    orders={
        "admission": ("assessment", "data", "exam", "drugs", "review", "history", "background", "social", "family"),
        "discharge": ("leaving", "course", "drugs", "data", "social", "history"),
    },
    coverage_first=0.0,
    headers={
        "history": ("[PROBLEM LIST]", "[ACTIVE AND RESOLVED PROBLEMS]"),
        "family": ("[RELATIVES]",),
        "social": ("[SDOH AND FUNCTION]",),
        "review": ("[SYMPTOM CHECKLIST]",),
        "drugs": ("[MED REC]",),
        "exam": ("[BEDSIDE ASSESSMENT]",),
        "data": ("[RESULTS REVIEW]",),
        "assessment": ("[CARE PLAN]", "[PLAN OF CARE BY PROBLEM]"),
        "background": ("[ATTESTATION]",),
        "coverage": ("[PATIENT ACCESS]",),
        "story": ("[REASON FOR VISIT]",),
        "course": ("[EVENTS OF THE STAY]",),
        "leaving": ("[TRANSITION OF CARE]",),
    },
    openings={
        "admission": (
            "Age {age}, {noun}, encounter reason: {reason}.", "Reason: {reason}; patient: {noun} of {age} years.",
        ),
        "discharge": (
            "Age {age}, {noun}, stay reason: {reason}.", "Stay reason: {reason}; patient: {noun} of {age} years.",
        ),
    },
    pasted=(
        "This document was assembled from structured fields; empty fields were suppressed and the signer is "
        "responsible for the whole content.",
        "Ambient capture was in use during this encounter with the agreement of everybody in the room, and the draft "
        "was edited before signature.",
        "SmartSection refreshed at signing time; values shown may differ from those at the time of the visit.",
        "The open notes policy applies and this record may be read by the patient through the portal without delay.",
    ),
    plain=(
        "[{h}] {c}.", "[{h}] {f} // {c}.", "{h} = {c}.", "{h} :: {c} ({f}).", "Field {h}, entry {c}.",
        "{h} selected {f}: {c}.",
    ),
    contrast=(
        "[{h}] {c} // prior entry {o} {f} superseded.", "[{h}] prior entry {o} {f} superseded // {c}.",
        "{h} = {c} (was {o}, {f}).", "{h} (was {o}, {f}) = {c}.",
        "Field {h}, entry {c}, retracted {o} {f}.", "Field {h}, retracted {o} {f}, entry {c}.",
    ),
    positive=(
        "[+] {x}.", "Active: {x}.", "Status active {f}: {x}.", "Problem {x}, chronic, {f}.",
    ),
    negative=(
        "[-] {x}.", "Inactive: {x}.", "Status absent {f}: {x}.", "Problem {x}, refuted, {f}.",
    ),
    mixed=(
        "[+] {p} [-] {n}, {f}.", "[-] {n} [+] {p}, {f}.", "Active {p}; inactive {n} {f}.",
        "Inactive {n}; active {p} {f}.",
    ),
    family=(
        "Relative {r}: {x}.", "Relative {r}: {x}, {y}.", "{x} recorded for {r}.",
    ),
)  # fmt: skip
"""The template of `scenarios.NoteTemplate`: structured fields, care plan first, another house's pasted text."""

SECOND_HOUSE = NoteStyle(
    orders={
        "admission": ("exam", "data", "social", "history", "assessment", "drugs", "review", "background", "family"),
        "discharge": ("course", "leaving", "data", "drugs", "social", "history"),
    },
    coverage_first=0.2,
    headers={
        "history": ("PROBLEMS:", "CHRONIC CONDITIONS:", "HX:"),
        "family": ("FAMILY:", "HEREDITY:"),
        "social": ("FUNCTION AND HOME:", "SOCIAL WORK INTAKE:"),
        "review": ("SYSTEMS:", "SX CHECK:"),
        "drugs": ("CURRENT RX:", "PTA MEDS:"),
        "exam": ("O:", "FINDINGS:", "ON EXAM:"),
        "data": ("TESTS:", "LAB AND RADIOLOGY:"),
        "assessment": ("PLAN:", "DISPO AND PLAN:", "IMP/PLAN:"),
        "background": ("ONE-LINER:", "STAFF NOTE:"),
        "coverage": ("PFS:", "BUSINESS OFFICE:", "UM SCREEN:"),
        "story": ("S:", "PRESENTING PROBLEM:", "CC:"),
        "course": ("BY PROBLEM:", "WHAT WE DID:"),
        "leaving": ("GOING HOME PLAN:", "EXIT PLAN:"),
    },
    openings={
        "admission": (
            "{letter}, {age}, with {reason}.", "Pt {age}{letter}, {reason}.", "{noun} of {age}, came with {reason}.",
        ),
        "discharge": (
            "{letter}, {age}, in for {reason}.", "Pt {age}{letter} after {reason}.",
            "{noun} of {age}, was in with {reason}.",
        ),
    },
    templates={
        **filler.TEMPLATES,
        "story": (
            "Onset {n} d ago.", "Walked in.", "Via squad.", "Spouse of a neighbor drove.", "No travel.",
            "Ate {n} h ago.",
            "No abx before.", "Pain {n}/10.", "Seen in clinic {m} d ago.",
        ),
        "exam": (
            "HEENT neg.", "Neck supple.", "Abd soft NT.", "Skin clear.", "Ext no edema.", "T 36.{n}.", "Wt {m} kg.",
            "Pulses 2+.", "Joints OK.", "Dentures.",
        ),
        "data": (
            "WBC {n}.1.", "Hb 1{n}.0.", "Plt 2{m}.", "Na 13{n}.", "K 4.{n}.", "Glu 1{m}.", "EKG SR.", "CXR done.",
            "UA bland.", "INR 1.{n}.", "Mg 2.{n}.",
        ),
        "assessment": (
            "SQH.", "Diet reg.", "Labs AM.", "PT/OT.", "I/O.", "Bowel meds.", "IS q{n}h.", "Dietitian.",
            "Tylenol first.",
            "Fall risk band on.",
        ),
        "course": (
            "Diet up on d{n}.", "Foley out.", "PT saw.", "IV out.", "Labs daily.", "Consults done.", "Slept {n} h.",
            "Films reviewed.",
        ),
    },
    pasted=(
        "Copied from the emergency record without changes; see the scanned sheet for the wording of the triage nurse.",
        "Telehospitalist cover at night; calls were taken from the hub and are logged there with time and initials.",
        "County form 12 completed and faxed; the confirmation page is kept with the chart at the desk.",
    ),
    plain=(
        "{h} {c}.", "{h}: {c}, {f}.", "{c} for {h}.", "{f}: {h} {c}.", "{h} -> {c}.", "{h} / {c}.",
    ),
    contrast=(
        "{h} {c}, not {o}.", "{h} not {o}, {c}.", "{h} -> {c} (old sheet {o}, {f}).",
        "{h} (old sheet {o}, {f}) -> {c}.",
        "{h}: was {o} {f}, is {c}.", "{h}: is {c}, was {o} {f}.", "{f} crossed out {o}, {h} {c}.",
    ),
    positive=(
        "Has {x}.", "{x} yes.", "+ {x}.", "{x}, on file {f}.", "Lives with {x}.",
    ),
    negative=(
        "No {x}.", "{x} no.", "0 {x}.", "{x}, not on file {f}.", "Was told {x}, {f}, wrongly.",
    ),
    mixed=(
        "{p} yes, {n} no.", "{n} no, {p} yes.", "+ {p}, 0 {n}, {f}.", "0 {n}, + {p}, {f}.",
    ),
    family=(
        "{r}: {x}.", "{r}: {x}, {y}.", "{x} ({r}).", "{r} had {x}.",
    ),
)  # fmt: skip
"""The second hospital's: terse lists, function before history, coverage at the end."""
