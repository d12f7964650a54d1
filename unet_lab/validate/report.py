"""From what the cells did to a table, task by task."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from unet_lab.grading.notebook import KEY, Cell, check_keys, digest, double_ids, is_task

FRESH_COPY = "Take a fresh copy of the exercise and paste your answers into it."
BESIDE = ("ModuleNotFoundError", "FileNotFoundError")


@dataclass(frozen=True)
class CellRun:
    """What one code cell did.

    status   "ok", "crashed", "too slow", "kernel died", "not run"
    error    the exception's name, `text` its first line, `line` the learner's own line; each may be empty
    checks   the verdicts written while it ran: {key, status, mistake, message}
    """

    status: str
    error: str = ""
    text: str = ""
    line: str = ""
    checks: tuple[dict, ...] = ()


NOT_RUN = CellRun("not run")


@dataclass(frozen=True)
class Row:
    """One check of a task, or a cell outside the tasks that did not run.

    task     "3"; empty for a cell that belongs to none
    key      the check's key; empty where there is no check
    status   what `check` said ("passed", "wrong", "not attempted yet", "borrowed", "no verdict"), or "crashed",
             "too slow", "not run"; or "missing", "edited", "double" of a cell that is not as it was handed out
    mistake  the name of what is wrong, with the status "wrong"
    message  what to read
    error, line   of a crash: the exception's name, the learner's own line
    cell     the cell that `status` speaks of, counted from 1; 0 where there is none
    """

    task: str
    key: str
    status: str
    mistake: str = ""
    message: str = ""
    error: str = ""
    line: str = ""
    cell: int = 0


@dataclass(frozen=True)
class Report:
    """What `unet-lab validate` found.

    runs   whether the notebook runs from top to bottom
    whole  whether all its answer and check cells are as they were handed out
    """

    notebook: str
    runs: bool
    whole: bool
    seconds: float
    rows: tuple[Row, ...]

    @property
    def ready(self) -> bool:
        return self.runs and self.whole

    def as_dict(self) -> dict:
        return {**asdict(self), "rows": [asdict(row) for row in self.rows], "ready": self.ready}

    def as_text(self, width: int = 100) -> str:
        head = ("task", "check", "result")
        keys = max([len(row.key) for row in self.rows] + [len(head[1])])
        lines = [f"{head[0]:<5} {head[1]:<{keys}}  {head[2]}"]
        for row in self.rows:
            lines.append(f"{row.task or '–':<5} {row.key:<{keys}}  {_result(row)}")
            indent = " " * (keys + 8)
            for part in row.message.splitlines():
                lines += textwrap.wrap(part, max(width, 60), initial_indent=indent, subsequent_indent=indent)
        return "\n".join([*lines, "", self._verdict()])

    def _verdict(self) -> str:
        if not self.runs:
            return f"It does NOT run from top to bottom ({self.seconds:.0f} s). Mend the first cell that fails, then try again."
        if not self.whole:
            return f"It runs from top to bottom ({self.seconds:.0f} s), but cells are not as they were handed out."
        return f"It runs from top to bottom ({self.seconds:.0f} s)."


def _result(row: Row) -> str:
    detail = row.mistake or row.error
    return f"{row.status}: {detail}" if detail else row.status


def report(
    name: str, raw: dict, cells: list[Cell], runs: dict[int, CellRun], cell_seconds: float, seconds: float
) -> Report:
    """The report on a notebook: `runs` has what each code cell did, by the cell's number."""
    expected = _expected(raw)
    cells = [_as_handed_out(cell, expected) for cell in cells]
    altered = list(_altered(cells, expected))
    told = {row.cell for row in altered}
    rows = []
    for part in _parts(cells):
        rows += _rows(part, runs, cell_seconds, told)
    rows = sorted([*rows, *altered], key=lambda row: int(row.task or 0))
    runs_through = all(runs[cell.number].status == "ok" for cell in cells if cell.kind == "code")
    return Report(name, runs_through, not altered, round(seconds, 1), tuple(rows))


def _expected(raw: dict) -> dict[str, dict]:
    """What the release wrote into the notebook about its cells, by id; empty where that is lost, or in the solution."""
    ours = raw.get("metadata", {}) if isinstance(raw.get("metadata"), dict) else {}
    cells = ours.get(KEY, {}).get("cells", {}) if isinstance(ours.get(KEY), dict) else {}
    cells = cells if isinstance(cells, dict) else {}
    return {
        name: entry
        for name, entry in cells.items()
        if isinstance(entry, dict) and is_task(entry.get("task")) and entry.get("role") in ("answer", "check")
    }


def _as_handed_out(cell: Cell, expected: dict[str, dict]) -> Cell:
    """The cell with the task and role that it was handed out with; a learner's own cell, or a copy, has none."""
    if not expected:
        return cell
    ours = expected.get(cell.id)
    if ours is None:
        ours = {"role": "given", "task": cell.task} if cell.role == "given" else None
    return Cell(cell.number, cell.id, cell.kind, cell.source, cell.metadata, ours)


def _altered(cells: list[Cell], expected: dict[str, dict]) -> Iterator[Row]:
    """The cells that are missing, double or edited."""
    there = {cell.id: cell for cell in cells}
    if expected and not any(cell.id for cell in cells):
        message = (
            f"The program that saved this notebook dropped the cells' ids, so answers can't be told apart. {FRESH_COPY}"
        )
        yield Row("", "", "missing", message=message)
        return
    for first, later in double_ids(cells):
        message = f"Cells {first.number} and {later.number} have the same id. Delete the one that is a copy."
        yield Row(first.task, "", "double", message=message, cell=later.number)
    for name, entry in expected.items():
        part = "check" if entry["role"] == "check" else "answer cell"
        if name not in there:
            message = f"The {part} of task {entry['task']} is missing. {FRESH_COPY}"
            yield Row(entry["task"], "", "missing", message=message)
        elif there[name].kind != "code":
            message = f"The {part} of task {entry['task']} is no code cell any more: change it back with Y."
            yield Row(entry["task"], "", "edited", message=message, cell=there[name].number)
        elif entry["role"] == "check" and digest(there[name].source) != entry.get("digest"):
            message = f"The check of task {entry['task']} was edited. {FRESH_COPY}"
            key = next(iter(check_keys(there[name].source)), "")
            yield Row(entry["task"], key, "edited", message=message, cell=there[name].number)
    if not expected:
        tasks = {cell.task for cell in cells if cell.role == "answer"}
        for task in sorted(tasks - {cell.task for cell in cells if cell.role == "check"}):
            yield Row(task, "", "missing", message=f"The check of task {task} is missing. {FRESH_COPY}")


def _parts(cells: list[Cell]) -> Iterator[list[Cell]]:
    """Code cells that are judged together: a task's cells up to its check, or one cell that belongs to no task."""
    open_parts: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.kind != "code":
            continue
        if not cell.task:
            yield [cell]
            continue
        open_parts.setdefault(cell.task, []).append(cell)
        if cell.role == "check":
            yield open_parts.pop(cell.task)
    yield from open_parts.values()


def _rows(part: list[Cell], runs: dict[int, CellRun], cell_seconds: float, told: set[int]) -> Iterator[Row]:
    last = part[-1]
    task, is_check = last.task, last.role == "check"
    keys = check_keys(last.source) if is_check else []
    failed = next((cell for cell in part if runs[cell.number].status != "ok"), None)
    verdicts = {verdict.get("key"): verdict for verdict in runs[last.number].checks} if is_check else {}
    if last.number in told:
        keys = []
    elif failed is None:
        for key in keys:
            yield _verdict_row(task, key, verdicts.get(key), last.number)
        return
    elif failed is last:
        for key in [key for key in keys if key in verdicts]:
            yield _verdict_row(task, key, verdicts[key], last.number)
        keys = [key for key in keys if key not in verdicts]
    if failed is not None:
        for key in keys or [""]:
            yield _failed_row(task, key, failed, runs[failed.number], cell_seconds)


def _verdict_row(task: str, key: str, verdict: dict | None, number: int) -> Row:
    if verdict is None:
        return Row(task, key, "no verdict", message="The check said nothing.", cell=number)
    status, mistake, message = (str(verdict.get(name) or "") for name in ("status", "mistake", "message"))
    if mistake == "too slow":
        status, mistake = "too slow", ""
    return Row(task, key, status, mistake, message, cell=number)


def _failed_row(task: str, key: str, cell: Cell, run: CellRun, cell_seconds: float) -> Row:
    where = f"cell {cell.number} (“{cell.first_line}”)"
    line = f"\nYour line: {run.line}" if run.line else ""
    if run.status == "crashed":
        beside = "\nOnly the notebook is handed in, so nothing lies beside it here." if run.error in BESIDE else ""
        text = f": {run.text}" if run.text else ""
        message = f"In {where}{text}{line}{beside}"
    elif run.status == "too slow":
        message = f"{where} was stopped: more than {cell_seconds:g} s. Is there a loop without an end?{line}"
    elif run.status == "kernel died":
        message = f"The kernel ended while {where} ran: an exit, or no memory left."
    else:
        message = f"{where} did not run: the kernel had ended, or the time for all cells was spent."
    status = "crashed" if run.status == "kernel died" else run.status
    error = run.error or ("kernel died" if run.status == "kernel died" else "")
    return Row(
        task, key, status, message=message[0].upper() + message[1:], error=error, line=run.line, cell=cell.number
    )
