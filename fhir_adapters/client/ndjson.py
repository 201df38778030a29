"""Lines of NDJSON out of the pieces of a download, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


class LineTooLongError(Exception):
    """A line is over the cap. `line` counts from 1."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


def ndjson_lines(pieces: Iterable[bytes], max_line_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Number (from 1) and bytes of each line that is not empty. Raises LineTooLongError."""
    number, held, size = 1, list[bytes](), 0
    for piece in pieces:
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            size += end - start
            if size > max_line_bytes:
                raise LineTooLongError(number)
            held.append(piece[start:end])
            if line := b"".join(held).strip():
                yield number, line
            number, held, size, start = number + 1, [], 0, end + 1
        size += len(piece) - start
        if size > max_line_bytes:
            raise LineTooLongError(number)
        held.append(piece[start:])
    if line := b"".join(held).strip():
        yield number, line
