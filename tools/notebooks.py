"""Keep the notebooks uniform: stamp the set-up cell and the badge, execute what changed, normalise what is stored.

For the lessons and the exercise's solution. The exercise itself is built from that by `unet-lab release`.

python -m tools.notebooks notebooks/*.ipynb            # execute those whose code changed
python -m tools.notebooks --force notebooks/*.ipynb    # execute all
python -m tools.notebooks --check notebooks/*.ipynb    # change nothing, exit 1 where something is not as it should be
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from unet_lab.grading.notebook import normalise

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

PROJECT = Path(__file__).resolve().parents[1]
REPOSITORY = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
MAXIMUM_BYTES = 600_000
CELL_SECONDS = 300
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/])/(?:root|home|tmp|work|Users)/|[A-Z]:\\\\Users")

SET_UP = f"""\
# Set-up: the same in every lesson, safe to run twice.
try:
    import unet_lab
except ImportError:  # on Colab: the package alone, so that its torch, numpy and ipywidgets stay as they are
    %pip install --quiet --no-deps "unet-lab @ git+{REPOSITORY}"
    import unet_lab
import numpy as np
import torch

from unet_lab import data, plots
from unet_lab.checks import check
from unet_lab.explore import predict, reveal, summary

print(f"unet_lab {{unet_lab.__version__}} on torch {{torch.__version__.split('+')[0]}}")"""


def badge(path: Path) -> str:
    """The line of Markdown that opens the notebook on Colab."""
    place = REPOSITORY.removeprefix("https://github.com/")
    return (
        "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        f"(https://colab.research.google.com/github/{place}/blob/main/{path.parent.name}/{path.name})"
    )


def stamp(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write the set-up cell (tagged ``set-up``) and the badge (the title cell's line that starts with ``[![``)."""
    cells = [cell for cell in notebook.cells if "set-up" in cell.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ValueError(f"{path} needs exactly one code cell with the tag 'set-up'; it has {len(cells)}.")
    cells[0].source = SET_UP
    title = notebook.cells[0]
    if not re.search(r"^\[!\[.*$", title.source, flags=re.MULTILINE):
        raise ValueError(f"{path}: the first cell needs a line that starts with '[![', for the Colab badge.")
    title.source = re.sub(r"^\[!\[.*$", lambda _: badge(path), title.source, count=1, flags=re.MULTILINE)


def code_hash(notebook: nbformat.NotebookNode) -> str:
    """Names what was executed: a digest of all code cells."""
    code = "\0".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def execute(notebook: nbformat.NotebookNode, path: Path) -> float:
    """Run all cells in a fresh kernel in the notebook's own folder; returns the seconds it took."""
    start = time.perf_counter()
    NotebookClient(
        notebook, timeout=CELL_SECONDS, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}},
        record_timing=False, store_widget_state=False,
    ).execute()  # fmt: skip
    notebook.metadata["unet_lab"] = {"executed": code_hash(notebook)}
    return time.perf_counter() - start


def problems(notebook: nbformat.NotebookNode, path: Path) -> list[str]:
    """What a committed notebook must not have."""
    found = []
    expected = nbformat.from_dict(notebook)
    expected = nbformat.reads(nbformat.writes(expected), as_version=4)
    stamp(expected, path)
    if [cell.source for cell in expected.cells] != [cell.source for cell in notebook.cells]:
        found.append("the set-up cell or the badge is not the stamped one")
    if notebook.metadata.get("unet_lab", {}).get("executed") != code_hash(notebook):
        found.append("the code changed since it was executed")
    text = nbformat.writes(notebook)
    if len(text.encode()) > MAXIMUM_BYTES:
        found.append(f"{len(text.encode()):,} bytes, more than {MAXIMUM_BYTES:,}")
    if "widgets" in notebook.metadata:
        found.append("widget state")
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            if output.output_type == "error":
                found.append(f"cell {number} ended in {output.ename}")
            if output.get("name") == "stderr":
                found.append(f"cell {number} wrote to stderr: {output.text[:80]!r}")
            words = output.get("text", "") + "".join(
                value for kind, value in output.get("data", {}).items() if kind.startswith("text/")
            )
            if match := ABSOLUTE_PATH.search(re.sub(r"data:[^\"]*", "", words)):
                found.append(
                    f"cell {number} shows a path of this machine near {words[match.start() : match.start() + 40]!r}"
                )
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--force", action="store_true", help="execute even where the code did not change")
    parser.add_argument("--check", action="store_true", help="change nothing")
    options = parser.parse_args(arguments)
    failed = False
    for path in options.notebooks:
        notebook = nbformat.read(path, as_version=4)
        if not options.check:
            stamp(notebook, path)
            note = "unchanged, not executed"
            if options.force or notebook.metadata.get("unet_lab", {}).get("executed") != code_hash(notebook):
                note = f"executed in {execute(notebook, path):.1f} s"
            normalise(notebook)
            nbformat.write(notebook, path)
            print(f"{path}: {note}, {path.stat().st_size:,} bytes")
        for problem in problems(notebook, path):
            failed = True
            print(f"{path}: {problem}", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
