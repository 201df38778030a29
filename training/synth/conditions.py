"""The Charlson conditions: ICD-10-CM code, weight, prevalence and the names that notes use.

Weights are Charlson 1987; mild and severe forms are levels of one factor, so that the severe form beats the mild one
and the index of an encounter is a plain sum. Codes are members of the Quan 2005 ICD-10 groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from training.synth.factors import MILD, SICK, Factor

# Scales found by training.synth.calibrate, so that the index falls into the paper's classes in its 2024 ratios.
SCALE_LIGHT = 0.2880
SCALE_MEDIUM = 1.6301
SCALE_HEAVY = 0.1058
AGE_SCALE = 0.4350


@dataclass(frozen=True, slots=True)
class Level:
    """One form of a condition. `prevalence` is for ages 50 to 64 before scaling; `names` are how notes call it."""

    code: str
    weight: int
    prevalence: float
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition and its forms from mild to severe. `absent_names` are used when a note says it is not there."""

    name: str
    levels: tuple[Level, ...]
    age_slope: float
    absent_names: tuple[str, ...] = ()
    reason: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def factor(self) -> Factor:
        """The condition as a factor of 1 + len(levels) values, value 0 being absent."""
        scaled = tuple(level.prevalence * _scale(level.weight) for level in self.levels)
        slope = self.age_slope * AGE_SCALE
        # Illness clusters: sick reasons bring more conditions, planned and minor ones fewer. Of the admissions for
        # cancer few carry more: the paper's share above 7 points is small beside that of 5 to 7.
        shifts = dict.fromkeys(SICK, 1.2) | dict.fromkeys(MILD, -1.3) | {"cancer_complication": -2.6}
        reason = {name: (0.0, *(shift for _ in scaled)) for name, shift in shifts.items()}
        reason |= {name: (0.0, *extra) for name, extra in self.reason.items()}
        return Factor(self.name, (1.0 - sum(scaled), *scaled), age=(0.0, *(slope for _ in scaled)), reason=reason)

    @property
    def negative_names(self) -> tuple[str, ...]:
        return self.absent_names or self.levels[0].names


def _scale(weight: int) -> float:
    return SCALE_LIGHT if weight == 1 else SCALE_MEDIUM if weight < 6 else SCALE_HEAVY


def _one(name: str, code: str, weight: int, prevalence: float, slope: float, *names: str, **reason: float) -> Condition:
    extra = {key: (value,) for key, value in reason.items()}
    return Condition(name, (Level(code, weight, prevalence, names),), slope, reason=extra)


CONDITIONS: tuple[Condition, ...] = (
    _one("infarction", "I25.2", 1, 0.035, 0.5, "MI", "myocardial infarction", "heart attack", "NSTEMI", "old MI",
         heart_failure=0.8),
    _one("heart_failure_chronic", "I50.22", 1, 0.035, 0.6, "CHF", "congestive heart failure", "HFrEF",
         "systolic heart failure", "heart failure with reduced EF", "HFpEF", heart_failure=7.0),
    _one("vascular", "I73.9", 1, 0.025, 0.5, "PVD", "peripheral vascular disease", "PAD", "claudication",
         "peripheral arterial disease"),
    _one("cerebrovascular", "I63.9", 1, 0.03, 0.5, "stroke", "CVA", "TIA", "cerebrovascular disease",
    "ischemic stroke",
         stroke=7.0),
    _one("dementia", "F03.90", 1, 0.012, 1.0, "dementia", "Alzheimer disease", "vascular dementia",
    "Alzheimer dementia",
         "major neurocognitive disorder", hip_fracture=0.6),
    _one("pulmonary", "J44.9", 1, 0.05, 0.35, "COPD", "emphysema", "chronic bronchitis",
    "chronic obstructive lung disease",
         "chronic lung disease", copd_exacerbation=7.0, pneumonia=0.5),
    _one("rheumatic", "M06.9", 1, 0.018, 0.2, "RA", "rheumatoid arthritis", "lupus", "SLE", "polymyalgia rheumatica"),
    _one("ulcer", "K25.7", 1, 0.015, 0.2, "PUD", "peptic ulcer disease", "gastric ulcer", "duodenal ulcer",
    gi_bleed=1.2),
    Condition(
        "liver",
        (
            Level("K74.60", 1, 0.022, ("fatty liver with fibrosis", "mild liver disease", "chronic hepatitis C",
                                       "compensated cirrhosis", "chronic hepatitis B")),
            Level("K72.90", 3, 0.006, ("decompensated cirrhosis", "cirrhosis with ascites", "ESLD",
                                       "cirrhosis with bleeding varices", "hepatic failure with encephalopathy")),
        ),
        0.05, ("cirrhosis", "hepatitis", "chronic liver disease", "liver disease"),
        {"gi_bleed": (0.4, 1.0)},
    ),
    Condition(
        "diabetes",
        (
            Level("E11.9", 1, 0.085, ("DM2", "type 2 diabetes", "T2DM", "diabetes without complications",
            "diet controlled diabetes")),
            Level("E11.22", 2, 0.026, ("diabetes with nephropathy", "DM2 with neuropathy", "diabetic retinopathy",
                                       "T2DM with diabetic foot disease", "diabetes with end organ damage")),
        ),
        0.3, ("diabetes", "DM2", "type 2 diabetes", "DM"),
        {"hyperglycemia": (5.5, 6.0), "cellulitis": (0.4, 0.6)},
    ),
    _one("paralysis", "G81.94", 2, 0.006, 0.3, "hemiplegia", "paraplegia", "left hemiparesis", "right hemiparesis",
         "hemiparesis", stroke=2.5),
    _one("renal", "N18.4", 2, 0.028, 0.5, "CKD", "CKD stage 4", "chronic kidney disease", "ESRD on HD",
         "chronic renal insufficiency", heart_failure=0.6),
    Condition(
        "tumor",
        (
            Level("C50.919", 2, 0.03, ("localized breast cancer", "early stage lung cancer",
            "colon cancer without spread",
                                       "localized renal cell carcinoma", "localized bladder cancer")),
            Level("C95.90", 2, 0.006, ("leukemia", "CLL", "chronic lymphocytic leukemia", "AML")),
            Level("C85.90", 2, 0.006, ("lymphoma", "non-Hodgkin lymphoma", "Hodgkin lymphoma", "DLBCL")),
            Level("C79.9", 6, 0.02, ("metastatic lung cancer", "stage IV colon cancer",
            "breast cancer with bone mets",
                                     "metastatic breast cancer", "colon cancer with liver mets")),
        ),
        0.3, ("cancer", "malignancy", "breast cancer", "colon cancer", "lung cancer", "lymphoma", "leukemia"),
        {"cancer_complication": (3.5, 3.0, 3.0, 8.0)},
    ),
    _one("aids", "B20", 6, 0.006, -0.3, "AIDS", "HIV with AIDS", "advanced HIV disease", "AIDS with prior PCP"),
)  # fmt: skip
