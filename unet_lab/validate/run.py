"""Runs a copy of a notebook from top to bottom, in an empty folder, under nbval, and reads what its cells did."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import unet_lab
from unet_lab.grading.notebook import Cell, cells_of, load
from unet_lab.validate import CELL_SECONDS
from unet_lab.validate.report import CellRun, Report, report

ALL_CELLS = 6
"""All cells together may take this many times the limit of one."""

START_SECONDS = 120.0
"""For starting Python, pytest and the kernel on a busy machine."""

CHECK_LOG = "UNET_LAB_CHECK_LOG"
"""The environment variable that tells `check` where to write its verdicts."""


def validate(
    path: Path, *, cell_seconds: float = CELL_SECONDS, progress: Callable[[int, int], None] | None = None
) -> Report:
    """Run the notebook and say how each task does; the file stays as it is.

    `progress(cell, cells)` is called as the run goes on. Raises NotebookError (a ValueError) where the file is no
    notebook, RuntimeError where no kernel starts.
    """
    raw = load(path)
    cells = cells_of(raw)
    start = time.monotonic()
    runs = _run([cell for cell in cells if cell.kind == "code"], cell_seconds, progress or (lambda cell, total: None))
    return report(path.name, raw, cells, runs, cell_seconds, time.monotonic() - start)


def _run(code: list[Cell], cell_seconds: float, progress: Callable[[int, int], None]) -> dict[int, CellRun]:
    """What each code cell did, by its number in the notebook."""
    with tempfile.TemporaryDirectory(prefix="unet-lab-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        (folder / "empty").mkdir()  # where the cells run: only the notebook is handed in, so nothing lies beside it
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / "empty" / "submission.ipynb").write_text(json.dumps(_staged(code)))
        entries = _watched(folder, len(code), cell_seconds, progress)
        said = (folder / "said.txt").read_text(errors="replace") if (folder / "said.txt").is_file() else ""
    return _by_number(code, entries, said)


def _staged(code: list[Cell]) -> dict:
    """The code alone: no outputs, tags, ids or kernel of the learner's file can get in the way."""
    cells = [
        {"cell_type": "code", "id": f"cell-{cell.number}", "source": cell.source, "metadata": {}, "outputs": []}
        | {"execution_count": None}
        for cell in code
    ]
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}


def _watched(folder: Path, total: int, cell_seconds: float, progress: Callable[[int, int], None]) -> list[dict]:
    """Run pytest in the folder; returns the lines that the plugin wrote, however it ended."""
    cells, all_seconds = folder / "cells.jsonl", ALL_CELLS * cell_seconds
    command = [
        *(sys.executable, "-m", "pytest", "submission.ipynb", "-c", str(folder / "pytest.ini")),
        *("--rootdir", str(folder), "--noconftest", "-q", "--tb=no", "-p", "no:cacheprovider"),
        *("-p", "unet_lab.validate.plugin", "-p", "nbval.plugin", "--nbval-lax", "--nbval-current-env"),
        *(f"--nbval-cell-timeout={cell_seconds}", f"--total-seconds={all_seconds}"),
        *("--nbval-kernel-startup-timeout=60", "--cells", str(cells), "--checks", str(folder / "checks.jsonl")),
    ]
    with (folder / "said.txt").open("wb") as said:
        process = subprocess.Popen(
            command, cwd=folder / "empty", env=_environment(folder),
            stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
        )  # fmt: skip
        ends = time.monotonic() + all_seconds + START_SECONDS
        try:
            while process.poll() is None and time.monotonic() < ends:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.2)
                progress(sum(entry["status"] == "started" for entry in _entries(cells)), total)
        except KeyboardInterrupt:  # the terminal has sent it to pytest too, which ends its kernel
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            raise
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
                _end_kernel(_entries(cells))
    return _entries(cells)


def _environment(folder: Path) -> dict[str, str]:
    """The learner's, without what would change pytest or the kernel, and with the package that runs now."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COVERAGE_", "COV_"))}
    package = str(Path(unet_lab.__file__).resolve().parents[1])
    ours["PYTHONPATH"] = os.pathsep.join([package, *filter(None, [ours.get("PYTHONPATH")])])
    ours["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    ours["IPYTHONDIR"] = str(folder / "ipython")  # no start-up files
    ours[CHECK_LOG] = str(folder / "checks.jsonl")
    return ours


def _entries(file: Path) -> list[dict]:
    found = []
    if file.is_file():
        for line in file.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):  # the last line may be half written
                found.append(json.loads(line))
    return found


def _end_kernel(entries: list[dict]) -> None:
    """pytest had to be killed and could not end its kernel, which leads a process group of its own."""
    pids = {entry["kernel"] for entry in entries if entry.get("kernel")}
    for pid in pids:
        with contextlib.suppress(OSError, AttributeError):  # gone already; or Windows, where it ends with its parent
            os.killpg(pid, signal.SIGKILL)


def _by_number(code: list[Cell], entries: list[dict], said: str) -> dict[int, CellRun]:
    if (code and not entries) or any(entry["status"] == "no kernel" for entry in entries):
        raise RuntimeError(f"The notebook could not be run, which is not its fault: {_reason(entries, said)}")
    runs = {}
    for index, cell in enumerate(code):
        of_cell = [entry for entry in entries if entry["cell"] == index]
        last = of_cell[-1] if of_cell else {"status": "not run"}
        runs[cell.number] = CellRun(
            "kernel died" if last["status"] == "started" else last["status"],
            *(last.get(key, "") for key in ("error", "text", "line")),
            checks=tuple(last.get("checks", ())),
        )
    return runs


def _reason(entries: list[dict], said: str) -> str:
    for entry in entries:
        if entry["status"] == "no kernel":
            return (
                f"no kernel started ({entry['error']}: {entry['text']}). Is ipykernel installed? Try `unet-lab doctor`."
            )
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    missing = next((line for line in lines if "No module named" in line), "")
    if missing:
        return f"{missing}. Install it: pip install 'unet-lab[lab]'."
    return f"pytest said: {lines[-1] if lines else 'nothing'}"
