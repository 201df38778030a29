"""The Charlson comorbidity index from ICD-9-CM and ICD-10 codes, without age points (paper, 5.2.2).

Codes to categories: the enhanced ICD-9-CM and the ICD-10 columns of Quan et al., "Coding algorithms for defining
comorbidities in ICD-9-CM and ICD-10 administrative data", Medical Care 43(11), 2005, tables 1 and 2. Weights: Charlson
et al., J Chronic Dis 40(5), 1987, which are also those of the calculator that the paper cites. The ICD-10 column is
followed as printed also where ICD-10-CM is finer: `E11.6x` is diabetes without complication, `C7A` and `C7B` are not
listed, `I13.2` is heart failure and not renal disease.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray

MaskArray = NDArray[np.int32]
"""Bit k set: category k of CATEGORIES is present."""


class IcdVersion(IntEnum):
    """Which ICD a code is of. Never guessed: `V43.4` is a graft in ICD-9-CM and a road accident in ICD-10."""

    ICD_9_CM = 9
    ICD_10_CM = 10


@dataclass(frozen=True, slots=True)
class Category:
    """One of the 17 conditions. Codes are prefixes, `a-b` every prefix between, both ends included."""

    name: str
    weight: int
    icd9: str
    icd10: str


CATEGORIES = (
    Category("myocardial_infarction", 1, "410 412", "I21 I22 I25.2"),
    Category(
        "congestive_heart_failure",
        1,
        "398.91 402.01 402.11 402.91 404.01 404.03 404.11 404.13 404.91 404.93 425.4-425.9 428",
        "I09.9 I11.0 I13.0 I13.2 I25.5 I42.0 I42.5-I42.9 I43 I50 P29.0",
    ),
    Category(
        "peripheral_vascular_disease",
        1,
        "093.0 437.3 440 441 443.1-443.9 447.1 557.1 557.9 V43.4",
        "I70 I71 I73.1 I73.8 I73.9 I77.1 I79.0 I79.2 K55.1 K55.8 K55.9 Z95.8 Z95.9",
    ),
    Category("cerebrovascular_disease", 1, "362.34 430-438", "G45 G46 H34.0 I60-I69"),
    Category("dementia", 1, "290 294.1 331.2", "F00-F03 F05.1 G30 G31.1"),
    Category(
        "chronic_pulmonary_disease",
        1,
        "416.8 416.9 490-505 506.4 508.1 508.8",
        "I27.8 I27.9 J40-J47 J60-J67 J68.4 J70.1 J70.3",
    ),
    Category(
        "rheumatic_disease",
        1,
        "446.5 710.0-710.4 714.0-714.2 714.8 725",
        "M05 M06 M31.5 M32-M34 M35.1 M35.3 M36.0",
    ),
    Category("peptic_ulcer_disease", 1, "531-534", "K25-K28"),
    Category(
        "mild_liver_disease",
        1,
        "070.22 070.23 070.32 070.33 070.44 070.54 070.6 070.9 570 571 573.3 573.4 573.8 573.9 V42.7",
        "B18 K70.0-K70.3 K70.9 K71.3-K71.5 K71.7 K73 K74 K76.0 K76.2-K76.4 K76.8 K76.9 Z94.4",
    ),
    Category(
        "diabetes_without_complication",
        1,
        "250.0-250.3 250.8 250.9",
        "E10.0 E10.1 E10.6 E10.8 E10.9 E11.0 E11.1 E11.6 E11.8 E11.9 E12.0 E12.1 E12.6 E12.8 E12.9 "
        "E13.0 E13.1 E13.6 E13.8 E13.9 E14.0 E14.1 E14.6 E14.8 E14.9",
    ),
    Category(
        "diabetes_with_complication",
        2,
        "250.4-250.7",
        "E10.2-E10.5 E10.7 E11.2-E11.5 E11.7 E12.2-E12.5 E12.7 E13.2-E13.5 E13.7 E14.2-E14.5 E14.7",
    ),
    Category(
        "hemiplegia_or_paraplegia",
        2,
        "334.1 342 343 344.0-344.6 344.9",
        "G04.1 G11.4 G80.1 G80.2 G81 G82 G83.0-G83.4 G83.9",
    ),
    Category(
        "renal_disease",
        2,
        "403.01 403.11 403.91 404.02 404.03 404.12 404.13 404.92 404.93 582 583.0-583.7 585 586 588.0 V42.0 V45.1 V56",
        "I12.0 I13.1 N03.2-N03.7 N05.2-N05.7 N18 N19 N25.0 Z49.0-Z49.2 Z94.0 Z99.2",
    ),
    Category(
        "malignancy",
        2,
        "140-172 174-195 200-208 238.6",
        "C00-C26 C30-C34 C37-C41 C43 C45-C58 C60-C76 C81-C85 C88 C90-C97",
    ),
    Category(
        "moderate_or_severe_liver_disease",
        3,
        "456.0-456.2 572.2-572.8",
        "I85.0 I85.9 I86.4 I98.2 K70.4 K71.1 K72.1 K72.9 K76.5-K76.7",
    ),
    Category("metastatic_solid_tumour", 6, "196-199", "C77-C80"),
    Category("aids", 6, "042-044", "B20-B22 B24"),
)
HIERARCHY = (
    ("moderate_or_severe_liver_disease", "mild_liver_disease"),
    ("diabetes_with_complication", "diabetes_without_complication"),
    ("metastatic_solid_tumour", "malignancy"),
)
"""(the one that counts, the one that it silences)."""

_BIT = {category.name: 1 << k for k, category in enumerate(CATEGORIES)}
_SHAPE = {
    IcdVersion.ICD_9_CM: re.compile(r"\d{3,5}|V\d{2,4}|E\d{3,4}"),
    IcdVersion.ICD_10_CM: re.compile(r"[A-Z]\d[0-9A-Z][0-9A-Z]{0,4}"),
}


def normalise(code: str) -> str:
    """The code without dot and spaces, in capitals: "i25.2 " is "I252"."""
    return code.replace(".", "").replace(" ", "").upper()


def is_code(code: str, version: IcdVersion) -> bool:
    """Whether the code has the shape of this ICD. A lost leading zero ("42" for 042) or the other ICD shows here."""
    return _SHAPE[version].fullmatch(normalise(code)) is not None


def _prefixes(listed: str) -> Iterable[str]:
    for entry in listed.split():
        first, _, last = (normalise(part) for part in entry.partition("-"))
        if not last:
            yield first
            continue
        letter = first[0] if first[0].isalpha() else ""
        width = len(first) - len(letter)
        for number in range(int(first[len(letter) :]), int(last[len(letter) :]) + 1):
            yield f"{letter}{number:0{width}d}"


@cache
def _table(version: IcdVersion) -> dict[str, int]:
    masks: dict[str, int] = {}
    for category in CATEGORIES:
        for prefix in _prefixes(category.icd9 if version is IcdVersion.ICD_9_CM else category.icd10):
            masks[prefix] = masks.get(prefix, 0) | _BIT[category.name]
    return masks


@cache
def code_mask(code: str, version: IcdVersion) -> int:
    """The categories of one code as bits; 0 for a code of none, -1 for what has not the shape of this ICD.

    A code may be of two categories: 404.03 is heart failure and renal disease.
    """
    if not is_code(code, version):
        return -1
    table, plain = _table(version), normalise(code)
    mask = 0
    for length in range(3, 6):
        mask |= table.get(plain[:length], 0)
    return mask


def index_of_masks(masks: MaskArray) -> NDArray[np.int16]:
    """The index (N,) of category masks (N,): the hierarchy first, then the sum of weights, 0 to 29 - 2 - 1 - 1."""
    left = masks.copy()
    for stronger, weaker in HIERARCHY:
        left[(masks & _BIT[stronger]) != 0] &= ~_BIT[weaker]
    index = np.zeros(len(masks), dtype=np.int16)
    for category in CATEGORIES:
        index[(left & _BIT[category.name]) != 0] += category.weight
    return index


def charlson_index(codes: Iterable[str], version: IcdVersion) -> int:
    """The index of one person's codes. Raises ValueError for what has not the shape of this ICD."""
    mask = 0
    for place, code in enumerate(codes):
        found = code_mask(code, version)
        if found < 0:
            raise ValueError(f"code {place} is not {version.name}; give the code in full and its ICD version")
        mask |= found
    return int(index_of_masks(np.array([mask], dtype=np.int32))[0])


def charlson_indices(
    owner: NDArray[np.int64], codes: Sequence[str], versions: NDArray[np.int8], owners: int
) -> NDArray[np.int16]:
    """The index of each owner (an encounter or a person), (owners,); -1 for one without any usable code.

    `owner`, `codes` and `versions` are (D,), a row a code; version 9 or 10. A code without the shape of its ICD is no
    code: an encounter that has no other has no index.
    """
    known = {int(version): version for version in IcdVersion}
    found = np.fromiter(
        (
            code_mask(code, known[version]) if version in known else -1
            for code, version in zip(codes, versions.tolist(), strict=True)
        ),
        dtype=np.int32,
        count=len(codes),
    )
    usable = found >= 0
    masks = np.zeros(owners, dtype=np.int32)
    np.bitwise_or.at(masks, owner[usable], found[usable])
    index = index_of_masks(masks)
    index[np.bincount(owner[usable], minlength=owners) == 0] = -1
    return index
