"""How notes say each value of each factor: what it is about (`heads`) and the value itself (`contents`).

A content fits after "head:", "head is" and "formerly"; frames put head, content and a value that does not hold
together.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wording:
    """`heads` name the matter; `contents[value]` are the ways of saying that value."""

    heads: tuple[str, ...]
    contents: tuple[tuple[str, ...], ...]


OXYGEN = Wording(
    ("oxygen need", "respiratory status", "O2 requirement", "breathing support", "resp"),
    (
        ("room air", "no supplemental O2", "RA with sats above 95", "comfortable without oxygen"),
        ("2 L by nasal cannula", "low flow nasal cannula", "NC at 2-3 L", "a small amount of nasal oxygen"),
        ("nonrebreather mask", "high flow nasal cannula", "HFNC at 50 L", "6 L with desaturation on walking"),
        ("BiPAP with tiring", "mechanical ventilation", "intubation in the ED", "FiO2 of 100 percent on the vent"),
    ),
)
HEMODYNAMICS = Wording(
    ("hemodynamics", "blood pressure", "circulation", "BP trend", "perfusion"),
    (
        ("BP 128/74 and steady", "normotensive", "warm and well perfused", "SBP in the 120s"),
        ("HR 108 with SBP 104", "mildly tachycardic", "soft pressures answering to fluid", "SBP around 100"),
        ("SBP in the 80s after 2 L", "hypotensive despite fluids", "HR 132 with cool hands", "MAP in the 50s at times"),
        ("two pressors running", "norepinephrine plus vasopressin", "refractory shock", "mottled skin on pressors"),
    ),
)
MENTAL = Wording(
    ("mental status", "neuro status", "sensorium", "MS", "level of consciousness"),
    (
        ("AOx3", "alert and fully oriented", "awake and conversant", "clear and appropriate"),
        ("mildly confused", "AOx2", "slow to answer", "sleepy but arousable"),
        ("lethargic", "delirious and agitated", "AOx1 with poor attention", "obtunded at intervals"),
        ("unresponsive", "GCS 5", "comatose", "no response to voice or pain"),
    ),
)
LABS = Wording(
    ("lactate", "lactic acid", "key labs", "serum lactate", "metabolic panel summary"),
    (
        ("1.1 and clearing", "normal at 0.9", "within normal limits", "1.3 with no acidosis"),
        ("2.3", "slightly up at 2.6", "2.1 with mild acidosis", "just above normal"),
        ("4.4", "up to 4.8 with AKI", "3.9 with pH 7.24", "clearly raised with oliguria"),
        ("9.6", "11.2 with pH 7.02", "above 8 with multiorgan failure", "8.8 and climbing with anuria"),
    ),
)
IMPRESSION = Wording(
    ("acuity", "overall appearance", "general impression", "illness severity", "condition on arrival"),
    (
        ("mildly ill", "well appearing", "in no distress", "low acuity"),
        ("moderately ill", "uncomfortable but stable", "intermediate acuity", "ill appearing yet calm"),
        ("severely ill", "toxic appearing", "in marked distress", "high acuity"),
        ("critically ill", "moribund", "in extremis", "crashing on arrival"),
    ),
)
TRAJECTORY = Wording(
    ("trend since arrival", "course so far", "response to first treatment", "clinical trajectory", "interval change"),
    (
        ("improving", "better with first doses", "clearly on the mend", "turning the corner"),
        ("unchanged", "holding steady", "neither better nor worse", "flat"),
        ("worsening", "deteriorating by the hour", "declining in spite of therapy", "going the wrong way"),
    ),
)
CODE = Wording(
    ("code status", "goals of care", "advance directive", "resuscitation preference"),
    (
        ("full code", "all measures wanted", "attempt CPR", "full treatment"),
        ("DNR/DNI", "do not resuscitate", "comfort before prolongation", "no CPR and no intubation"),
    ),
)
FRAILTY = Wording(
    ("functional status", "mobility", "baseline function", "ADLs", "ambulation"),
    (
        ("fully independent", "walks unaided", "independent in all ADLs", "active with no aids"),
        ("walker with some help", "needs help with bathing", "cane and partial assist", "assistance with some ADLs"),
        ("bedbound", "total care", "dependent in all ADLs", "wheelchair with full assist"),
    ),
)
SUPPORT = Wording(
    ("living situation", "home setting", "social support", "housing", "household"),
    (
        ("lives with spouse", "family in the home", "stays with a daughter who helps", "partner at home"),
        ("lives alone", "by self in an apartment", "no one else in the home", "alone with few visitors"),
        ("long term care resident", "nursing facility resident", "assisted living", "group home"),
        ("homeless", "shelter", "undomiciled", "street or couch surfing"),
    ),
)
PROCEDURE = Wording(
    ("procedures planned", "operative plan", "intervention", "surgical plan"),
    (
        ("none", "nonoperative care", "no procedure", "medical management alone"),
        ("bedside drain", "endoscopy with sedation", "a minor procedure", "image guided aspiration"),
        (
            "open operation",
            "major surgery in the main OR",
            "operative repair under general anesthesia",
            "OR for reconstruction",
        ),
    ),
)
PLAN = Wording(
    ("expected treatment", "anticipated course", "therapy planned", "treatment horizon"),
    (
        ("brief stay with early oral step down", "overnight monitoring", "discharge once two labs return",
        "short course by mouth"),
        ("IV therapy through midweek", "three or four doses IV then home", "a few days of inpatient therapy",
         "IV until cultures finalize"),
        ("prolonged IV course", "weeks of inpatient therapy", "extended stay with rehab placement",
        "serial washouts"),
    ),
)  # fmt: skip
PAYER = Wording(
    ("coverage", "primary payer", "insurance", "plan on file", "FSC"),
    (
        ("traditional Medicare", "Medicare A and B", "Medicare fee for service", "original Medicare"),
        ("Medicaid", "state Medicaid", "Medicaid fee for service", "emergency Medicaid"),
        ("commercial PPO", "Harborline PPO", "employer PPO", "Bluestem PPO"),
        ("commercial HMO", "Norvale HMO", "Citycare HMO", "employer HMO"),
        ("Medicare Advantage", "Silverpath Advantage", "managed Medicare", "Goldleaf Medicare Advantage"),
        ("self-pay", "uninsured", "no insurance", "out of pocket"),
    ),
)
AUTHORIZATION = Wording(
    ("prior authorization", "preauth", "authorization", "auth status", "precert"),
    (
        ("approved", "obtained with number on file", "granted", "in hand"),
        ("pending", "requested and awaited", "submitted without answer", "under payer review"),
        ("absent", "never requested", "missing", "not on file after search"),
        ("not required", "waived for this service", "unnecessary under the plan", "exempt"),
    ),
)
NECESSITY = Wording(
    ("medical necessity", "admission criteria", "utilization review screen", "level of care criteria"),
    (
        ("met and documented", "satisfied on first review", "supported by the record", "met"),
        ("unmet", "without a supporting statement", "failed on first review", "not supported by the record"),
    ),
)
BED = Wording(
    ("bed status", "admission order", "status order", "patient class"),
    (("inpatient", "full inpatient", "inpatient admission"), ("observation", "obs", "observation hours only")),
)
NETWORK = Wording(
    ("network check", "facility participation", "network status", "contract status"),
    (("in network", "participating", "contracted"), ("out of network", "nonparticipating", "no contract")),
)
PRIOR_USE = Wording(
    ("admissions in the past 6 months", "prior hospital stays this year", "recent utilization", "hospital use"),
    (
        ("none", "zero", "no earlier stays", "nil"),
        ("one", "a single stay", "1 admission", "one brief stay"),
        ("two", "2 admissions", "two stays", "a pair of stays"),
        ("four", "5 admissions", "three or more stays", "frequent stays, at least 4"),
    ),
)
ADHERENCE = Wording(
    ("medication adherence", "pill taking", "compliance", "adherence to therapy", "refill record"),
    (
        ("reliable", "takes every dose", "excellent", "consistent with pillbox"),
        ("patchy", "misses some doses", "partial", "variable by week"),
        ("poor", "takes almost nothing", "stopped all meds", "rarely fills prescriptions"),
    ),
)
FOLLOW_UP = Wording(
    ("follow-up visit", "PCP appointment", "outpatient follow-up", "clinic visit"),
    (
        ("booked within 7 days", "set for this week", "confirmed in 5 days", "scheduled for next week"),
        ("in about two months", "in 6 weeks", "at the next routine slot", "later in the season"),
        ("not arranged", "none made", "left to the patient", "no slot found"),
    ),
)
DISPOSITION = Wording(
    ("disposition", "discharged to", "destination", "discharge site"),
    (
        ("home without services", "home, self care", "own residence", "home"),
        ("home with visiting nurse", "home health services", "VNS at home", "home PT and nursing"),
        ("subacute rehab", "SNF", "skilled nursing", "short term rehab"),
        ("left AMA", "against medical advice", "eloped before completion", "self-discharge against advice"),
    ),
)
STABILITY = Wording(
    ("condition at discharge", "status on leaving", "symptoms at discharge", "day of discharge exam"),
    (
        ("symptom free", "stable and well", "back to baseline", "all vitals normal"),
        ("borderline", "some residual symptoms", "nearly at baseline", "fair with mild tachycardia"),
        ("still symptomatic", "febrile overnight", "tenuous", "short of breath at rest"),
    ),
)
PENDING = Wording(
    ("results pending", "outstanding tests", "studies awaited", "pending labs"),
    (("none", "nothing outstanding", "all resulted"), ("final cultures", "biopsy pathology", "send-out serologies")),
)
TEACHING = Wording(
    ("teach-back", "discharge education", "understanding of instructions", "health literacy"),
    (
        ("good", "repeats the plan correctly", "complete and understood", "adequate"),
        ("limited", "could not repeat the plan", "incomplete", "inadequate"),
    ),
)
SUBSTANCE = Wording(
    ("substance use", "alcohol and drug use", "drug history", "EtOH and drugs"),
    (("none", "abstinent", "social only", "nothing current"), ("active heroin use", "daily heavy drinking",
    "ongoing cocaine", "opioid use disorder")),
)  # fmt: skip

FILLERS = (
    "per family", "per the chart", "on review", "as discussed", "per EMS", "at the time of writing",
    "after some talk",
    "per nursing", "on repeat questioning", "by report", "as best we can tell", "per the team", "on rounds",
    "with the interpreter", "per the intake form", "today", "after callback", "per the resident", "on second look",
    "by all accounts", "per the tracking board", "in our view", "per old notes and ours", "as far as known",
)  # fmt: skip

PLAIN_FRAMES = (
    "{h}: {c}.", "{h} is {c}.", "{h} {f}: {c}.", "{h} noted as {c}.", "{h}, {f}, {c}.", "As to {h}, {c}.",
    "{h} - {c} {f}.", "{c} ({h}).", "{h} documented {f} as {c}.", "For {h} see {c}, {f}.",
)  # fmt: skip
# c holds, o does not. The same words stand on either side of the cue, so that their order and the cue decide.
CONTRAST_FRAMES = (
    "{h} formerly {o}, {f} now {c}.",
    "{h} now {c}, {f} formerly {o}.",
    "{h}: {c} and not {o}, {f}.",
    "{h}: not {o}, {f}, but {c}.",
    "{h} was listed as {o}, {f}; corrected to {c}.",
    "{h}: {c}; the entry {o} {f} was an error.",
    "{h}: the entry {o} {f} was an error; {c}.",
    "{h}: {o} per old chart, {f} {c} per direct check.",
    "{h}: {c} per direct check, {f} {o} per old chart.",
    "{h} {f} changed from {o} to {c}.",
    "{h} {f} changed to {c} from {o}.",
    "{h}: {c} today, {f} {o} last year.",
    "{h}: {o} last year, {f} {c} today.",
    "{h}: {o} ruled out, {f} {c} confirmed.",
    "{h}: {c} confirmed, {f} {o} ruled out.",
    "Between {o} and {c} for {h}, the latter holds {f}.",
    "Between {c} and {o} for {h}, the former holds {f}.",
)
