"""English text of an installed Debian system as JSON lines: manual pages, documentation, licences.

A stand-in for web text on a machine without a network: it tries the two-source path and gives small models some plain
English. A real run takes SlimPajama.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from training.pretraining.errors import PretrainError
from training.pretraining.web import MIN_CHARACTERS

ROOT = Path("/usr/share")
# Change logs and lists of files are not sentences; they would be most of the text.
_DOC_NAMES = re.compile(r"^(?:readme|copyright|faq|howto|guide|manual|.*\.(?:txt|md|rst|texi))", re.IGNORECASE)
_MAX_BYTES = 4 * 1024 * 1024
_COMMON = frozenset(
    {"the", "of", "and", "to", "a", "in", "is", "that", "for", "it", "with", "as", "be", "this", "or", "are", "on",
     "by", "not", "if", "which", "can", "from", "you"}
)  # fmt: skip
_WORD = re.compile(r"[A-Za-z]+")
_ENGLISH_SHARE = 0.12
"""Of an English text's words, so many at least are among the 25 of `_COMMON`; of code and word lists they are not."""

_FONTS = re.compile(r"\\f(?:\(..|\[[^\]]*\]|.)|\\s[-+]?\d|\\[&|^%/,)]|\\c$")
_NAMED = re.compile(r"\\\((..)|\\\[([^\]]*)\]|\\\*(?:\(..|\[[^\]]*\]|.)")
_GLYPHS = {"aq": "'", "dq": '"', "lq": '"', "rq": '"', "oq": "'", "cq": "'", "bu": "-", "em": "-", "en": "-", "hy": "-",
           "co": "(c)", "rs": "\\", "ti": "~", "ha": "^", "ga": "`", "mi": "-", "at": "@"}  # fmt: skip
_TEXT_MACROS = frozenset(
    {"B", "I", "BR", "RB", "IR", "RI", "BI", "IB", "SM", "SB", "Nm", "Fl", "Ar", "Op", "Xr", "Pa", "Cm", "Ev", "Em",
     "Sy", "Li", "Va", "Fn", "Ic", "Dq", "Sq", "Ql", "Nd", "Qq"}
)  # fmt: skip
_HEADINGS = frozenset({"SH", "SS", "Sh", "Ss"})
_BREAKS = frozenset({"PP", "LP", "P", "TP", "IP", "HP", "Pp", "It", "br", "sp"})
_TABLES = {"TS": "TE", "EQ": "EN", "de": "."}


def gather(out: Path, root: Path = ROOT, advance: Callable[[int], None] = lambda _: None) -> tuple[int, int]:
    """Write `out` (.jsonl). Returns documents and characters. Raises PretrainError when there is no text."""
    seen: set[bytes] = set()
    documents = characters = 0
    partial = out.with_name(out.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        for path, text in _texts(root):
            advance(1)
            key = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()
            if key in seen or not is_english(text):
                continue
            seen.add(key)
            file.write(json.dumps({"text": text, "meta": {"source": str(path.relative_to(root))}}) + "\n")
            documents, characters = documents + 1, characters + len(text)
    if not documents:
        partial.unlink()
        raise PretrainError(f"{root}: no English manual pages or documentation; install Debian's doc packages")
    partial.replace(out)
    return documents, characters


def is_english(text: str) -> bool:
    """Whether a text is English prose long enough to keep."""
    words = _WORD.findall(text[:20_000].lower())
    if len(text) < MIN_CHARACTERS or len(words) < 30:
        return False
    return sum(word in _COMMON for word in words) / len(words) >= _ENGLISH_SHARE


def _texts(root: Path) -> Iterator[tuple[Path, str]]:
    # Sections of the root's own man folder are English; other languages are in folders of theirs.
    for path in sorted((root / "man").glob("man[1-9]/*")):
        raw = _read(path)
        if raw and not raw.startswith(".so "):
            yield path, manual_text(raw)
    for path in sorted((root / "common-licenses").glob("*")):
        yield path, _read(path)
    for path in sorted((root / "doc").rglob("*")):
        if _DOC_NAMES.match(path.name.removesuffix(".gz")):
            yield path, _read(path)


def _read(path: Path) -> str:
    if path.is_symlink() or not path.is_file() or path.stat().st_size > _MAX_BYTES:
        return ""
    try:
        if path.suffix != ".gz":
            return path.read_text(encoding="utf-8")
        with gzip.open(path) as stream:
            return stream.read(_MAX_BYTES).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError):
        return ""


def manual_text(raw: str) -> str:
    """The words of a roff page (man or mdoc macros), a paragraph a line. Tables and equations are left out."""
    paragraphs: list[list[str]] = [[]]
    until: str | None = None
    for line in raw.splitlines():
        macro, _, rest = line[1:].strip().partition(" ") if line[:1] in {".", "'"} else ("", "", line)
        if until is not None:
            until = None if macro == until else until
        elif macro in _TABLES:
            until = _TABLES[macro]
        elif not macro:
            if rest.strip():
                paragraphs[-1].append(_plain(rest))
            else:
                paragraphs.append([])
        elif macro in _HEADINGS:
            paragraphs += [[_plain(rest.replace('"', ""))], []]
        elif macro in _BREAKS:
            paragraphs.append([])
        elif macro in _TEXT_MACROS:
            # BR and its kin set their arguments in turns of fonts without spaces; as separate words they read as well.
            words = re.findall(r'"([^"]*)"|(\S+)', rest)
            said = " ".join(quoted or word for quoted, word in words if (quoted or word) not in _TEXT_MACROS)
            paragraphs[-1].append(_plain(("-" if macro == "Fl" else "") + said))
    return "\n".join(" ".join(" ".join(words).split()) for words in paragraphs if words).strip()


def _plain(text: str) -> str:
    text = _FONTS.sub("", text.partition('\\"')[0])
    text = _NAMED.sub(lambda match: _GLYPHS.get(match[1] or match[2] or "", " "), text)
    return text.replace("\\-", "-").replace("\\e", "\\").replace("\\ ", " ").replace("\\~", " ")
