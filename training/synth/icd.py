"""The ICD codes of a stay: ICD-10-CM from discharges of 1 October 2015 on, ICD-9-CM before, as in the United States.

Codes of a condition are members of its Charlson group in `lang1.charlson` and of no other, so that the index of a
stay's codes is the simulator's. The reason for admission is coded without Charlson weight: where it is a Charlson
disease, the condition's own code says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from lang1.charlson import IcdVersion
from training.synth.conditions import CONDITIONS
from training.synth.factors import REASONS

FIRST_DAY_OF_ICD_10 = (date(2015, 10, 1) - date(1970, 1, 1)).days


@dataclass(frozen=True, slots=True)
class Coded:
    """The codes of one thing by ICD version, with what the code is called."""

    icd_10: tuple[str, ...]
    icd_9: tuple[str, ...]
    display: str

    def codes(self, version: IcdVersion) -> tuple[str, ...]:
        return self.icd_10 if version is IcdVersion.ICD_10_CM else self.icd_9


# By condition, a form each, mild to severe.
CONDITION_CODES: dict[str, tuple[Coded, ...]] = {
    "infarction": (Coded(("I25.2", "I21.4", "I21.9"), ("412", "410.71"), "Myocardial infarction"),),
    "heart_failure_chronic": (
        Coded(("I50.22", "I50.32", "I50.9"), ("428.22", "428.32", "428.0"), "Chronic heart failure"),
    ),
    "vascular": (Coded(("I73.9", "I70.219"), ("443.9", "440.21"), "Peripheral vascular disease"),),
    "cerebrovascular": (Coded(("I63.9", "I67.9"), ("434.91", "437.9"), "Cerebrovascular disease"),),
    "dementia": (Coded(("F03.90", "G30.9", "F01.50"), ("290.0", "331.2"), "Dementia"),),
    "pulmonary": (Coded(("J44.9", "J43.9", "J42"), ("496", "492.8", "491.9"), "Chronic obstructive lung disease"),),
    "rheumatic": (Coded(("M06.9", "M32.9", "M35.3"), ("714.0", "710.0", "725"), "Inflammatory rheumatic disease"),),
    "ulcer": (Coded(("K25.7", "K26.7", "K27.9"), ("531.70", "532.70", "533.90"), "Peptic ulcer"),),
    "liver": (
        Coded(("K74.60", "B18.2", "K73.9"), ("571.5", "571.40"), "Chronic liver disease"),
        Coded(("K72.90", "I85.01", "K76.6"), ("572.2", "456.0", "572.3"), "Decompensated liver disease"),
    ),
    "diabetes": (
        Coded(("E11.9", "E11.65"), ("250.00", "250.02"), "Type 2 diabetes mellitus"),
        Coded(("E11.22", "E11.40", "E11.319"), ("250.40", "250.60", "250.50"), "Diabetes with organ complication"),
    ),
    "paralysis": (Coded(("G81.94", "G82.20", "G81.90"), ("342.90", "344.1"), "Hemiplegia or paraplegia"),),
    "renal": (Coded(("N18.4", "N18.5", "N18.6"), ("585.4", "585.5", "585.6"), "Chronic kidney disease"),),
    "tumor": (
        Coded(("C50.919", "C34.90", "C18.9", "C64.9"), ("174.9", "162.9", "153.9", "189.0"), "Malignant neoplasm"),
        Coded(("C95.90", "C91.10", "C92.00"), ("208.90", "204.10", "205.00"), "Leukemia"),
        Coded(("C85.90", "C81.90", "C83.30"), ("202.80", "201.90"), "Lymphoma"),
        Coded(("C79.9", "C78.7", "C79.51"), ("198.89", "197.7", "198.5"), "Metastatic neoplasm"),
    ),
    "aids": (Coded(("B20",), ("042",), "Human immunodeficiency virus disease"),),
}

REASON_CODES: dict[str, Coded] = {
    "chest_pain": Coded(("R07.9", "R07.89"), ("786.50",), "Chest pain"),
    "pneumonia": Coded(("J18.9",), ("486",), "Pneumonia"),
    "heart_failure": Coded(("J81.0", "R06.01"), ("518.4", "786.02"), "Acute pulmonary edema or orthopnea"),
    "copd_exacerbation": Coded(("J20.9", "R06.2"), ("466.0", "786.07"), "Acute bronchitis or wheezing"),
    "sepsis": Coded(("A41.9",), ("038.9",), "Sepsis"),
    "gi_bleed": Coded(("K92.2", "K92.1"), ("578.9", "578.1"), "Gastrointestinal hemorrhage"),
    "stroke": Coded(("R47.01", "R29.810"), ("784.3", "781.94"), "Aphasia or facial weakness"),
    "hip_fracture": Coded(("S72.002A", "S72.141A"), ("820.8", "820.21"), "Fracture of femur"),
    "elective_joint": Coded(("M17.11", "M16.12"), ("715.96", "715.95"), "Osteoarthritis"),
    "cellulitis": Coded(("L03.115", "L03.116"), ("682.6",), "Cellulitis of leg"),
    "cancer_complication": Coded(("G89.3", "R11.2"), ("338.3", "787.01"), "Pain or vomiting"),
    "hyperglycemia": Coded(("R73.9", "E87.0"), ("790.29", "276.0"), "Hyperglycemia"),
    "abdominal_pain": Coded(("R10.9", "K81.0"), ("789.00", "575.0"), "Abdominal pain"),
    "syncope": Coded(("R55",), ("780.2",), "Syncope"),
}

# What most stays carry beside, without weight: code, and its share.
COMMON: tuple[tuple[Coded, float], ...] = (
    (Coded(("I10",), ("401.9",), "Hypertension"), 0.45),
    (Coded(("E78.5",), ("272.4",), "Hyperlipidemia"), 0.35),
    (Coded(("K21.9",), ("530.81",), "Reflux disease"), 0.2),
    (Coded(("Z87.891",), ("V15.82",), "History of tobacco use"), 0.2),
    (Coded(("N17.9",), ("584.9",), "Acute kidney injury"), 0.1),
    (Coded(("D64.9",), ("285.9",), "Anemia"), 0.12),
)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One code of a stay."""

    code: str
    version: IcdVersion
    display: str


def version_on(day: int) -> IcdVersion:
    """The ICD of a stay that ends on this day, counted since 1970-01-01."""
    return IcdVersion.ICD_10_CM if day >= FIRST_DAY_OF_ICD_10 else IcdVersion.ICD_9_CM


NUMBERS_A_STAY = 2 + len(CONDITIONS) + len(COMMON)


def diagnoses(reason: int, values: npt.NDArray[np.int8], day: int, uniform: npt.NDArray[np.float64]) -> list[Diagnosis]:
    """The codes of a stay for `reason` with these factor values (F,), the principal one first.

    `uniform` (NUMBERS_A_STAY,) in [0, 1) chooses among the codes of a condition.
    """
    version = version_on(day)

    def pick(coded: Coded, at: int) -> Diagnosis:
        codes = coded.codes(version)
        return Diagnosis(codes[int(uniform[at] * len(codes))], version, coded.display)

    found = [pick(REASON_CODES[REASONS[reason]], 0)]
    for place, condition in enumerate(CONDITIONS):
        if values[place] > 0:
            found.append(pick(CONDITION_CODES[condition.name][values[place] - 1], 1 + place))
    for place, (coded, share) in enumerate(COMMON):
        if uniform[1 + len(CONDITIONS) + place] < share:
            found.append(pick(coded, NUMBERS_A_STAY - 1))
    return found
