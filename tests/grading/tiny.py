"""A tiny exercise, two tasks of lesson 1, and the ways to write and to fill in a notebook."""

import json
from pathlib import Path

import nbformat

PROJECT = Path(__file__).resolve().parents[2]

ONE_HOT = """\
def one_hot(masks, num_classes):
    \"\"\"Masks (N, H, W) as (N, num_classes, H, W); zero at void.\"\"\"
    # BEGIN SOLUTION
    channels = [masks == class_id for class_id in range(num_classes)]
    return torch.stack(channels, dim=1).float()
    # END SOLUTION"""

DECODE = """\
def decode_panoptic(panoptic):
    # BEGIN SOLUTION
    # STUB: classes = instances = None
    classes, instances = panoptic // 1000, panoptic % 1000
    # END SOLUTION
    return classes, instances"""

WRONG_ONE_HOT = """\
def one_hot(masks, num_classes):
    return torch.stack([masks == k for k in range(num_classes)], dim=-1).float()"""


def code(name: str, source: str, **ours) -> nbformat.NotebookNode:
    metadata = {"unet_lab": ours} if ours else {}
    return nbformat.v4.new_code_cell(source, id=name, metadata=metadata)


def tiny_solution() -> nbformat.NotebookNode:
    """The source: two tasks, executed once, so with outputs."""
    set_up = code("set-up", "import torch\n\nfrom unet_lab.checks import check")
    set_up.metadata["tags"] = ["set-up"]
    printed = nbformat.v4.new_output("stream", text="one-hot: passed\n")
    cells = [
        nbformat.v4.new_markdown_cell(
            "# Tiny\n[![Colab](badge.svg)](https://example.org/blob/main/solutions/E08_unet_segmentation.ipynb)",
            id="title",
        ),
        set_up,
        code("given", "masks = torch.zeros(1, 2, 2, dtype=torch.int64)", role="given"),
        nbformat.v4.new_markdown_cell("## 1. One-hot\n\n<details><summary>Hint</summary>stack</details>", id="task-1"),
        code("t1-answer", ONE_HOT, task="1", role="answer"),
        code("t1-check", 'check("one-hot", one_hot)', task="1", role="check", points=60),
        code("t2-answer", DECODE, task="2", role="answer"),
        code("t2-check", 'check("panoptic-decode", decode_panoptic)', task="2", role="check", points=40),
        code("end", "print('the end')", role="given"),
    ]
    cells[5].outputs, cells[5].execution_count = [printed], 4
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["unet_lab"] = {"executed": "0123456789abcdef"}
    return notebook


def write(notebook: dict, path: Path) -> Path:
    """The notebook as it is, faults included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook, indent=1) + "\n")
    return path


def cell_of(notebook: dict, name: str) -> dict:
    return next(cell for cell in notebook["cells"] if cell["id"] == name)
