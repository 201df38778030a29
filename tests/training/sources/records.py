"""A tiny invented hospital, in PhysioNet's MIMIC-III v1.4 schema and as an export of its own. No real patient."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from pathlib import Path

import yaml

SUMMARY = 'Patient of {} was treated for pneumonia.\nShe said "better", ate well, and went home, on 1,000 mg.\n\nDr. X'
ADMISSION = "Chief complaint: dyspnea in {}.\nHistory of heart failure and diabetes; denies fever, chills or pain."

ADMISSIONS_HEADER = (
    "ROW_ID", "SUBJECT_ID", "HADM_ID", "ADMITTIME", "DISCHTIME", "DEATHTIME", "ADMISSION_TYPE", "ADMISSION_LOCATION",
    "DISCHARGE_LOCATION", "INSURANCE", "LANGUAGE", "RELIGION", "MARITAL_STATUS", "ETHNICITY", "EDREGTIME", "EDOUTTIME",
    "DIAGNOSIS", "HOSPITAL_EXPIRE_FLAG", "HAS_CHARTEVENTS_DATA",
)  # fmt: skip
NOTES_HEADER = (
    "ROW_ID", "SUBJECT_ID", "HADM_ID", "CHARTDATE", "CHARTTIME", "STORETIME", "CATEGORY", "DESCRIPTION", "CGID",
    "ISERROR", "TEXT",
)  # fmt: skip


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(header)
    writer.writerows(rows)
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def _admission(
    row: int, subject: int, stay: int, begins: str, ends: str, died: int = 0, kind: str = "EMERGENCY"
) -> list[object]:
    return [
        row, subject, stay, begins, ends, ends if died else "", kind, "ER", "DEAD" if died else "HOME", "Medicare", "",
        "", "", "", "", "", "PNEUMONIA", died, 1,
    ]  # fmt: skip


def _note(
    row: int, subject: int, stay: object, day: str, clock: str, category: str, description: str, text: str,
    error: object = "",
) -> list[object]:  # fmt: skip
    exact = f"{day} {clock}" if clock else ""
    return [row, subject, stay, day, exact, exact, category, description, "", error, text]


def _admission_note(
    row: int, stay: int, moment: str, category: str, description: str, words: str, error: object = ""
) -> list[object]:
    day, clock = moment.split()
    return _note(row, stay // 100, stay, day, clock, category, description, ADMISSION.format(words), error)


MIMIC_STAYS = [
    # Patient 1: back after 12 days; the second stay lasts 2.5 days.
    _admission(1, 1, 100, "2150-01-01 08:00:00", "2150-01-08 12:00:00"),
    _admission(2, 1, 101, "2150-01-20 10:00:00", "2150-01-22 22:00:00"),
    # Patient 2 dies, and is an organ donor on paper two days later.
    _admission(3, 2, 200, "2101-05-01 00:00:00", "2101-05-03 00:00:00", died=1),
    _admission(4, 2, 201, "2101-05-05 00:00:00", "2101-05-05 06:00:00", died=1),
    # Patient 3: a stay that ends before it begins; patient 4: an ordinary one.
    _admission(5, 3, 300, "2120-05-03 00:00:00", "2120-05-02 00:00:00"),
    _admission(6, 4, 400, "2130-02-01 09:00:00", "2130-02-04 09:00:00", kind="ELECTIVE"),
    # Patient 5 was born.
    _admission(7, 5, 500, "2140-02-01 09:00:00", "2140-02-03 09:00:00", kind="NEWBORN"),
]
MIMIC_NOTES = [
    _note(1, 1, 100, "2150-01-08", "", "Discharge summary", "Report", SUMMARY.format("one")),
    _note(2, 1, 100, "2150-01-09", "", "Discharge summary", "Addendum", SUMMARY.format("addendum")),
    _note(3, 1, 101, "2150-01-22", "", "Discharge summary", "Report", SUMMARY.format("early draft") * 3),
    _note(4, 1, 101, "2150-01-23", "", "Discharge summary", "Report", SUMMARY.format("final")),
    _note(5, 2, 200, "2101-05-03", "", "Discharge summary", "Report", SUMMARY.format("dead")),
    _note(6, 4, 400, "2130-02-04", "", "Discharge summary", "Report", SUMMARY.format("four")),
    _note(7, 5, 500, "2140-02-03", "", "Discharge summary", "Report", "Too short."),
    _note(8, 9, "", "2130-02-04", "", "Discharge summary", "Report", SUMMARY.format("no stay")),
    _note(9, 3, 300, "2120-05-02", "", "Discharge summary", "Report", SUMMARY.format("backwards")),
    # Admission notes of stay 100: the physician's goes before the longer nurse's, the resident's before the
    # attending's; an error and a readmission note do not count.
    _admission_note(20, 100, "2150-01-01 09:00:00", "Nursing", "Nursing Admission Note", "nurse" * 50),
    _admission_note(21, 100, "2150-01-01 12:00:00", "Physician ", "Physician Attending Admission Note", "a" * 50),
    _admission_note(22, 100, "2150-01-01 13:00:00", "Physician ", "Physician Resident Admission Note", "chosen"),
    _admission_note(23, 100, "2150-01-01 10:00:00", "Physician ", "Resident/Attending Admission Note", "wrong", 1),
    _admission_note(24, 100, "2150-01-01 10:00:00", "General", "Readmission Note", "readmission"),
    # Stay 101: the best note is written 200 hours after admission, after the end.
    _admission_note(25, 101, "2150-01-28 18:00:00", "Physician ", "Admission Note", "late"),
    _admission_note(26, 101, "2150-01-20 18:00:00", "Nursing", "Admission Note", "not taken"),
    _admission_note(27, 200, "2101-05-01 03:00:00", "General", "Admission Note", "dying"),
    _admission_note(28, 400, "2130-02-01 10:00:00", "Physician ", "Intensivist Admission Note", "four"),
    _admission_note(29, 400, "2130-02-02 10:00:00", "Radiology", "CHEST (PORTABLE AP)", "film"),
]  # fmt: skip
MIMIC_CODES = [
    (1, 1, 100, 1, "4280"),
    (2, 1, 100, 2, "25000"),
    (3, 4, 400, 1, "1970"),
    (4, 2, 200, 1, ""),
    (5, 3, 300, 1, "4280"),
]


def write_mimic3(folder: Path, gz: bool = True) -> Path:
    """ADMISSIONS, PATIENTS and DIAGNOSES_ICD as CSV, NOTEEVENTS as .csv.gz."""
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "ADMISSIONS.csv", ADMISSIONS_HEADER, MIMIC_STAYS)
    patients = [
        (row, row, "F", "2080-01-01 00:00:00", "2101-05-03 00:00:00" if row == 2 else "") for row in range(1, 6)
    ]
    write_csv(
        folder / "PATIENTS.csv",
        ("ROW_ID", "SUBJECT_ID", "GENDER", "DOB", "DOD", "DOD_HOSP", "DOD_SSN", "EXPIRE_FLAG"),
        [(*each, each[-1], "", int(bool(each[-1]))) for each in patients],
    )
    write_csv(folder / "DIAGNOSES_ICD.csv", ("ROW_ID", "SUBJECT_ID", "HADM_ID", "SEQ_NUM", "ICD9_CODE"), MIMIC_CODES)
    write_csv(folder / f"NOTEEVENTS.csv{'.gz' if gz else ''}", NOTES_HEADER, MIMIC_NOTES)
    return folder


STAYS_HEADER = ("PAT", "CSN", "IN", "OUT", "DISPO", "CLASS", "ICU")
STAYS = [
    ("P-1", "E1", "2023-05-01T08:00", "2023-05-04T12:00", "Home", "Inpatient", "Y"),
    ("P-1", "E2", "2023-05-20T08:00", "2023-05-28T12:00", "Expired", "Inpatient", "N"),
    ("P-2", "E3", "2023-12-28T08:00", "2024-01-02T12:00", "Home", "Inpatient", ""),
    ("P-3", "E4", "2024-06-10T08:00", "", "", "Inpatient", "N"),
    ("P-4", "E5", "2024-06-01T08:00", "2024-06-03T12:00", "SNF", "Inpatient", "Y"),
    ("P-5", "E6", "2023-02-01T08:00", "2023-02-01T18:00", "Home", "Outpatient", "N"),
    ("P-6", "E7", "2021-02-01T08:00", "2021-02-03T18:00", "Home", "Inpatient", "N"),
]
NOTES = [
    ("N1", "P-1", "E1", "05/01/2023 09:30", "H&P", ADMISSION.format("E1")),
    ("N2", "P-1", "E1", "05/04/2023 13:00", "Discharge Summary", SUMMARY.format("E1")),
    ("N3", "P-1", "E2", "05/20/2023 10:00", "h&p ", ADMISSION.format("E2")),
    ("N4", "P-2", "E3", "12/28/2023 10:00", "H&P", ADMISSION.format("E3")),
    ("N5", "P-2", "E3", "01/02/2024 12:30", "Discharge Summary", SUMMARY.format("E3")),
    ("N6", "P-3", "E4", "06/10/2024 12:30", "H&P", ADMISSION.format("E4")),
    ("N7", "P-4", "E5", "06/03/2024 12:30", "Discharge Summary", SUMMARY.format("E5")),
    ("N8", "P-4", "E5", "06/02/2024 12:30", "Telephone", "Called."),
    ("N9", "P-9", "E9", "06/02/2024 12:30", "H&P", ADMISSION.format("E9")),
    ("N10", "P-6", "E7", "02/01/2021 12:30", "H&P", ADMISSION.format("E7")),
]  # fmt: skip
CODES = [
    ("E1", "I50.9", "10"),
    ("E1", "e1122", "ICD-10-CM"),
    ("E2", "428.0", "9"),
    ("E3", "?", "10"),
    ("E9", "I10", "10"),
    ("E5", "I10", "11"),
]
CLAIMS = [
    ("E1", "C1", "DENIED", "2023-06-01"),
    ("E1", "C1", "PAID", "2023-09-01"),
    ("E2", "C2", "PAID", "2023-07-01"),
    ("E3", "C3", "OPEN", ""),
    ("E7", "C7", "WHAT", ""),
]
MAPPING = """
observed_until: 2024-06-30
timezone: America/New_York
notes:
  file: notes.csv.gz
  note_id: NOTE
  patient_id: PAT
  encounter_id: CSN
  authored: {column: TIME, format: "%m/%d/%Y %H:%M"}
  note_type: {column: TYPE, values: {"H&P": 34117-2, "Discharge Summary": 18842-5}}
  text: TEXT
encounters:
  file: stays.csv
  encounter_id: CSN
  patient_id: PAT
  admitted: IN
  discharged: OUT
  disposition: {column: DISPO, values: [Expired]}
  inpatient: {column: CLASS, values: [Inpatient]}
diagnoses:
  file: codes.csv
  encounter_id: CSN
  code: CODE
  icd_version: {column: ICD}
claims:
  file: claims.csv
  encounter_id: CSN
  claim_id: CLAIM
  status: {column: STATUS, values: {DENIED: denied, PAID: paid, OPEN: pending}}
  decided: WHEN
splits:
  temporal_years: [2024]
"""


def write_export(folder: Path, **changes: object) -> Path:
    """The export's files and mapping.yaml, whose top-level keys are replaced by `changes`. Returns the mapping."""
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "notes.csv.gz", ("NOTE", "PAT", "CSN", "TIME", "TYPE", "TEXT"), NOTES)
    write_csv(folder / "stays.csv", STAYS_HEADER, STAYS)
    write_csv(folder / "codes.csv", ("CSN", "CODE", "ICD"), CODES)
    write_csv(folder / "claims.csv", ("CSN", "CLAIM", "STATUS", "WHEN"), CLAIMS)
    document = yaml.safe_load(MAPPING)
    for key, value in changes.items():
        if value is None:
            document.pop(key)
        else:
            document[key] = {**document[key], **value} if isinstance(value, dict) and key in document else value
    path = folder / "mapping.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


SIXTH_TASK = """
tasks:
  - name: icu_transfer
    title: ICU transfer
    description: Moved to intensive care within the stay.
    question: Given the above {note} of the patient, will the patient need intensive care?
    options:
      - {text: "no", code: "no", display: No ICU transfer}
      - {text: "yes", code: "yes", display: ICU transfer}
    adverse_options: [1]
    adverse_label: to ICU
    note_types: [34117-2]
    label_rule: icu_transfer
    horizon: encounter
    label_maturity_days: 60
"""
