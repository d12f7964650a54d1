"""`unet-lab release`: the exercise built from its solution, and the folder to hand out."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import nbformat

from unet_lab.grading.notebook import KEY, Cell, cells_of, digest, load, normalise
from unet_lab.grading.source import faults, syntax_error
from unet_lab.grading.stubs import leaks, marker_faults, strip

NAME = "E08_unet_segmentation.ipynb"
SOLUTION = Path("solutions") / NAME
EXERCISE = Path("exercises") / NAME

COPIED = ("environment.yml", "pyproject.toml", "LICENSE")
TEMPLATES = Path(__file__).parent / "handout"
"""README and Makefile of the hand-out: the learner's part of the project's own."""

LEARNERS_PART_OF_GRADING = ("__init__.py", "notebook.py")
CACHES = ("__pycache__", ".ipynb_checkpoints", ".DS_Store")
"""Neither handed out nor a reason to leave an old hand-out alone."""
MANIFEST = ".unet-lab-release.json"


class Refused(ValueError):
    """Nothing was written; `problems` says why, one sentence each."""

    def __init__(self, what: str, problems: list[str]):
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n".join([f"{what}: {count}, nothing was written.", *(f"  {line}" for line in problems)]))


@dataclass(frozen=True)
class Release:
    """What was written: the exercise's file, whether it changed, and the hand-out's folder with its number of files."""

    exercise: Path
    changed: bool
    folder: Path | None = None
    files: int = 0


def release(project: Path, folder: Path | None = None) -> Release:
    """Build the exercise of a checkout and, with `folder`, all that a learner gets.

    Raises Refused, with every problem, before anything is written. A `folder` that an earlier release made is replaced;
    any other that is not empty is left alone.
    """
    if not (project / SOLUTION).is_file():
        raise FileNotFoundError(f"There is no {SOLUTION} in {project}. Run this in the root of the project's checkout.")
    text = build(project / SOLUTION)
    if folder is not None:
        folder = folder.absolute()
        _refuse_foreign(folder)
    exercise = project / EXERCISE
    changed = not exercise.is_file() or exercise.read_bytes() != text.encode()
    files = _write_folder(folder, _handed_out(project, text)) if folder is not None else 0
    if changed:
        _write_file(exercise, text.encode())
    return Release(exercise, changed, folder, files)


def build(solution: Path) -> str:
    """The exercise's file as text: the same for the same source, whether that was executed or not. Raises Refused."""
    from unet_lab.checks import exercises

    raw = load(solution)
    problems = faults(cells := cells_of(raw), set(exercises()))
    notebook = nbformat.v4.reads(json.dumps(raw))  # nbformat.reads would mend double ids in silence
    answers: list[str] = []
    for cell, built in zip(cells, notebook.cells, strict=True):
        if cell.role == "answer":
            built.source, answer, found = strip(cell)
            answers += answer
            if not found and (error := syntax_error(built.source)):
                found = [f"{cell}: the stub that the exercise would get has a {error}."]
            problems += found
        else:
            problems += marker_faults(cell)
            built.source = cell.source.replace(SOLUTION.as_posix(), EXERCISE.as_posix())  # the badge, and any link
        if built.cell_type == "code":
            built.outputs, built.execution_count = [], None
    normalise(notebook)
    notebook.metadata[KEY] = {"cells": _graded(cells)}
    problems = problems or _leak_faults(cells, notebook, answers) or _format_faults(notebook)
    if problems:
        raise Refused(str(solution), problems)
    return nbformat.writes(notebook) + "\n"


def _graded(cells: list[Cell]) -> dict[str, dict]:
    """What `unet-lab validate` must find again in the learner's notebook: answers and checks, and the checks' text."""
    return {
        cell.id: {"task": cell.task, "role": cell.role}
        | ({"digest": digest(cell.source)} if cell.role == "check" else {})
        for cell in cells
        if cell.role in ("answer", "check")
    }


def _leak_faults(cells: list[Cell], notebook: nbformat.NotebookNode, answers: list[str]) -> list[str]:
    found = [
        f"{cells[number - 1]}: shows a line of the solution, {line!r}. Rewrite it there, or leave a gap in it."
        for number, line in leaks(answers, notebook.cells)
    ]
    for cell, built in zip(cells, notebook.cells, strict=True):
        if "solutions/" in built.source:
            found.append(f"{cell}: speaks of the folder solutions/, which learners don't have. Remove it.")
    return found


def _format_faults(notebook: nbformat.NotebookNode) -> list[str]:
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        return [f"it is not a valid notebook: {str(error).splitlines()[0]}."]
    return []


def _handed_out(project: Path, exercise: str) -> dict[str, bytes]:
    """Every file of the hand-out by its place in it."""
    files = {EXERCISE.as_posix(): exercise.encode()}
    lessons = sorted((project / "notebooks").glob("*.ipynb"))
    if not lessons:
        raise FileNotFoundError(f"There are no lessons in {project / 'notebooks'}.")
    for path in [*lessons, *(project / name for name in COPIED)]:
        files[path.relative_to(project).as_posix()] = path.read_bytes()
    for path in sorted(path for path in (project / "unet_lab").rglob("*") if path.is_file()):
        place = path.relative_to(project)
        if place.parts[1] == "grading" and place.parts[2] not in LEARNERS_PART_OF_GRADING:
            continue
        if not any(part in CACHES or part.startswith(".") or part.endswith("~") for part in place.parts):
            files[place.as_posix()] = path.read_bytes()
    for path in sorted(TEMPLATES.iterdir()):
        files[path.name] = path.read_bytes()
    problems = [
        f"{name}, {fault}"
        for name, content in files.items()
        if name.startswith("notebooks/")
        for cell in cells_of(load(project / name))
        for fault in marker_faults(cell)
    ]
    if problems:
        raise Refused("the lessons", problems)
    return files


def _refuse_foreign(folder: Path) -> None:
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or not folder.is_dir():
        raise FileExistsError(f"{folder} is there and is not a folder. Name a folder that is not there yet.")
    made = _made_before(folder)
    foreign = [name for name, content in _digests(folder).items() if made.get(name) != content]
    if foreign:
        some = ", ".join(foreign[:3]) + (f" and {len(foreign) - 3} more" if len(foreign) > 3 else "")
        raise FileExistsError(
            f"{folder} holds what no release made, or what was changed since ({some}). "
            "Nothing was written: move it away, or name another folder."
        )


def _made_before(folder: Path) -> dict[str, str]:
    with contextlib.suppress(OSError, ValueError):
        made = json.loads((folder / MANIFEST).read_text())
        if isinstance(made, dict):
            return made
    return {}


def _digests(folder: Path) -> dict[str, str]:
    """All that lies in a folder but the manifest and Python's caches; links and odd files have an empty digest."""
    found = {}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            found[place.as_posix()] = ""
        elif path.is_file() and place.as_posix() != MANIFEST and not set(place.parts) & set(CACHES):
            found[place.as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _write_folder(folder: Path, files: dict[str, bytes]) -> int:
    """Everything under a temporary name first, so that there is never half a hand-out; returns the number of files."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        new, old = Path(temporary) / "new", Path(temporary) / "old"
        for name, content in files.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).write_bytes(content)
        manifest = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        (new / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
        if folder.is_dir():
            folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            if old.is_dir():
                old.rename(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    return len(files)


def _write_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
