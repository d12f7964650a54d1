"""Answers between markers: taken out of a cell, and looked for everywhere else.

def dice_loss(logits, masks):
    # BEGIN SOLUTION
    # STUB: loss = ...          (optional; in place of the placeholder)
    loss = …
    # END SOLUTION
    return loss
"""

from __future__ import annotations

import difflib
import html
import io
import itertools
import keyword
import re
import tokenize
from collections.abc import Iterator

from unet_lab.grading.notebook import Cell

BEGIN, END, STUB = "# BEGIN SOLUTION", "# END SOLUTION", "# STUB:"
PLACEHOLDER = "...  # your code here"

TRIVIAL_TOKENS = 9
"""A line of fewer words and signs, such as `loss.backward()`, may stand elsewhere: it gives no answer away."""

TRIVIAL_WORDS = 4
"""The same for a line of prose or a comment."""


def strip(cell: Cell) -> tuple[str, list[str], list[str]]:
    """An answer cell without its answers: (source, lines of the solution, faults).

    A region becomes its `# STUB:` lines, or the placeholder, at the markers' indentation.
    """
    kept: list[str] = []
    solution: list[str] = []
    stub: list[str] = []
    found = list(marker_faults(cell))
    begin = None  # (line number, indentation) of the open region
    regions = lines_in_region = 0
    for number, line in enumerate(cell.source.splitlines(), 1):
        text, indentation = line.strip(), line[: len(line) - len(line.lstrip())]
        if text == BEGIN:
            if begin:
                found.append(f"{cell}: {BEGIN} in line {number} stands inside the region begun in line {begin[0]}.")
            begin, stub, lines_in_region = (number, indentation), [], 0
            regions += 1
        elif text == END:
            if begin is None:
                found.append(f"{cell}: {END} in line {number} has no {BEGIN} before it.")
                continue
            if indentation != begin[1]:
                found.append(f"{cell}: {END} in line {number} is indented otherwise than its {BEGIN}.")
            if not lines_in_region:
                found.append(f"{cell}: there is no answer between the markers in lines {begin[0]} and {number}.")
            kept += [(begin[1] + code).rstrip() for code in stub or [PLACEHOLDER]]
            begin = None
        elif text.startswith(STUB):
            if begin is None:
                found.append(f"{cell}: {STUB} in line {number} stands outside {BEGIN} … {END}.")
            stub.append(text.removeprefix(STUB).removeprefix(" "))
        elif begin:
            solution.append(line)
            lines_in_region += bool(text)
        else:
            kept.append(line)
    if begin:
        found.append(f"{cell}: {BEGIN} in line {begin[0]} has no {END} after it.")
    if not regions and not found:
        found.append(f"{cell}: an answer cell needs its answer between {BEGIN} and {END}.")
    return "\n".join(kept), solution, found


def marker_faults(cell: Cell) -> Iterator[str]:
    """Lines that look like a marker and are none: as written, they would leave the answer in."""
    for number, line in enumerate(cell.source.splitlines(), 1):
        text = line.strip()
        if text in (BEGIN, END) or text.startswith(STUB):
            if cell.role != "answer":
                role = f"of role {cell.role!r}" if cell.role else "without a role"
                yield f'{cell}: line {number}, {text!r}, stands in a cell {role}; markers belong in "answer" cells.'
        elif _like_a_marker(text):
            yield f"{cell}: line {number}, {text!r}, looks like a marker. Write exactly {BEGIN}, {END} or {STUB} code."


def _like_a_marker(text: str) -> bool:
    if re.search(r"\b(BEGIN|END)[ _-]*SOLUTION", text, flags=re.IGNORECASE) or re.match(r"#+\s*stub\s*:", text, re.I):
        return True
    comment = text.lstrip("#").strip().upper()
    near = difflib.get_close_matches(comment, ("BEGIN SOLUTION", "END SOLUTION"), n=1, cutoff=0.8)
    return text.startswith("#") and bool(near)


def leaks(solution: list[str], cells: list[dict]) -> Iterator[tuple[int, str]]:
    """(number of the cell, counted from 1, and the line) for each telling line of the solution that a built cell shows.

    Every string of a cell is searched: source, outputs, attachments, metadata. Spaces don't count.
    """
    telling = {squeezed(line): line.strip() for line in solution if is_telling(line)}
    for number, cell in enumerate(cells, 1):
        shown = "\0".join(squeezed(text, with_comments=True) for text in _strings(cell))
        for needle, line in telling.items():
            if needle in shown:
                yield number, line


def is_telling(line: str) -> bool:
    """Whether a line of the solution says something of the answer: not a bracket, a header, an import, a short call."""
    text = line.strip()
    if text.startswith("#"):
        return len(text.split()) > TRIVIAL_WORDS
    if text.endswith(":") or text.startswith(("import ", "from ", "@")):
        return False
    tokens = _tokens(text)
    if tokens is None or _is_prose(tokens):
        return len(text.split()) > TRIVIAL_WORDS
    code = [token for token in tokens if token.type in (tokenize.NAME, tokenize.NUMBER, tokenize.OP, tokenize.STRING)]
    long_string = any(token.type == tokenize.STRING and len(token.string.split()) > TRIVIAL_WORDS for token in code)
    return len(code) >= TRIVIAL_TOKENS or long_string


def _is_prose(tokens: list[tokenize.TokenInfo]) -> bool:
    """Two names side by side: a line of a longer text, not of code."""
    plain = [token.type == tokenize.NAME and not keyword.iskeyword(token.string) for token in tokens]
    return any(a and b for a, b in itertools.pairwise(plain))


def squeezed(text: str, with_comments: bool = False) -> str:
    """A text without spaces, HTML's &lt; and the like, and, for a line of code, its comment."""
    if not with_comments and not text.strip().startswith("#"):
        comments = [token for token in _tokens(text.strip()) or () if token.type == tokenize.COMMENT]
        if comments:
            text = text.strip()[: comments[0].start[1]]
    return re.sub(r"\s+", "", html.unescape(text))


def _tokens(line: str) -> list[tokenize.TokenInfo] | None:
    """The tokens of a line of code; None where it is no code. An open bracket is no fault: a statement may go on."""
    found = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(line).readline):
            if token.type == tokenize.ERRORTOKEN and token.string.strip():
                return None
            found.append(token)
    except tokenize.TokenError as error:
        return found if "multi-line statement" in error.args[0] else None
    except (SyntaxError, ValueError):
        return None
    return found


def _strings(thing: object) -> Iterator[str]:
    if isinstance(thing, str):
        yield thing
    elif isinstance(thing, dict):
        for key, value in thing.items():
            yield str(key)
            yield from _strings(value)
    elif isinstance(thing, list):
        for value in thing:
            yield from _strings(value)
