"""`unet-lab release`: what it builds and what it refuses."""

import json

import nbformat
import pytest

from tests.grading.tiny import PROJECT, cell_of, code, tiny_solution, write
from tools.notebooks import tomllib
from unet_lab.cli import main
from unet_lab.grading.release import EXERCISE, SOLUTION, Refused, build, release
from unet_lab.grading.stubs import is_telling


def refusals(tmp_path, notebook) -> str:
    """What `build` says of a faulty source."""
    with pytest.raises(Refused) as caught:
        build(write(notebook, tmp_path / SOLUTION))
    return "\n".join(caught.value.problems)


def test_answers_become_stubs_and_nothing_else_changes(solution, exercise):
    before, after = solution["cells"], exercise["cells"]
    assert [cell["id"] for cell in after] == [cell["id"] for cell in before]
    assert [cell["metadata"] for cell in after] == [cell["metadata"] for cell in before]
    stub = "".join(cell_of(exercise, "t1-answer")["source"])
    assert stub == (
        "def one_hot(masks, num_classes):\n"
        '    """Masks (N, H, W) as (N, num_classes, H, W); zero at void."""\n'
        "    ...  # your code here"
    )
    assert "".join(cell_of(exercise, "t2-answer")["source"]).splitlines() == [
        "def decode_panoptic(panoptic):",
        "    classes = instances = None",
        "    return classes, instances",
    ]
    for name in ("set-up", "given", "task-1", "t1-check", "t2-check", "end"):
        assert "".join(cell_of(exercise, name)["source"]) == cell_of(solution, name)["source"]
    assert "exercises/E08_unet_segmentation.ipynb" in "".join(after[0]["source"])


def test_the_exercise_has_no_outputs_no_counts_and_is_a_valid_notebook(built):
    notebook = nbformat.reads(built, as_version=4)
    nbformat.validate(notebook)
    assert all(cell.outputs == [] for cell in notebook.cells if cell.cell_type == "code")
    assert all(cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
    assert "executed" not in notebook.metadata["unet_lab"]
    assert "SOLUTION" not in built
    assert "STUB" not in built


def test_the_same_source_gives_the_same_bytes_executed_or_not(project, solution):
    first = release(project)
    content = first.exercise.read_bytes()
    again = release(project)
    assert (first.changed, again.changed) == (True, False)
    for cell in solution.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [nbformat.v4.new_output("stream", text="another run\n")], 7
            cell.metadata["execution"] = {"iopub.execute_input": "today"}
    solution.metadata["language_info"] = {"name": "python", "version": "3.99"}
    write(solution, project / SOLUTION)
    assert release(project).changed is False
    assert first.exercise.read_bytes() == content


def test_a_list_of_lines_as_source_is_the_same_as_text(tmp_path, solution, built):
    listed = json.loads(json.dumps(solution))
    for cell in listed["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
    assert build(write(listed, tmp_path / SOLUTION)) == built


ANSWER = {"role": "answer", "task": "1"}


def _set(name, **values):
    def change(notebook):
        cell_of(notebook, name).update(values)

    return change


def _metadata(name, **values):
    def change(notebook):
        cell_of(notebook, name)["metadata"].update(values)

    return change


def _ours(name, **values):
    def change(notebook):
        ours = cell_of(notebook, name)["metadata"]["unet_lab"]
        ours.update(values)
        for key in [key for key, value in values.items() if value is None]:
            del ours[key]

    return change


def _replace(name, old, new):
    def change(notebook):
        cell = cell_of(notebook, name)
        assert old in cell["source"]
        cell["source"] = cell["source"].replace(old, new)

    return change


def _append(name, line):
    def change(notebook):
        cell_of(notebook, name)["source"] += f"\n{line}"

    return change


def _without_metadata(notebook):
    del cell_of(notebook, "t1-answer")["metadata"]["unet_lab"]


def _without_id(notebook):
    del cell_of(notebook, "end")["id"]


def _without_check(notebook):
    notebook["cells"] = [cell for cell in notebook["cells"] if cell["id"] != "t2-check"]


FAULTS = {
    "unknown tag": (_metadata("t1-answer", tags=["anwser"]), "t1-answer", "unknown tag 'anwser'"),
    "nbval's tag": (_metadata("t1-check", tags=["raises-exception"]), "t1-check", "unknown tag 'raises-exception'"),
    "tags no list": (_metadata("t1-check", tags="set-up"), "t1-check", "tags must be a list"),
    "unknown metadata": (_metadata("t1-answer", tas=["set-up"]), "t1-answer", "unknown metadata 'tas'"),
    "metadata no table": (_metadata("given", unet_lab=["given"]), "given", "must hold task, role, points"),
    "unknown role": (_ours("t1-answer", role="anser"), "t1-answer", "unknown role 'anser'"),
    "unknown entry": (_ours("t1-answer", tsak="1"), "t1-answer", "unknown entry 'tsak'"),
    "task as number": (_ours("t1-answer", task=1), "t1-answer", 'text like "3", and is 1'),
    "answer without task": (_ours("t1-answer", task=None), "t1-answer", "and is None"),
    "code without role": (_without_metadata, "t1-answer", "must say its role"),
    "a gap in the tasks": (
        lambda n: [_ours(f"t2-{part}", task="3")(n) for part in ("answer", "check")], "", "2 missing",
    ),
    "points on an answer": (_ours("t1-answer", points=5), "t1-answer", "points stand on check cells"),
    "points below 1": (_ours("t1-check", points=0), "t1-check", "whole number above 0"),
    "points as text": (_ours("t1-check", points="60"), "t1-check", "whole number above 0"),
    "points do not sum": (_ours("t1-check", points=50), "t1-check 50", "sum to 90, not to 100"),
    "no check of a task": (_without_check, "t2-answer", "task 2 has no check"),
    "answer after its check": (
        lambda n: n["cells"].insert(-1, code("late", "# BEGIN SOLUTION\nx = 1\n# END SOLUTION", **ANSWER)),
        "late", "no check of task 1 comes after",
    ),
    "check without check()": (_set("t1-check", source="chekc('one-hot', one_hot)"), "t1-check", "must call check("),
    "check of no such key": (_replace("t1-check", "one-hot", "one-hit"), "t1-check", "there is no check 'one-hit'"),
    "check twice": (_replace("t2-check", "panoptic-decode", "one-hot"), "t2-check", "'one-hot' stands twice"),
    "not the format": (_set("given", colour="red"), "", "not a valid notebook"),
    "check in Markdown": (_set("t1-check", cell_type="markdown"), "t1-check", "is for code cells"),
    "double id": (_set("t2-answer", id="t1-answer"), "t1-answer", "has the same id as"),
    "no id": (_without_id, "id none", "needs an id"),
    "odd id": (_set("end", id="the end"), "the end", "needs an id"),
    "skipped by nbval": (_append("t1-check", "# NBVAL_SKIP"), "t1-check", "makes nbval pass"),
    "syntax error": (_append("end", "if"), "end", "syntax error in line 2"),
    "no marker": (_set("t1-answer", source="x = 1"), "t1-answer", "needs its answer between"),
    "no end": (_replace("t1-answer", "# END SOLUTION", ""), "t1-answer", "in line 3 has no # END SOLUTION"),
    "no begin": (_replace("t1-answer", "# BEGIN SOLUTION", ""), "t1-answer", "has no # BEGIN SOLUTION before it"),
    "nested": (_replace("t1-answer", "channels", "# BEGIN SOLUTION\nchannels"), "t1-answer", "inside the region"),
    "end indented otherwise": (_replace("t1-answer", "    # END", "# END"), "t1-answer", "is indented otherwise"),
    "nothing between": (_append("t1-answer", "# BEGIN SOLUTION\n# END SOLUTION"), "t1-answer", "there is no answer"),
    "stub outside": (_append("t1-answer", "# STUB: x = 1"), "t1-answer", "stands outside"),
    "nbgrader's marker": (_replace("t1-answer", "# BEGIN", "### BEGIN"), "t1-answer", "looks like a marker"),
    "marker in small letters": (_replace("t1-answer", "# BEGIN", "# begin"), "t1-answer", "looks like a marker"),
    "marker with a typo": (_replace("t1-answer", "# END SOLUTION", "# END SOLUTON"), "t1-answer", "looks like a marker"),
    "marker behind code": (_append("t1-answer", "x = 1  # BEGIN SOLUTION"), "t1-answer", "looks like a marker"),
    "stub with a typo": (_replace("t2-answer", "# STUB:", "#STUB:"), "t2-answer", "looks like a marker"),
    "marker in a given cell": (_append("given", "# BEGIN SOLUTION"), "given", "in a cell of role 'given'"),
    "marker in Markdown": (_append("task-1", "# END SOLUTION"), "task-1", "in a cell without a role"),
    "stub that is no Python": (_replace("t2-answer", "classes = instances = None", "classes ="), "t2-answer",
                               "the stub that the exercise would get has a syntax error"),
    "solution in a given cell": (
        _append("given", "channels = [masks==class_id  for class_id in range(num_classes)]  # see above"),
        "given", "shows a line of the solution, 'channels = [masks",
    ),
    "solution in a hint": (
        _append("task-1", "<code>return torch.stack(channels, dim=1).float()</code>"),
        "task-1", "shows a line of the solution, 'return torch.stack",
    ),
    "solution in the stub": (
        _replace("t2-answer", "classes = instances = None", "classes, instances = panoptic // 1000, panoptic % 1000"),
        "t2-answer", "shows a line of the solution",
    ),
    "solution in metadata": (
        _metadata("task-1", lines_to_next_cell="classes, instances = panoptic // 1000, panoptic % 1000"),
        "task-1", "shows a line of the solution",
    ),
    "solution as an attachment": (
        _set("task-1", attachments={"a.txt": {"text/plain": "return torch.stack(channels, dim=1).float()"}}),
        "task-1", "shows a line of the solution",
    ),
    "word about solutions/": (_append("task-1", "See solutions/other.ipynb."), "task-1", "speaks of the folder solutions/"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_source_is_refused_and_the_cell_is_named(tmp_path, solution, fault):
    change, cell, words = FAULTS[fault]
    change(solution)
    said = refusals(tmp_path, solution)
    line = next((line for line in said.splitlines() if words in line), "")
    assert line, said
    assert cell in line


def test_a_refusal_names_the_place_and_the_first_line_and_lists_every_fault(tmp_path, solution):
    _ours("t1-answer", role="anser")(solution)
    _ours("t1-check", points=50)(solution)
    said = refusals(tmp_path, solution)
    assert 'cell 5 (id t1-answer, "def one_hot(masks, num_classes):")' in said
    assert "sum to 90" in said


def test_a_refusal_leaves_the_old_exercise_and_writes_no_folder(project, solution, monkeypatch, capsys):
    release(project)
    before = (project / EXERCISE).read_bytes()
    _ours("t1-check", points=50)(solution)
    write(solution, project / SOLUTION)
    monkeypatch.chdir(project)
    assert main(["release", "out"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "1 problem, nothing was written" in captured.err
    assert not (project / "out").exists()
    assert (project / EXERCISE).read_bytes() == before


@pytest.mark.parametrize(
    ("line", "telling"),
    [
        ("loss.backward()", False),
        ("optimizer.zero_grad()", False),
        ("for images, masks in batches:", False),
        ("import torch.nn.functional as F", False),
        (")", False),
        ("return total / count", False),
        ("# the mean", False),
        ("intersection = (probs * one_hot).sum(dim=(0, 2, 3))", True),
        ("nn.Conv2d(in_channels, out_channels, 3, padding=1),", True),
        ("# squares in the denominator, as V-Net has them", True),
        ("x = self.dec4(torch.cat([self.up4(x), skip], dim=1))", True),
        ("Dice found the small cars that cross-entropy lost", True),
        ("and the road", False),
    ],
)
def test_which_lines_of_a_solution_are_telling(line, telling):
    assert is_telling(line) is telling


def test_the_command_says_what_it_did(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    assert main(["release"]) == 0
    assert capsys.readouterr().out == f"{EXERCISE}: built\n"
    assert main(["release", "out"]) == 0
    out = capsys.readouterr().out
    assert f"{EXERCISE}: unchanged" in out
    assert "files to hand out" in out


def test_outside_a_checkout_it_says_where_to_run_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["release"]) == 2
    assert "Run this in the root of the project's checkout" in capsys.readouterr().err


def test_nbval_is_pinned_in_one_place_and_learners_have_it():
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert [name for name, needs in extras.items() if any(need.startswith("nbval") for need in needs)] == ["grade"]
    assert "unet-lab[grade]" in extras["lab"]
    assert "unet-lab[lab]" in extras["test"]


def test_the_tiny_source_has_no_fault(tmp_path):
    """Or else each test above could fail for another reason."""
    assert build(write(tiny_solution(), tmp_path / SOLUTION))
