"""Reading comprehension along pretraining, from the files of SciQ and PubMedQA where they are given (paper, 5.2.4).

SciQ: a JSON list of question, correct_answer, distractor1 to 3 and support. PubMedQA: `ori_pqal.json`, an object of
QUESTION, CONTEXTS and final_decision by PubMed id. A passage is cut to the tokens that a note is cut to.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from lang1.prompt import PromptEncoder
from lang1.tasks import BUILT_IN, Option
from training.pretraining.errors import PretrainError
from training.pretraining.questions import Question

SCIQ, PUBMEDQA = "sciq", "pubmedqa"
_DECISIONS = ("no", "maybe", "yes")


def benchmark_questions(name: str, file: Path, encoder: PromptEncoder, count: int) -> list[Question]:
    """The first `count` questions of a file. Raises PretrainError when it is not of that form."""
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
        entries: list[Any] = list(read.values() if name == PUBMEDQA else read)
        return [(_pubmedqa if name == PUBMEDQA else _sciq)(entry, encoder) for entry in entries[:count]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PretrainError(f"{file.name} is not a {name} file ({type(error).__name__})") from None


def _sciq(entry: dict[str, str], encoder: PromptEncoder) -> Question:
    answers = [entry["correct_answer"], *(entry[f"distractor{number}"] for number in (1, 2, 3))]
    # In an order of its own for each question, or the right one would always be A.
    order = sorted(answers, key=lambda answer: hashlib.blake2b((entry["question"] + answer).encode()).digest())
    return _question(SCIQ, entry["support"], entry["question"], order, order.index(answers[0]), encoder)


def _pubmedqa(entry: dict[str, Any], encoder: PromptEncoder) -> Question:
    answer = _DECISIONS.index(entry["final_decision"])
    return _question(PUBMEDQA, " ".join(entry["CONTEXTS"]), entry["QUESTION"], list(_DECISIONS), answer, encoder)


def _question(
    group: str, passage: str, question: str, answers: list[str], answer: int, encoder: PromptEncoder
) -> Question:
    template = next(iter(BUILT_IN.values()))
    options = tuple(Option.model_construct(text=text, code=text, display=text) for text in answers)
    task = template.model_copy(update={"name": group, "question": question, "options": options})
    suffix = encoder.suffix(task, None)
    ids, _ = encoder.note_ids(passage)
    return Question(group, encoder.bos_ids + tuple(ids) + suffix.token_ids, suffix.option_ids, answer)
