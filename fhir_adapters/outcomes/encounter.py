"""Encounter (R4) to a stay: when, of whom, what kind, how it ended, and in which units."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any, Final

from fhir_adapters.errors import FhirInputError
from fhir_adapters.outcomes.codes import code_list
from fhir_adapters.outcomes.elements import (
    check_code,
    extension,
    instant,
    instant_or_day,
    merged,
    reference_names,
    refuse_future,
    to_ms,
)
from fhir_adapters.outcomes.facts import EncounterFact, FactIdentity, Reading, UnitStay
from fhir_adapters.outcomes.mapping import OutcomeMapping
from fhir_adapters.references import codings, identifier_token, objects, text_of

STATUS_CODES: Final = (
    "planned", "arrived", "triaged", "in-progress", "onleave", "finished", "cancelled", "entered-in-error", "unknown",
)  # fmt: skip
OPEN_STATUSES: Final = frozenset({"arrived", "triaged", "in-progress", "onleave"})
_NOT_BEGUN: Final = frozenset({"planned", "cancelled"})
_MAX_PLACES: Final = 200
_MAX_CONDITIONS: Final = 200
_MAX_UNIT_CHARS: Final = 80
_NOT_THERE_YET: Final = frozenset({"planned", "reserved"})
_NOON: Final = time(12)
# One diagnosis of a stay's list is a guess among others: it is not coded.
_GUESSES: Final = code_list(("http://terminology.hl7.org/CodeSystem/ex-diagnosistype|differential",))


def read_encounter(resource: dict[str, Any], identity: FactIdentity, reading: Reading) -> EncounterFact:
    """The stay of a checked Encounter whose status is not entered-in-error.

    A stay that has begun must say when, with time and zone; one that is finished, when it ended. `period.end` of one
    that goes on is the expected end (R4: an end in the future is a plan). `unknown` with an end is over.
    Raises FhirInputError 422: required, value, code-invalid.
    """
    mapping = reading.mapping
    status = check_code(resource, "status", STATUS_CODES)
    subjects = reference_names(resource.get("subject"), "Encounter.subject", reading.base_url)
    if not subjects:
        raise FhirInputError(
            "Encounter.subject names no patient by reference or identifier; send Patient/<id> or an identifier",
            code="required",
            expression="Encounter.subject",
        )
    started, ended, planned_end = _times(resource, status, reading)
    notes: list[str] = []
    stay = resource.get("hospitalization")
    stay = stay if isinstance(stay, dict) else {}
    kinds = [resource.get("priority"), *objects(resource.get("type"))]
    services = [resource.get("serviceType"), *objects(resource.get("type"))]
    units, expected = _units(resource, reading)
    return EncounterFact(
        identity=identity,
        subject=subjects[0],
        status=status,
        inpatient=code_list(mapping.inpatient_classes).holds(resource.get("class")),
        booked=code_list(mapping.booked_classes).holds(resource.get("class")),
        left_out=code_list(mapping.left_out_classes).holds(resource.get("class"))
        or any(map(code_list(mapping.left_out_services).holds, services)),
        planned=any(map(code_list(mapping.planned_priorities).holds, kinds)),
        transferred_in=code_list(mapping.transfer_sources).holds(stay.get("admitSource")),
        newborn=any(map(code_list(mapping.newborn_codes).holds, [stay.get("admitSource"), *kinds])),
        died=_died(stay.get("dischargeDisposition"), ended is not None, mapping, notes),
        started_ms=None if started is None else to_ms(started),
        ended_ms=None if ended is None else to_ms(ended),
        planned_end_ms=None if planned_end is None else to_ms(planned_end),
        unit=units[-1].unit if units else expected,
        units=units,
        conditions=_conditions(resource, reading),
        notes=tuple(notes),
    )


def _times(resource: dict[str, Any], status: str, reading: Reading) -> tuple[datetime | None, ...]:
    """Start, end and expected end."""
    period, zone = resource.get("period"), reading.zone
    if status in _NOT_BEGUN:
        # A booking may be for a day; noon is in it.
        start = instant_or_day(period, "start", "Encounter.period.start", _NOON, zone)
        return start, None, instant_or_day(period, "end", "Encounter.period.end", _NOON, zone)
    start = instant(period, "start", "Encounter.period.start")
    if start is None:
        raise _missing("Encounter.period.start", "send when the stay began")
    refuse_future(start, "Encounter.period.start", reading.now)
    if status in OPEN_STATUSES:
        end = instant_or_day(period, "end", "Encounter.period.end", _NOON, zone)
        planned = extension(resource, reading.mapping.planned_discharge_extension)
        stated = instant_or_day(planned, "valueDateTime", "Encounter.extension", _NOON, zone) if planned else None
        return start, None, stated or end
    end = instant(period, "end", "Encounter.period.end")
    if end is None and status == "finished":
        raise _missing("Encounter.period.end", "send when the stay ended, or another status")
    if end is not None:
        refuse_future(end, "Encounter.period.end", reading.now)
    return start, end, None


def _died(disposition: object, over: bool, mapping: OutcomeMapping, notes: list[str]) -> int:
    if not disposition:
        return -1
    if code_list(mapping.died_dispositions).holds(disposition):
        return 1
    if not code_list(mapping.alive_dispositions).holds(disposition):
        notes.append(
            "Encounter.hospitalization.dischargeDisposition is on neither list of the mapping (died_dispositions, "
            "alive_dispositions), so the stay counts as one without a disposition"
        )
        return -1
    # Where somebody is expected to go says nothing yet.
    return 0 if over else -1


def _units(resource: dict[str, Any], reading: Reading) -> tuple[tuple[UnitStay, ...], str | None]:
    """Times in units, in order, and the unit that is only expected."""
    places = objects(resource.get("location"))[:_MAX_PLACES]
    leveled = [place for place in places if _levels(place) & set(reading.mapping.unit_physical_types)]
    if any(_levels(place) for place in places):
        # Beds and rooms stand beside their ward, as entries of their own.
        places = leveled
    been: list[UnitStay] = []
    expected: str | None = None
    for place in places:
        unit = _unit_name(place.get("location"), reading)
        if unit is None:
            continue
        if place.get("status") in _NOT_THERE_YET or resource["status"] in _NOT_BEGUN:
            expected = expected or unit
            continue
        period = place.get("period")
        start, end = (
            instant_or_day(period, name, f"Encounter.location.period.{name}", _NOON, reading.zone)
            for name in ("start", "end")
        )
        active = place.get("status") != "completed"
        until = to_ms(end) if end is not None and not (active and resource["status"] in OPEN_STATUSES) else None
        been.append(UnitStay(unit, None if start is None else to_ms(start), until))
    # Without a start, a place is where the stay began; one that has an end comes before one that goes on.
    been.sort(key=lambda each: (each.from_ms or 0, each.until_ms is None, each.until_ms or 0, each.unit))
    return tuple(been), expected


def _levels(place: dict[str, Any]) -> set[str]:
    return {str(coding.get("code")) for coding in codings(place.get("physicalType"))}


def _unit_name(location: object, reading: Reading) -> str | None:
    """The mapping's name of a unit, else the display, else what the location is called."""
    display = text_of(location, "display")
    names = list(reference_names(location, "Encounter.location.location", reading.base_url))
    token = identifier_token(location.get("identifier")) if isinstance(location, dict) else None
    for known in (*names, token, display):
        if known is not None and known in reading.mapping.units:
            return reading.mapping.units[known]
    name = next(filter(None, (" ".join(display.split()) if display else None, *names)), None)
    return name[:_MAX_UNIT_CHARS].strip() or None if name else None


def _conditions(resource: dict[str, Any], reading: Reading) -> tuple[str, ...]:
    listed = objects(resource.get("diagnosis"))[:_MAX_CONDITIONS]
    return merged(
        reference_names(each.get("condition"), "Encounter.diagnosis.condition", reading.base_url)
        for each in listed
        if not _GUESSES.holds(each.get("use"))
    )


def _missing(path: str, mend: str) -> FhirInputError:
    return FhirInputError(f"{path} is missing; {mend}", code="required", expression=path)
