"""The source of the exercise: its cells must say what they are, completely and in known words, or nothing is built from it.

A typo in a tag or a role would hand out an answer, so whatever is not known is a fault.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator

from unet_lab.grading.notebook import ROLES, Cell, check_keys, double_ids, is_task

TOTAL_POINTS = 100
TAGS = ("set-up", "explorer")
ENTRIES = ("task", "role", "points")
METADATA = (
    *("unet_lab", "tags", "lines_to_next_cell", "editable", "deletable"),
    *("execution", "collapsed", "trusted", "scrolled"),  # a front end adds these; they are taken out
)
NBVAL_COMMENTS = re.compile(r"^\s*#+\s*(NBVAL_SKIP|NBVAL_RAISES_EXCEPTION)\s*$", flags=re.MULTILINE)
CELL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def faults(cells: list[Cell], known_keys: set[str]) -> list[str]:
    """Everything that is wrong with the source's cells, one sentence each: which cell, what, and what to do.

    `known_keys` are the checks that exist.
    """
    found = list(_ids(cells))
    for cell in cells:
        found += _metadata(cell)
        found += _role(cell)
        if cell.kind == "code":
            found += _code(cell)
    found += _tasks(cells)
    found += _checks(cells, known_keys)
    return found


def _ids(cells: list[Cell]) -> Iterator[str]:
    for cell in cells:
        if not CELL_ID.fullmatch(cell.id):
            yield f"{cell}: needs an id of letters, digits, - and _ that never changes, such as e08-1-answer."
    for first, later in double_ids(cells):
        yield f"{later}: has the same id as {first}. Give one of them another id."


def _metadata(cell: Cell) -> Iterator[str]:
    for key in sorted(set(cell.metadata) - set(METADATA)):
        yield f"{cell}: unknown metadata {key!r}; known are {', '.join(METADATA[:5])}. Mend the name or remove it."
    tags = cell.metadata.get("tags", [])
    if not isinstance(tags, list):
        yield f"{cell}: tags must be a list, and is {tags!r}."
        return
    for tag in tags:
        if tag not in TAGS:
            yield f"{cell}: unknown tag {tag!r}; known are {', '.join(TAGS)}. Mend the name or remove it."


def _role(cell: Cell) -> Iterator[str]:
    if "unet_lab" not in cell.metadata:
        if cell.kind == "code" and "set-up" not in cell.metadata.get("tags", []):
            yield (
                f"{cell}: a code cell must say its role, so that no answer is handed out by oversight: "
                f'metadata {{"unet_lab": {{"role": "given"}}}}, or "answer", or "check".'
            )
        return
    if not isinstance(cell.ours, dict):
        yield f'{cell}: the metadata "unet_lab" must hold {", ".join(ENTRIES)}, and is {cell.ours!r}.'
        return
    for key in sorted(set(cell.ours) - set(ENTRIES)):
        yield f'{cell}: unknown entry {key!r} in "unet_lab"; known are {", ".join(ENTRIES)}. Mend the name or remove it.'
    if not cell.role:
        yield f"{cell}: unknown role {cell.ours.get('role')!r}; known are {', '.join(ROLES)}."
    task = cell.ours.get("task")
    if not is_task(task) and (task is not None or cell.role != "given"):
        yield f'{cell}: the task must be text like "3", and is {task!r}.'
    if cell.role in ("answer", "check") and cell.kind != "code":
        yield f"{cell}: the role {cell.role!r} is for code cells; this is a {cell.kind} cell."
    if "points" in cell.ours and cell.role != "check":
        yield f"{cell}: points stand on check cells, and this is a cell of role {cell.role!r}. Move them to its check."
    elif "points" in cell.ours and cell.points <= 0:
        yield f"{cell}: points must be a whole number above 0, and are {cell.ours['points']!r}."


def _code(cell: Cell) -> Iterator[str]:
    if match := NBVAL_COMMENTS.search(cell.source):
        yield f"{cell}: the comment {match[1]} makes nbval pass a cell that fails. Remove it."
    if problem := syntax_error(cell.source):
        yield f"{cell}: {problem}."


def syntax_error(source: str) -> str:
    """What is wrong with a cell as Python, IPython's % and ! lines included; empty if nothing is."""
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "invalid escape sequence" and the like are the linter's business
            compile(TransformerManager().transform_cell(source), "cell", "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        where = f" in line {error.lineno}" if getattr(error, "lineno", None) else ""
        return f"syntax error{where}: {getattr(error, 'msg', error)}"
    return ""


def _tasks(cells: list[Cell]) -> Iterator[str]:
    ours = [cell for cell in cells if cell.task]
    numbers = sorted({int(cell.task) for cell in ours})
    if not numbers:
        yield "no cell belongs to a task. A cell of one has the metadata {'unet_lab': {'task': '1', 'role': 'answer'}}."
    elif missing := sorted(set(range(1, numbers[-1])) - set(numbers)):
        yield f"the tasks are not numbered without gaps: {', '.join(map(str, missing))} missing."
    for number in numbers:
        of_task = [cell for cell in ours if cell.task == str(number)]
        last_check = max((cell.number for cell in of_task if cell.role == "check"), default=0)
        if not last_check:
            yield f'task {number} has no check: {of_task[0]} needs a cell of role "check" after it.'
            continue
        for cell in of_task:
            if cell.role == "answer" and cell.number > last_check:
                yield f"{cell}: no check of task {number} comes after this answer. Add one, or move the answer up."
    total = sum(cell.points for cell in cells if cell.role == "check")
    if total != TOTAL_POINTS:
        each = ", ".join(f"{cell.id or cell.number} {cell.points}" for cell in cells if cell.role == "check")
        yield f"the points sum to {total}, not to {TOTAL_POINTS}: {each or 'there is no check cell'}."


def _checks(cells: list[Cell], known_keys: set[str]) -> Iterator[str]:
    keys: Counter[str] = Counter()
    for cell in cells:
        if cell.role != "check":
            continue
        found = check_keys(cell.source)
        if not found:
            yield f'{cell}: a check cell must call check("key", answer) with the key written out.'
        for key in found:
            keys[key] += 1
            if key not in known_keys:
                yield f"{cell}: there is no check {key!r}. Mend the key, or register the check."
            if keys[key] == 2:
                yield f"{cell}: the check {key!r} stands twice. Each check has one cell."
