"""The texts that `prose` lengthens notes with: drugs, results, systems, reports, courses, instructions, paragraphs.

They tell no factor and use none of the words by which factors are told. {n} is a small number, {m} a larger one, {k} a
weight, {t} a height.
"""

from __future__ import annotations

Pool = tuple[str, ...]

DRUGS: Pool = (
    "acetaminophen 500 mg", "amlodipine 5 mg", "artificial tears", "atorvastatin 40 mg", "calcium carbonate 600 mg",
    "cetirizine 10 mg", "cholecalciferol 1000 units", "cyanocobalamin 500 mcg", "cyclobenzaprine 5 mg",
    "docusate 100 mg", "escitalopram 10 mg", "famotidine 20 mg", "fluticasone nasal spray", "folic acid 1 mg",
    "gabapentin 300 mg", "hydrochlorothiazide 25 mg", "hydrocortisone 1 percent cream", "ibuprofen 400 mg",
    "latanoprost eye drops", "levothyroxine 75 mcg", "lisinopril 10 mg", "loratadine 10 mg", "losartan 50 mg",
    "magnesium oxide 400 mg", "melatonin 3 mg", "multivitamin", "naproxen 250 mg", "omeprazole 20 mg",
    "ondansetron 4 mg", "polyethylene glycol 17 g", "potassium chloride 20 mEq", "rosuvastatin 10 mg", "senna 8.6 mg",
    "sertraline 50 mg", "tamsulosin 0.4 mg", "trazodone 50 mg", "zinc sulfate 220 mg",
)  # fmt: skip
FREQUENCIES: Pool = ("once daily", "twice daily", "at bedtime", "every morning", "every 6 hours as needed",
                     "with meals", "three times daily", "weekly", "as directed")  # fmt: skip
LISTED: Pool = ("reported at intake", "seen on the refill list", "kept as it was", "dose checked with pharmacy",
                "bottle seen", "to be resumed after review", "formulary substitute used",
                "last filled in {month}")  # fmt: skip
ALLERGENS: Pool = ("penicillin", "sulfa", "latex", "shellfish", "codeine", "adhesive tape", "iodinated contrast",
                   "eggs", "cephalexin", "bee venom")  # fmt: skip
REACTIONS: Pool = ("rash", "hives", "itching", "stomach upset", "swelling of the lips as a child",
                   "reaction not recalled", "redness at the site")  # fmt: skip
MONTHS: Pool = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
                "November", "December")  # fmt: skip
# Name, decimals, low, high, unit and the laboratory's range.
RESULTS: tuple[tuple[str, int, int, int, str], ...] = (
    ("Sodium", 0, 133, 146, "mmol/L (ref 135-145)"), ("Potassium", 1, 33, 52, "mmol/L (ref 3.5-5.1)"),
    ("Chloride", 0, 96, 110, "mmol/L (ref 98-107)"), ("Calcium", 1, 84, 104, "mg/dL (ref 8.6-10.2)"),
    ("Magnesium", 1, 16, 25, "mg/dL (ref 1.7-2.4)"), ("Phosphorus", 1, 24, 47, "mg/dL (ref 2.5-4.5)"),
    ("WBC", 1, 42, 132, "K/uL (ref 4.0-11.0)"), ("Hemoglobin", 1, 102, 156, "g/dL (ref 12.0-16.0)"),
    ("Hematocrit", 1, 310, 460, "percent"), ("Platelets", 0, 140, 380, "K/uL (ref 150-400)"),
    ("MCV", 1, 810, 980, "fL"), ("RDW", 1, 118, 152, "percent"), ("Neutrophils", 0, 48, 82, "percent"),
    ("Lymphocytes", 0, 10, 40, "percent"), ("TSH", 2, 60, 420, "mIU/L"), ("Ferritin", 0, 22, 280, "ng/mL"),
    ("Vitamin D 25-OH", 0, 14, 52, "ng/mL"), ("Total cholesterol", 0, 132, 248, "mg/dL"),
    ("Triglycerides", 0, 70, 230, "mg/dL"), ("Total protein", 1, 58, 80, "g/dL"), ("Albumin", 1, 30, 47, "g/dL"),
    ("Urine specific gravity", 3, 1004, 1029, ""), ("Urine pH", 1, 50, 80, ""), ("Uric acid", 1, 32, 81, "mg/dL"),
)  # fmt: skip
SYSTEMS: Pool = (
    "Constitutional: no chills, no night sweats, weight about the same as last {month}.",
    "Eyes: no double vision, no discharge, last eye exam in {month}.",
    "Ears, nose and throat: hearing as before, no nosebleed, no sore throat, no hoarseness.",
    "Cardiac review: palpitations not reported, no waking at night to sit up, ankles as usual.",
    "Gastrointestinal: appetite fair, bowel movement {n} days ago, no trouble with swallowing.",
    "Genitourinary: no burning, up {n} times at night, stream as usual.",
    "Musculoskeletal: stiffness of the knees in the morning for about {m} minutes, no red joint.",
    "Skin: no new mole, no sore that does not heal, dry in winter.",
    "Neurologic: no tremor, no new numbness, handwriting as before.",
    "Psychiatric: mood described as even, sleeps about {n} hours, enjoys visits.",
    "Endocrine: no intolerance of heat or chill, no change of voice.",
    "Hematologic: no easy bruising, no gum bleeding when brushing.",
    "Allergic: sneezing in {month}, otherwise nothing of note.",
    "Breast: no lump felt, last imaging in {month}.",
)
EXAMINED: Pool = (
    "Head: normocephalic, no tenderness over the sinuses, scalp clear.",
    "Eyes: pupils equal, conjunctivae pink, sclerae white, movements full.",
    "Ears: canals clear, drums seen on both sides, light reflex present.",
    "Mouth: mucosa moist, {n} fillings, no thrush, tongue midline.",
    "Neck: supple, trachea midline, thyroid not enlarged, no bruit.",
    "Lymph nodes: none felt in neck, armpits or groins.",
    "Chest wall: no tenderness, no deformity, scar from a mole taken off in 200{n}.",
    "Heart sounds: first and second heard, no rub, apex not displaced.",
    "Abdomen: soft, bowel sounds in all four quadrants, liver edge not felt, no hernia.",
    "Back: no tenderness over the spine, full range at the hips.",
    "Arms and legs: no clubbing, capillary refill under 2 seconds, nails trimmed.",
    "Skin: warm and dry, small ecchymosis at the site of the IV, otherwise intact.",
    "Cranial nerves: II to XII tested one by one and found intact.",
    "Reflexes: 2+ and symmetric at knees and ankles, plantar responses flexor.",
    "Measured: temperature 36.{n}, weight {k} kg, height {t} cm, pain {n} of 10.",
    "Gait not tested because of lines; sits at the edge of the bed for the examination.",
)
REPORTS: Pool = (
    "Chest radiograph, two views: heart size within normal range, mediastinum not widened, no pneumothorax, "
    "degenerative change of the spine; compared with {month}.",
    "Electrocardiogram: sinus rhythm at {m}, axis normal, intervals normal, no change from the tracing of {month}.",
    "Ultrasound of the abdomen: gallbladder without stones, common duct {n} mm, spleen not enlarged, "
    "aorta of normal caliber, both kidneys of normal length.",
    "CT of the head without contrast: no bleed, ventricles of normal size for age, sinuses clear.",
    "Duplex of the legs: compressible throughout, no clot on either side.",
    "Bone density of {month}: T score of minus 1.{n} at the hip, follow-up as routine.",
    "Colonoscopy of 201{n}: {n} small polyps taken out, next in five years.",
    "Urinalysis: clear, yellow, protein trace, nitrite negative, {n} white cells a field.",
    "Blood cultures two of two drawn, no growth to date at {m} hours.",
    "Radiology note: lines and tubes none, images read by the attending and final at {n} pm.",
    "Screening swab for resistant organisms sent on arrival, negative at {m} hours.",
)
STORIES: Pool = (
    "The patient was in the usual state of health until about {n} days before coming in, when the complaint began "
    "gradually and went on through the week.",
    "There was a visit to urgent care {n} days earlier, where nothing was changed and return was advised if needed.",
    "A neighbor noticed that the mail had not been taken in and called; the family then arranged the ride.",
    "The complaint is worse in the evening, is not related to meals, and was tried to be eased with rest and tea.",
    "In the emergency room the patient was seen within {m} minutes, had blood drawn, and was given fluids by mouth.",
    "Records of another facility were asked for by fax and {n} pages came, which were looked through at the desk.",
    "The history was taken in part from the pharmacy printout and in part by phone; times are approximate.",
    "No one else at home has been sick, there is a cat, and there was no travel outside the state since {month}.",
    "The patient recalls eating at a restaurant {n} days ago, without symptoms in those who ate the same.",
    "Last seen by the primary doctor in {month} for a routine check with no change of treatment.",
    "Review of the tracking board shows arrival at {n} am and bed request {m} minutes later.",
)
HISTORIES: Pool = (
    "Surgical: appendectomy at age {m}, wisdom teeth at age 2{n}, cataract of the right eye in 201{n}.",
    "Surgical: tonsils in childhood, hernia mesh in 200{n}, no trouble with anesthesia.",
    "Also listed: seasonal allergies, reflux, hyperlipidemia on diet, hypertension on one drug.",
    "Also listed: glasses for reading, low back ache on and off since 199{n}, flat feet.",
    "Also listed: insomnia, acne as a youth, one kidney stone passed in 200{n}.",
    "Vaccines: influenza in {month}, tetanus in 201{n}, shingles series complete, pneumococcal up to date.",
    "Screening: mammogram or prostate talk as fits, lipid panel in {month}, hearing test in 201{n}.",
    "Hospital births: {n} pregnancies or children noted on the sheet, no details given.",
    "Fracture of the left wrist in 199{n} after a slip on ice, healed in a cast.",
)
HOMES: Pool = (
    "Worked as a {job} for {m} years and kept the books of a club.", "Speaks {language} at home and English elsewhere.",
    "Finished school at eighteen and served in the reserve for {n} years.",
    "Has {n} grandchildren and sees them on holidays.",
    "Likes gardening, cards and the radio; reads the paper every day.", "Drinks {n} cups of coffee a day.",
    "Quit smoking in 200{n} after about {m} months of trying.", "Wears a seat belt; smoke detector tested in {month}.",
    "Moved to this part of the city in 199{n}; parish visits on Sundays.", "Keeps a cat and {n} houseplants.",
    "Eats two meals a day, cooks on weekends, avoids salt by own account.", "Drives by day only since {month}.",
)  # fmt: skip
KIN: Pool = (
    "Parents lived to old age by report; {n} siblings, scattered.", "Mother had thyroid surgery, father wore a brace.",
    "No relative is known to have had trouble with anesthesia.",
    "Family history otherwise noncontributory at this time.",
    "A cousin has asthma; twins run in the family.", "The family tree was reviewed again and nothing was added.",
)  # fmt: skip
PLANS: Pool = (
    "Fluids, electrolytes, nutrition: regular diet, replete as needed, weigh every morning.",
    "Prophylaxis: heparin under the skin, stockings while in bed, bowel regimen with senna.",
    "Hypertension: home drug with hold limits, recheck after rest.", "Reflux: famotidine in place of the home drug.",
    "Hyperlipidemia: statin continued, no change of dose.",
    "Insomnia: lights out at ten, melatonin, no benzodiazepine.",
    "Access: one peripheral line in the left forearm, day {n}, site clean.", "Lines and tubes reviewed on rounds.",
    "Pain: acetaminophen first, heat pack, reassess in {n} hours.", "Therapy services to evaluate and treat.",
    "Labs tomorrow: basic panel, blood count, magnesium.", "Nutrition to see; snacks between meals offered.",
    "Communication: plan talked through at the bedside, questions written on the board.",
    "Pharmacy to review the list again within {m} hours.",
    "Time spent on this visit {m} minutes, more than half talking.",
    "Will discuss with the attending on rounds and adjust the plan as results come in.",
)  # fmt: skip
COURSES: Pool = (
    "On day {n} diet was advanced and taken well, and the line was changed because of its age.",
    "On day {n} the night was quiet, sleep was about {n} hours, and morning labs were drawn at five.",
    "Therapy walked the patient in the hall on day {n} and gave a sheet of exercises.",
    "Consultants were called on day {n}, left their advice, and signed off the day after.",
    "Imaging was repeated on day {n} and read as without change from the first.",
    "Electrolytes were replaced {n} times by protocol and were in range by the end.",
    "The urinary catheter came out on day {n} and the patient voided within hours.",
    "Home drugs were brought back one by one from day {n}; pharmacy went over the list with the patient.",
    "A family meeting was held by phone on day {n}, with the interpreter for part of it.",
    "Skin was looked over each shift, heels were kept off the mattress, and no break was found.",
    "Blood was taken {n} times less than ordered because add-ons sufficed.",
)
PARTINGS: Pool = (
    "Diet: regular, with water at every meal, no need to count anything.",
    "Activity: as tolerated, stairs with the rail, no lifting above {m} pounds for {n} weeks.",
    "Call the clinic for fever above 38.{n}, new rash, or pain that the tablets do not hold.",
    "Wound: keep dry for {n} days, then shower, pat dry, no ointment.",
    "A list of drugs with times was printed in large type and a copy went to the pharmacy.",
    "Belongings were returned, glasses and charger included, and the valet was called at {n} pm.",
    "Driving may be taken up again when off pain tablets and able to brake hard.",
    "Vaccines were offered once more and their dates were written on the card.",
    "Time spent on the day of leaving was {m} minutes, with the packet gone through page by page.",
    "The summary was sent to the primary doctor by the electronic route; a paper copy is in the packet.",
)
OFFICES: Pool = (
    "Face sheet printed and placed in the chart; address checked against the card.",
    "Card scanned front and back, {n} pages, image quality acceptable.",
    "Consent for treatment signed on arrival; privacy notice handed over with initials on page {n}.",
    "Reviewer line called at {n} pm, {m} minutes on hold, reference {m}{n}{m} written down.",
    "Emergency contact confirmed by phone; second number added.", "Language of preference recorded as {language}.",
    "Notice of patient rights given in print; questions answered at the desk.", "Wristband printed {n} times.",
    "Estimate of charges offered and declined.", "Portal account active since {month}; text messages agreed to.",
)  # fmt: skip
STAFF: Pool = (
    "Seen and examined with the resident; the note above was read, and I agree with its findings and plan.",
    "I was present for the key parts of the visit and talked with the patient at the bedside.",
    "The plan was gone over with nursing, and the call list for tonight was updated.",
    "Data of the last {m} hours were reviewed, images were looked at by me in person.",
)
PASTED: Pool = (
    "This note was dictated with speech recognition. It was read over before signing, but errors of sound-alike words, "
    "wrong gender, and dropped endings may have been missed. If something in this text does not make sense, please "
    "call the author before acting on it; the number is on the hospital directory.",
    "Parts of this record were carried forward from earlier encounters so that the story is in one place. They were "
    "looked over today, changed where they no longer held, and left where they did. The date of the original entry can "
    "be found with the hover function in the chart.",
    "Medication reconciliation: the list was built from the outpatient pharmacy feed, the last clinic visit and the "
    "interview. Doses were confirmed where a bottle was at hand. Over the counter products, eye drops, inhaled "
    "products and patches were asked for one by one. The list will be checked once more by a pharmacist within a day.",
    "Fall precautions are in place: bed in low position, call bell in reach, non-slip socks on, path to the bathroom "
    "clear, glasses on the table. The patient and the visitors were told to call before getting up. The score was "
    "entered by the nurse and is recomputed each shift.",
    "Pressure injury prevention: skin was looked over on arrival from head to heel by two nurses. The mattress is of "
    "the standard kind. Turning is offered every two hours while in bed, and moisture is managed with a barrier cream. "
    "The findings are in the flow sheet.",
    "Patient identification was made by name and date of birth on the wristband before every drug, draw and transfer. "
    "Hand hygiene was performed on entering and on leaving the room. Gloves were worn for contact with fluids, and the "
    "stethoscope was wiped with alcohol before use.",
    "Quality items: influenza vaccine offered in season, pneumococcal vaccine reviewed, tobacco screening completed "
    "and documented, depression screen with two questions completed, learning needs assessed, preferred language "
    "recorded, interpreter offered, pain goal set together with the patient.",
    "Venous clot prevention was considered with the electronic tool. The tool asks about mobility, age, hormones, "
    "recent surgery and family, adds points, and proposes a drug or stockings. Its proposal was followed, and it will "
    "ask again when the patient moves to another unit.",
    "Information in this document is protected by state and federal law. It was released to the chart for the purposes "
    "of treatment, payment and operations only. Whoever finds a printed copy is asked to put it into the locked bin "
    "and not to pass it on, nor to take pictures of it.",
    "Goals for the day were written on the white board with the patient: sit up for meals, walk with staff, drink "
    "eight cups, use the breathing exerciser ten times an hour while awake, ask one question on rounds. Family may add "
    "goals with the marker on the tray.",
    "Nutrition screen on arrival asked about appetite, weight and chewing. The dietitian was told by the system, will "
    "see the patient within three days, and may change the texture of food, add drinks between meals or order weights "
    "without another order.",
    "The results tab was refreshed when this note was opened and once more at signature. Values that came in between "
    "are shown with the later time. Values from outside laboratories are not pulled in and must be looked for in the "
    "scanned documents.",
)  # fmt: skip
JOBS: Pool = ("teacher", "bus driver", "cook", "carpenter", "bookkeeper", "tailor", "clerk", "mechanic", "janitor",
              "florist", "machinist", "librarian")  # fmt: skip
LANGUAGES: Pool = (
    "Spanish",
    "Polish",
    "Mandarin",
    "Russian",
    "Haitian Creole",
    "Bengali",
    "Italian",
    "Arabic",
    "Korean",
)
