"""Notebooks as files: read without surprises, cells with their task and role, one form for what is stored.

nbformat is not imported here: it takes seconds, and what a learner validates needs to be read without its repairs.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import nbformat

ROLES = ("given", "answer", "check")
KEY = "unet_lab"
"""Where a cell's and a notebook's metadata hold what is ours."""


class NotebookError(ValueError):
    """The file can't be used; the message says what it is and what to do."""


@dataclass(frozen=True)
class Cell:
    """One cell as the file has it, before any repair.

    number    its place among all cells, counted from 1
    id        empty where the file has none
    ours      the metadata under "unet_lab" as it is; `task`, `role` and `points` read it where it makes sense
    """

    number: int
    id: str
    kind: str
    source: str
    metadata: dict = field(default_factory=dict)
    ours: object = None

    def _entry(self, key: str) -> object:
        return self.ours.get(key) if isinstance(self.ours, dict) else None

    @property
    def task(self) -> str:
        """ "3", or empty."""
        value = self._entry("task")
        return value if is_task(value) else ""

    @property
    def role(self) -> str:
        """ "given", "answer", "check", or empty."""
        value = self._entry("role")
        return value if isinstance(value, str) and value in ROLES else ""

    @property
    def points(self) -> int:
        value = self._entry("points")
        return value if type(value) is int else 0

    @property
    def first_line(self) -> str:
        """The first line with something in it, cut to fit a message."""
        line = next((line.strip() for line in self.source.splitlines() if line.strip()), "")
        return line if len(line) <= 60 else line[:59] + "…"

    def __str__(self) -> str:
        return f'cell {self.number} (id {self.id or "none"}, "{self.first_line}")'


def is_task(value: object) -> bool:
    """Whether metadata names a task: text such as "3"."""
    return isinstance(value, str) and re.fullmatch(r"[1-9][0-9]?", value) is not None


def load(path: Path) -> dict:
    """The file's JSON, sure to be a notebook of format 4 with well-formed cells; NotebookError otherwise."""
    if path.is_dir():
        raise NotebookError(f"{path} is a folder. Give the notebook's own file, something.ipynb.")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise NotebookError(f"There is no file {path}. Is the name right, and the folder?") from None
    except UnicodeDecodeError:
        raise NotebookError(
            f"{path} is not text in UTF-8, so it is not a notebook. Save it again from Jupyter or Colab (.ipynb)."
        ) from None
    if not text.strip():
        raise NotebookError(f"{path} is empty. Was it saved? Save it again from Jupyter or Colab.")
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "a nesting too deep"
        raise NotebookError(
            f"{path} is not a notebook, or a damaged one: its JSON breaks at {where}. "
            "Save it again from Jupyter or Colab, or take a fresh copy and paste your answers into it."
        ) from None
    if reason := _not_a_notebook(raw):
        raise NotebookError(f"{path} {reason}")
    return raw


def _not_a_notebook(raw: object) -> str:
    if not isinstance(raw, dict) or not isinstance(raw.get("nbformat"), int):
        return "is JSON, but no notebook. Give the file that Jupyter saves, something.ipynb."
    if raw["nbformat"] != 4:
        age = "old" if raw["nbformat"] < 4 else "new"
        return (
            f"is a notebook of format {raw['nbformat']}, which is too {age}; 4 is expected. "
            "Open it in JupyterLab or Colab and save it from there."
        )
    cells = raw.get("cells")
    if not isinstance(cells, list):
        return "is a damaged notebook: it has no list of cells. Take a fresh copy and paste your answers into it."
    for number, cell in enumerate(cells, 1):
        if not _well_formed(cell):
            return (
                f"is a damaged notebook: cell {number} is not well-formed. "
                "Take a fresh copy and paste your answers into it."
            )
    return ""


def _well_formed(cell: object) -> bool:
    if not isinstance(cell, dict) or cell.get("cell_type") not in ("code", "markdown", "raw"):
        return False
    source = cell.get("source")
    lines = source if isinstance(source, list) else [source]
    return all(isinstance(line, str) for line in lines) and isinstance(cell.get("metadata", {}), dict)


def cells_of(raw: dict) -> list[Cell]:
    """All cells of a notebook that `load` gave, with the ids of the file: nbformat would mend double or missing ones."""
    found = []
    for number, cell in enumerate(raw["cells"], 1):
        source, metadata, name = cell["source"], cell.get("metadata", {}), cell.get("id")
        source = source if isinstance(source, str) else "".join(source)
        name = name if isinstance(name, str) else ""
        found.append(Cell(number, name, cell["cell_type"], source, metadata, metadata.get(KEY)))
    return found


def double_ids(cells: list[Cell]) -> Iterator[tuple[Cell, Cell]]:
    """Pairs (first, later) of cells with the same id."""
    first: dict[str, Cell] = {}
    for cell in cells:
        if cell.id in first:
            yield first[cell.id], cell
        elif cell.id:
            first[cell.id] = cell


def check_keys(source: str) -> list[str]:
    """The keys of all `check("key", …)` calls in a cell, in order; none where the cell is no Python."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "check" and call.args]
    named.sort(key=lambda call: (call.lineno, call.col_offset))
    return [
        call.args[0].value
        for call in named
        if isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
    ]


def digest(source: str) -> str:
    """Tells whether a cell was edited; spaces at the ends of lines, which editors strip, don't count."""
    lines = [line.rstrip() for line in source.strip().splitlines()]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def normalise(notebook: nbformat.NotebookNode) -> None:
    """Leave nothing that depends on the machine or the front end: no widget state, kernel versions, cell timings."""
    ours = notebook.metadata.get(KEY, {})
    notebook["metadata"] = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        KEY: ours,
    }
    for cell in notebook.cells:
        for key in ("execution", "collapsed", "trusted", "scrolled"):
            cell.metadata.pop(key, None)
        for output in cell.get("outputs", []):
            # a live widget's id means nothing outside the kernel that made it; its still picture and text stay
            data = output.get("data", {})
            data.pop("application/vnd.jupyter.widget-view+json", None)
    _join_streams(notebook)


def _join_streams(notebook: nbformat.NotebookNode) -> None:
    """Consecutive pieces of the same stream become one: how a kernel cuts them differs from run to run."""
    for cell in notebook.cells:
        joined: list = []
        for output in cell.get("outputs", []):
            if joined and output.output_type == "stream" and joined[-1].get("name") == output.get("name"):
                joined[-1].text += output.text
            else:
                joined.append(output)
        if cell.cell_type == "code":
            cell.outputs = joined
