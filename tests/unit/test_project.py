"""The project's own promises: files in step with each other, rooms kept apart, notebooks as they should be."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

import unet_lab
from tools import notebooks as tool
from unet_lab import losses, metrics
from unet_lab.checks import exercises

PROJECT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
SOLUTIONS = sorted((PROJECT / "solutions").glob("*.ipynb"))
PYPROJECT = tool.tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]


def test_environment_yml_installs_what_pyproject_says():
    environment = yaml.safe_load((PROJECT / "environment.yml").read_text())
    plain = [line for line in environment["dependencies"] if isinstance(line, str)]
    pip = next(line["pip"] for line in environment["dependencies"] if isinstance(line, dict))
    assert f"python{PYPROJECT['requires-python']}" in plain
    assert pip == ["--editable .[lab]"]
    assert "lab" in PYPROJECT["optional-dependencies"]
    assert environment["name"] == PYPROJECT["name"]


def test_ignore_index_is_the_same_everywhere():
    checked = 0
    for module in (losses, metrics):
        for _, item in inspect.getmembers(module, callable):
            if getattr(item, "__module__", "") != module.__name__:
                continue
            parameter = inspect.signature(item).parameters.get("ignore_index")
            if parameter is not None and parameter.default is not inspect.Parameter.empty:
                assert parameter.default == unet_lab.IGNORE_INDEX, item
                checked += 1
    assert checked >= 6


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "unet_lab"}


@pytest.mark.parametrize("name", ["models", "losses", "metrics"])
def test_the_core_imports_nothing_of_the_package(name):
    files = [*(PROJECT / "unet_lab").glob(f"{name}.py"), *(PROJECT / "unet_lab" / name).glob("*.py")]
    assert files
    for path in files:
        assert not [other for other in imports_of(path) if not other.startswith(f"unet_lab.{name}.")], path


def test_arrows_point_down():
    upper = tuple(f"unet_lab.{room}" for room in ("checks", "explore", "e08", "validate", "grading", "cli"))
    lower = [path for room in ("data", "plots", "training") for path in (PROJECT / "unet_lab" / room).rglob("*.py")]
    assert len(lower) > 20
    for path in lower:
        assert not [name for name in imports_of(path) if name.startswith(upper)], path


def test_the_repository_address_stands_in_one_place():
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout.split()
    texts = [PROJECT / name for name in listed if not name.endswith((".ipynb", ".png"))]
    holders = [path.name for path in texts if path.exists() and tool.REPOSITORY in path.read_text(errors="ignore")]
    assert holders == ["pyproject.toml"]


@pytest.mark.parametrize("path", [*NOTEBOOKS, *SOLUTIONS], ids=lambda path: path.stem)
def test_notebook_is_executed_stamped_and_clean(path):
    assert tool.problems(nbformat.read(path, as_version=4), path) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_has_short_cells_and_the_anatomy(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    lines = [
        len([line for line in cell.source.splitlines() if line.strip() and not line.strip().startswith("#")])
        for cell in notebook.cells if cell.cell_type == "code"
    ]  # fmt: skip
    assert max(lines) <= 30
    assert sorted(lines)[len(lines) // 2] <= 8
    text = "\n".join(cell.source for cell in notebook.cells)
    for piece in (
        "NBVAL_CHECK_OUTPUT",
        "**Predict",
        "Your turn",
        "Break it",
        "check(",
        "predict(",
        "summary()",
        "<summary>Hint 3",
    ):
        assert piece in text, f"{path.name} has no {piece!r}"


def test_a_notebook_with_faults_is_told_so(tmp_path):
    """The check above can fail: each kind of fault is found."""
    notebook = nbformat.v4.new_notebook()
    path = tmp_path / "notebooks" / "09_faulty.ipynb"
    notebook.cells = [
        nbformat.v4.new_markdown_cell(f"# 9\n{tool.badge(path)}"),
        nbformat.v4.new_code_cell(tool.SET_UP, metadata={"tags": ["set-up"]}),
        nbformat.v4.new_code_cell("1", outputs=[nbformat.v4.new_output("stream", name="stderr", text="a warning")]),
        nbformat.v4.new_code_cell("2", outputs=[nbformat.v4.new_output("stream", text="saved to /home/me/x.png")]),
        nbformat.v4.new_code_cell(
            "3", outputs=[nbformat.v4.new_output("error", ename="KeyError", evalue="", traceback=[])]
        ),
    ]
    notebook.metadata["unet_lab"] = {"executed": tool.code_hash(notebook)}
    found = "\n".join(tool.problems(notebook, path))
    assert "cell 2 wrote to stderr" in found
    assert "cell 3 shows a path of this machine" in found
    assert "cell 4 ended in KeyError" in found
    notebook.cells[2].source += "0"
    notebook.cells[1].source += "\n"
    found = "\n".join(tool.problems(notebook, path))
    assert "changed since it was executed" in found
    assert "not the stamped one" in found


def test_importing_the_package_is_quick_and_pulls_in_no_pictures():
    code = "import unet_lab, unet_lab.models, sys; print('matplotlib' in sys.modules, 'ipywidgets' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_readme_counts_the_known_mistakes_of_the_exercise():
    readme = (PROJECT / "README.md").read_text()
    claimed = int(re.search(r"more than (\d+) wrong ways", readme).group(1))
    known = [exercise for key, exercise in exercises().items() if key.startswith("e08-") and exercise.mistakes]
    assert "ten functions and classes" in readme
    assert len(known) == 10
    assert sum(len(exercise.mistakes) for exercise in known) > claimed
