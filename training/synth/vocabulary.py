"""New terms for old things (`scenarios.NewVocabulary`): what notes call diseases, payers and states from then on."""

from __future__ import annotations

from training.synth import phrases as say
from training.synth.conditions import CONDITIONS

# Condition to the new names of each of its forms, mild to severe.
NEW_NAMES: dict[str, tuple[tuple[str, ...], ...]] = {
    "infarction": (("prior STEMI", "ischemic heart event", "healed coronary infarct"),),
    "heart_failure_chronic": (("cardiomyopathy with LVEF of 30", "chronic cardiac insufficiency", "ADHF phenotype C"),),
    "vascular": (("LEAD", "lower extremity arterial disease", "aortoiliac occlusive disease"),),
    "cerebrovascular": (("AIS", "acute ischemic brain injury", "cerebral infarct"),),
    "dementia": (("MNCD", "Lewy body disease", "amnestic neurocognitive syndrome"),),
    "pulmonary": (("COLD", "chronic obstructive airway syndrome", "GOLD group E airflow limitation"),),
    "rheumatic": (("seropositive inflammatory arthritis", "connective tissue disease", "systemic sclerosis"),),
    "ulcer": (("gastroduodenal ulceration", "peptic mucosal break", "Forrest class III lesion"),),
    "liver": (
        ("MASLD with fibrosis", "steatotic liver disease", "chronic viral liver infection"),
        ("ACLF", "end stage hepatic disease", "portal hypertension with varices"),
    ),
    "diabetes": (
        ("adult onset dysglycemia", "metformin treated DM type II", "diabetes at goal"),
        ("DKD", "diabetes with microvascular disease", "proliferative diabetic eye disease"),
    ),
    "paralysis": (("spinal cord injury below T6", "dense hemiparetic syndrome", "tetraparesis"),),
    "renal": (("CKD G4", "eGFR of 22", "kidney failure on replacement therapy"),),
    "tumor": (
        ("stage I adenocarcinoma", "node negative neoplasm", "resectable carcinoma"),
        ("myeloid neoplasm", "ALL in induction", "chronic leukemic disorder"),
        ("mantle cell disease", "lymphoproliferative neoplasm", "follicular disease"),
        ("M1 carcinoma", "disseminated neoplasm", "oligometastatic disease"),
    ),
    "aids": (("CD4 count under 50 with OI", "HIV stage 3", "late HIV disease"),),
}

# By the wording's heads: the new contents of each value.
_NEW: tuple[tuple[say.Wording, tuple[tuple[str, ...], ...]], ...] = (
    (say.OXYGEN, (("FiO2 0.21", "SpO2 98 unassisted"), ("SpO2 94 on LFNC", "nasal prongs"),
                  ("SpO2 86 on HFNO", "reservoir mask"), ("IMV", "NIV failing"))),
    (say.HEMODYNAMICS, (("MAP 85", "shock index 0.6"), ("MAP 72", "shock index 0.9"),
                        ("MAP 56", "shock index 1.4"), ("VIS above 20", "SCAI stage D"))),
    (say.MENTAL, (("GCS 15", "CAM negative"), ("GCS 14", "RASS -1"), ("GCS 11", "CAM positive"), ("GCS 3", "RASS -5"))),
    (say.LABS, (("LA 0.8", "base excess 0"), ("LA 2.2", "base excess -3"),
                ("LA 4.1", "base excess -8"), ("LA 10.4", "base excess -18"))),
    (say.IMPRESSION, (("NEWS2 of 1", "ESI 4"), ("NEWS2 of 4", "ESI 3"), ("NEWS2 of 8", "ESI 2"),
                      ("NEWS2 of 13", "ESI 1"))),
    (say.TRAJECTORY, (("delta favorable", "de-escalating"), ("delta neutral", "plateau"),
                      ("delta unfavorable", "escalating"))),
    (say.CODE, (("tier 1 intensity", "full intervention"), ("tier 3 intensity", "AND order"))),
    (say.FRAILTY, (("CFS 2", "mRS 0"), ("CFS 5", "mRS 3"), ("CFS 8", "mRS 5"))),
    (say.SUPPORT, (("cohabits", "caregiver in residence"), ("single occupancy", "sole occupant"),
                   ("LTC placement", "congregate care"), ("unhoused", "Z59.0 housing status"))),
    (say.PROCEDURE, (("conservative pathway", "no intervention scheduled"), ("IR guided step", "bronchoscopy slot"),
                     ("theatre under GA", "robotic resection"))),
    (say.PLAN, (("GMLOS under 2", "rapid pathway"), ("GMLOS of 3", "midweek pathway"),
                ("GMLOS above 8", "complex pathway"))),
    (say.PAYER, (("CMS FFS", "Medicare Part A claims"), ("MCO state plan", "title XIX"),
                 ("Northgate Choice", "broad network product"), ("Kestrel Select", "gatekeeper product"),
                 ("Part C plan", "Larkspur Senior"), ("no third party payer", "charity screening"))),
    (say.AUTHORIZATION, (("portal status green", "certified days on file"), ("portal status amber", "pended"),
                         ("portal status red", "no case number"), ("gold carded", "excluded from review"))),
    (say.NECESSITY, (("MCG pass", "InterQual satisfied"), ("MCG fail", "InterQual variance"))),
    (say.BED, (("IP class", "two midnight order"), ("OP in a bed", "OBS class"))),
    (say.NETWORK, (("tier A site", "par site"), ("tier C site", "non-par site"))),
    (say.PRIOR_USE, (("IP count 0", "no index stays"), ("IP count 1", "1 index stay"), ("IP count 2", "2 index stays"),
                     ("IP count 5", "high utilizer flag"))),
    (say.ADHERENCE, (("PDC 97", "MPR above 0.9"), ("PDC 70", "MPR of 0.7"), ("PDC 20", "MPR under 0.3"))),
    (say.FOLLOW_UP, (("TCM visit within the week", "TCM slot held"), ("TCM visit at day 45", "next open template"),
                     ("TCM outreach failed", "no TCM slot"))),
    (say.DISPOSITION, (("UB 01", "routine home"), ("UB 06", "HHA referral"), ("UB 03", "post acute facility"),
                       ("UB 07", "patient directed discharge"))),
    (say.STABILITY, (("NEWS2 of 0 at exit", "exit criteria satisfied"), ("NEWS2 of 3 at exit", "exit criteria partial"),
                     ("NEWS2 of 6 at exit", "exit criteria failed"))),
    (say.PENDING, (("queue empty", "zero open orders"), ("molecular panel open", "reference lab open"))),
    (say.TEACHING, (("PAM level 4", "closed loop verified"), ("PAM level 1", "closed loop failed"))),
    (say.SUBSTANCE, (("AUDIT-C 0", "DAST 0"), ("AUDIT-C 10", "DAST 8"))),
)  # fmt: skip
NEW_CONTENTS = {wording.heads: contents for wording, contents in _NEW}

assert all(len(NEW_NAMES[each.name]) == len(each.levels) for each in CONDITIONS)
assert all(len(contents) == len(wording.contents) for wording, contents in _NEW)
