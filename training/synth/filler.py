"""Text that tells nothing about any factor: openings, headers, family history, templates that are pasted in."""

from __future__ import annotations

HEADERS: dict[str, tuple[str, ...]] = {
    "history": ("PMH:", "Past medical history:", "Past history:", "Medical history:", "Comorbidities:"),
    "family": ("Family history:", "FH:", "FHx:", "Fam hx:"),
    "social": ("Social history:", "SH:", "Social and functional:", "Soc hx:"),
    "review": ("ROS:", "Review of systems:", "Systems review:"),
    "drugs": ("Meds and allergies:", "Home medications:", "Medications:"),
    "exam": ("Physical exam:", "Exam:", "PE:", "Objective:"),
    "data": ("Data:", "Labs and imaging:", "Results:", "Studies:"),
    "assessment": ("Assessment and plan:", "A/P:", "Impression and plan:", "Plan:"),
    "background": ("Addendum:", "Attending note:", "Background:", "Summary statement:"),
    "coverage": ("Registration and utilization review:", "Case management intake:", "UR:", "Coverage and status:"),
    "story": ("HPI:", "History of present illness:", "CC/HPI:", "Presentation:"),
    "course": ("Hospital course:", "Course:", "Brief course:"),
    "leaving": ("Discharge planning:", "Discharge plan:", "Disposition and follow-up:", "On leaving:"),
}

REASON_WORDS: tuple[tuple[str, ...], ...] = (
    ("chest pain", "substernal chest pressure", "CP for 6 hours", "chest tightness on exertion"),
    ("pneumonia", "cough and fever with an infiltrate", "community acquired PNA",
    "productive cough and right base crackles"),
    ("acute heart failure", "leg swelling and orthopnea", "acute decompensated CHF", "volume overload"),
    ("COPD exacerbation", "wheeze and dyspnea, COPD flare", "acute on chronic bronchitis", "AECOPD"),
    ("sepsis", "fever and rigors from a urinary source", "urosepsis", "suspected bacteremia"),
    ("GI bleed", "melena", "hematemesis", "bright red blood per rectum"),
    ("acute stroke", "sudden right sided weakness", "new facial droop and aphasia", "acute CVA"),
    ("hip fracture", "a fall with hip pain", "left femoral neck fracture", "mechanical fall, hip fx"),
    ("elective knee replacement", "planned total hip arthroplasty", "elective TKA", "scheduled THA"),
    ("cellulitis", "leg redness and swelling", "lower extremity cellulitis", "soft tissue infection of the calf"),
    ("a complication of cancer therapy", "pain from known malignancy", "chemotherapy related vomiting",
    "malignant effusion"),
    ("hyperglycemia", "DKA", "glucose above 500", "hyperosmolar hyperglycemia"),
    ("abdominal pain", "RUQ pain", "acute cholecystitis", "nausea and epigastric pain"),
    ("syncope", "a faint at home", "brief loss of consciousness", "presyncope and palpitations"),
)  # fmt: skip

OPENINGS: dict[str, tuple[str, ...]] = {
    "admission": (
        "{age}-year-old {noun} admitted with {reason}.", "{age} y/o {letter} presents with {reason}.",
        "{age}yo {letter} w/ {reason}.", "Patient is a {age} year old {noun} brought in for {reason}.",
        "This {age}-year-old {noun} came to the ED for {reason}.",
    ),
    "discharge": (
        "{age}-year-old {noun} hospitalized for {reason}.", "{age} y/o {letter} treated here for {reason}.",
        "{age}yo {letter} s/p stay for {reason}.",
        "Patient is a {age} year old {noun} who was admitted for {reason}.",
        "Summary of the stay of a {age}-year-old {noun} with {reason}.",
    ),
}  # fmt: skip

RELATIVES = (
    "mother", "father", "brother", "sister", "maternal aunt", "paternal uncle", "grandmother", "grandfather", "son",
    "half sister",
)  # fmt: skip
FAMILY_FRAMES = (
    "{r} with {x}.", "{r} has {x}.", "{r} died of {x}.", "Positive for {x} in {r}.", "{x} in the {r}.",
    "History of {x} on the side of the {r}.", "{x} and {y} in {r}.", "{r} had {x}, later {y}.",
    "PMH of {r}: {x}, {y}.", "{r} was treated for {x} and {y} for years.",
)  # fmt: skip

POSITIVE_FRAMES = (
    "PMH of {x}.", "Past medical history of {x}.", "Known {x}.", "Carries {f} the diagnoses {x}.",
    "{x}, {f}, confirmed by outside records.", "{x}: established, treated for years.", "H/o {x}.", "Has {x}.",
    "Problem list {f}: {x}, active.", "Followed in clinic for {x}.", "Lives with {x}, {f}.", "History of {x}.",
)  # fmt: skip
NEGATIVE_FRAMES = (
    "No history of {x}.", "Denies {x}.", "PMH {f} without {x}.", "{x}, {f}, denied by the patient.",
    "{x}: entered in error, taken off the list.", "Never diagnosed with {x}.", "Problem list {f}: {x}, struck off.",
    "Evaluated for {x}, {f}, excluded.", "Does not have {x}.", "No known {x}, {f}.", "Negative for {x}.",
    "Old chart copies forward history of {x}, {f}, not correct.",
)  # fmt: skip
MIXED_FRAMES = (
    "{p} but not {n}.", "Not {n} but {p}.", "While {n} {f} excluded, {p} confirmed.",
    "While {p} {f} confirmed, {n} excluded.", "Records {f} positive for {p}, negative for {n}.",
    "Records {f} negative for {n}, positive for {p}.", "Asked of {n} and of {p}, {f} the latter holds.",
    "Asked of {p} and of {n}, {f} the former holds.",
)  # fmt: skip

# {n} is a small number, {m} a larger one.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "story": (
        "Symptoms began about {n} days before arrival.", "Tried rest and fluids at first.", "No recent travel.",
        "Last meal was {n} hours before arrival.", "Pain score {n} out of 10 at triage.", "No sick contacts known.",
        "Arrived by private car.", "History taken from the patient and the record.", "No recent antibiotics.",
        "Triage note and outside paperwork were read.", "Weight has been steady at {m} kg.",
    ),
    "history": (
        "PSH: appendectomy at age {m}.", "S/p tonsillectomy in childhood.", "Cataract surgery in 200{n}.",
        "Seasonal allergies.", "Wears glasses.", "Blood transfusion never.", "Hernia repair in 200{n}.",
        "Acne as a youth.",
        "Chronic low back pain.", "Hyperlipidemia on diet.", "HTN on one drug.", "GERD.",
    ),
    "social": (
        "Worked as a {job}.", "Retired {job}.", "Quit smoking in the year 200{n}.", "Enjoys gardening and cards.",
        "Has {n} grown children.", "Speaks {language} and English.", "Moved here in 199{n}.",
    ),
    "family": ("Otherwise noncontributory.", "Family history reviewed.", "{n} siblings, records not available."),
    "review": (
        "Denies vision change, rash or joint pain.", "No dysuria or flank pain.", "No headache or neck stiffness.",
        "No weight change of note.", "Ten systems asked, otherwise as in the HPI.", "Appetite fair over {n} days.",
        "No heat or cold intolerance.", "Sleep {n} hours a night.", "No easy bruising.",
        "Denies ear pain or sore throat.",
        "Negative for tinnitus.", "No anxiety at interview.",
    ),
    "drugs": (
        "Acetaminophen 500 mg as needed.", "Vitamin D {m}00 units daily.", "Omeprazole 20 mg daily.",
        "Atorvastatin {n}0 mg nightly.", "NKDA.", "Allergic to penicillin, rash in childhood.", "Sulfa causes hives.",
        "Docusate 100 mg twice daily.", "Multivitamin daily.", "Cetirizine 10 mg as needed.",
        "Melatonin {n} mg at night.",
        "List checked against the pharmacy.", "Latex sensitivity noted.", "Loratadine 10 mg in spring.",
    ),
    "exam": (
        "HEENT: moist mucosa, sclera clear.", "Neck supple, no nodes.", "Abdomen soft, bowel sounds heard.",
        "Skin without rash.", "Extremities without cyanosis.", "Temp 37.{n}.", "Weight {m} kg.",
        "Pulses 2+ at the wrists.",
        "Back without tenderness.", "Gag reflex not tested.", "Dentition fair.", "Joints without effusion.",
    ),
    "data": (
        "WBC {n}.4, Hgb 1{n}.2, Plt 2{m}.", "Na 13{n}, K 4.{n}, Cl 10{n}.", "Glucose 1{m}.",
        "EKG: sinus, no ST change.",
        "CXR read by radiology, lines and tubes none.", "UA with trace protein.", "INR 1.{n}.",
        "Mg 2.{n}, Phos 3.{n}.",
        "TSH 2.{n}.", "Calcium 9.{n}.", "Troponin below the cutoff.", "Ultrasound with no clot.", "Albumin 3.{n}.",
    ),
    "assessment": (
        "DVT prophylaxis with heparin SQ.", "Regular diet.", "Monitor I/O.", "Trend labs in the morning.",
        "Case discussed with the attending.", "Fall precautions.", "PT consult.", "Replete electrolytes.",
        "Bowel regimen.", "Incentive spirometry {n} times an hour.", "Nutrition consult.", "Time spent {m} minutes.",
        "Pain control with acetaminophen first.", "Orders entered and verified.",
    ),
    "background": ("Seen and examined, agree with the resident note.", "Plan explained at bedside.",
    "Questions answered."),
    "coverage": (
        "Face sheet printed.", "Card scanned, {n} pages.", "Consent forms signed.",
        "Reviewer line called, {m} minutes on hold.",
        "Notice of rights given.", "Demographics verified.", "Reference {m}{n}{m}.",
    ),
    "course": (
        "Diet advanced on day {n}.", "Foley removed.", "Seen by PT.", "IV access removed on leaving.",
        "Labs trended daily.",
        "Consultants signed off.", "Wound care taught.", "Electrolytes repleted {n} times.",
        "Imaging reviewed with radiology.",
        "Night events none of note.", "Family updated by phone.", "Slept {n} hours a night.", "Vaccines reviewed.",
    ),
    "leaving": (
        "Copy sent to the PCP.", "Return precautions given.", "Prescriptions sent to the pharmacy.",
        "Diet as tolerated.",
        "Activity as tolerated.", "Ride arranged.", "Time spent on leaving {m} minutes.", "Call with fever or pain.",
        "Belongings returned.", "Lift nothing above {m} pounds.",
    ),
}  # fmt: skip
PASTED: tuple[str, ...] = (
    "This note was prepared in part with dictation software and may contain errors "
    "of transcription that were missed on proofreading.",
    "Portions of this document were carried forward from an earlier encounter and "
    "were reviewed for accuracy where it was possible.",
    "All medications, allergies and past surgical entries were reconciled in the "
    "electronic record by the admitting team.",
    "Patient was identified by two identifiers and hand hygiene was performed before and after the examination.",
    "Quality measures: influenza vaccine offered, pneumococcal vaccine offered, "
    "tobacco screening completed, fall screen completed.",
    "Nursing skin assessment and pressure injury screen were reviewed and no further action is needed at this time.",
)
JOBS = ("teacher", "bus driver", "cook", "carpenter", "bookkeeper", "nurse", "tailor", "clerk", "mechanic", "janitor")
LANGUAGES = ("Spanish", "Polish", "Mandarin", "Russian", "Haitian Creole", "Bengali", "Italian", "Arabic")
