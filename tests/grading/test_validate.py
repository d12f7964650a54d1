"""`unet-lab validate`: what a learner reads of a right, wrong, unfinished, broken or hostile notebook."""

import json

import nbformat
import psutil
import pytest

from tests.grading.tiny import DECODE, ONE_HOT, WRONG_ONE_HOT, cell_of, code, tiny_solution, write
from unet_lab.cli import main
from unet_lab.grading.notebook import NotebookError, load
from unet_lab.validate import run
from unet_lab.validate.report import CellRun, report
from unet_lab.validate.run import validate

SAYS = """\
import json, os, time
def check(key, answer):
    with open(os.environ["UNET_LAB_CHECK_LOG"], "a") as file:
        file.write(json.dumps({"key": key, "status": "passed", "mistake": "", "message": str(answer)}) + "\\n")"""
"""A check for tests of everything around it: the real one needs torch, which takes seconds to start."""


def light(*sources: str, tasks: int = 0) -> dict:
    """A notebook of plain cells, then of tasks whose answer cells hold the sources and whose checks only speak."""
    cells = [code("says", SAYS, role="given")]
    for number, source in enumerate(sources, 1):
        if number > tasks:
            cells.append(code(f"plain-{number}", source))
            continue
        cells.append(code(f"t{number}-answer", source, task=str(number), role="answer"))
        cells.append(code(f"t{number}-check", f'check("key-{number}", {number})', task=str(number), role="check"))
    return json.loads(nbformat.writes(nbformat.v4.new_notebook(cells=cells)))


def rows(found) -> list[tuple]:
    return [(row.task, row.key, row.status) for row in found.rows]


# what the checks say, with the real ones


def test_the_unfilled_exercise_runs_to_the_end_and_nothing_is_attempted(tmp_path, exercise, capsys):
    path = write(exercise, tmp_path / "exercise.ipynb")
    before = path.read_bytes()
    assert main(["validate", str(path)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["task", "check", "result"]
    assert [line for line in out if line.startswith("1 ")] == ["1     one-hot          not attempted yet"]
    assert [line for line in out if line.startswith("2 ")] == ["2     panoptic-decode  not attempted yet"]
    assert out[-1].startswith("It runs from top to bottom")
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["exercise.ipynb"]


def test_a_wrong_answer_is_named_a_right_one_passes_and_json_says_the_same(tmp_path, exercise, capsys):
    cell_of(exercise, "t1-answer")["source"] = WRONG_ONE_HOT
    cell_of(exercise, "t2-answer")["source"] = DECODE
    assert main(["validate", str(write(exercise, tmp_path / "e.ipynb")), "--json"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    found = json.loads(out)
    assert (found["runs"], found["whole"], found["ready"]) == (True, True, True)
    first, second = found["rows"]
    assert (first["task"], first["key"], first["status"], first["mistake"]) == (
        "1",
        "one-hot",
        "wrong",
        "channels last",
    )
    assert "permute" in first["message"]
    assert (second["status"], second["mistake"]) == ("passed", "")


@pytest.mark.slow
def test_the_solution_passes_every_task(tmp_path):
    found = validate(write(tiny_solution(), tmp_path / "solution.ipynb"))
    assert rows(found) == [("1", "one-hot", "passed"), ("2", "panoptic-decode", "passed")]
    assert found.ready


# cells that fail


def test_each_failing_cell_is_told_with_its_error_and_the_learners_own_line(tmp_path):
    notebook = light(
        "def helper(x):\n    return json.loads(x)   # mine\n\nhelper('{')",
        "x = (1,",
        "# NBVAL_SKIP\nundefined_name",
        "check('key-9', 1)\nraise SystemExit('enough')",
        "print('not crashed')",
        "import no_such_module",
        "raise ValueError('two\\nlines')",
        "input('name? ')",
        "for i in range(4_000):\n    print(i, flush=True)",
        tasks=5,
    )
    cell_of(notebook, "t4-check")["metadata"]["tags"] = ["raises-exception"]
    cell_of(notebook, "t5-check")["source"] = 'check("key-5", missing)'
    found = validate(write(notebook, tmp_path / "n.ipynb"))
    assert not found.runs
    by_task = {row.task or row.cell: row for row in found.rows}
    assert by_task["1"].status == "crashed"
    assert by_task["1"].error == "JSONDecodeError"
    assert by_task["1"].line == "return json.loads(x)   # mine"  # not the line inside of json
    assert "cell 2" in by_task["1"].message
    assert (by_task["2"].error, by_task["2"].line) == ("SyntaxError", "x = (1,")
    assert (by_task["3"].error, by_task["3"].line) == ("NameError", "undefined_name")  # nbval would have skipped it
    assert by_task["4"].error == "SystemExit"
    assert (by_task["5"].error, by_task["5"].key) == ("NameError", "key-5")
    assert "missing" in by_task["5"].message
    assert by_task[12].error == "ModuleNotFoundError"
    assert "Only the notebook is handed in" in by_task[12].message
    assert by_task[13].message.splitlines()[0].endswith(": two")
    assert by_task[14].error == "StdinNotImplementedError"
    assert 15 not in by_task  # 4,000 flushed prints are no failure


def test_an_endless_loop_is_too_slow_and_later_cells_still_run(tmp_path):
    loops = ("while True:\n    time.sleep(0.01)", "while True:\n    print('again and again')")
    found = validate(write(light(*loops, "x = 1", tasks=3), tmp_path / "n.ipynb"), cell_seconds=3)
    assert rows(found) == [("1", "key-1", "too slow"), ("2", "key-2", "too slow"), ("3", "key-3", "passed")]
    assert not found.runs
    assert found.rows[0].line in ("while True:", "time.sleep(0.01)")
    assert "more than 3 s" in found.rows[0].message
    assert found.seconds < 60


@pytest.mark.slow
def test_a_loop_that_ignores_the_interrupt_ends_too(tmp_path):
    stubborn = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True:\n    time.sleep(0.1)"
    found = validate(write(light(stubborn, "x = 1", tasks=2), tmp_path / "n.ipynb"), cell_seconds=2)
    assert rows(found) == [("1", "key-1", "too slow"), ("2", "key-2", "not run")]
    assert found.seconds < 90


def test_a_dying_kernel_is_told_at_once_and_later_cells_are_not_run(tmp_path):
    found = validate(write(light("x = 1", "os._exit(0)", "x = 3", tasks=3), tmp_path / "n.ipynb"))
    assert rows(found) == [("1", "key-1", "passed"), ("2", "key-2", "crashed"), ("3", "key-3", "not run")]
    assert found.rows[1].error == "kernel died"
    assert not found.runs
    assert found.seconds < 90  # and not the 300 s of a cell


def test_an_error_that_is_not_shown_counts(tmp_path):
    hide = "get_ipython().set_custom_exc((Exception,), lambda *arguments, **options: None)"
    found = validate(write(light(hide, "1 / 0", "print('on')"), tmp_path / "n.ipynb"))
    assert [(row.status, row.error, row.cell) for row in found.rows] == [("crashed", "ZeroDivisionError", 3)]


@pytest.mark.slow
def test_all_cells_together_have_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "ALL_CELLS", 1)
    found = validate(write(light(*["time.sleep(2)"] * 5, tasks=5), tmp_path / "n.ipynb"), cell_seconds=6)
    assert not found.runs
    assert {row.status for row in found.rows} >= {"passed", "not run"}


@pytest.mark.slow
def test_a_pytest_that_hangs_is_ended_with_its_kernel(tmp_path, monkeypatch):
    """A learner's code stops pytest itself, so that no limit inside of it can help."""
    monkeypatch.setattr(run, "START_SECONDS", 12.0)
    pid = tmp_path / "pid"
    stop = f"import signal\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\nos.kill(os.getppid(), signal.SIGSTOP)\ntime.sleep(600)"
    found = validate(write(light(stop, tasks=1), tmp_path / "n.ipynb"), cell_seconds=1)
    assert rows(found) == [("1", "key-1", "crashed")]
    kernel = int(pid.read_text())
    assert not psutil.pid_exists(kernel) or psutil.Process(kernel).status() == psutil.STATUS_ZOMBIE


# what lies around the notebook


def test_odd_names_surroundings_and_kernels_make_no_difference(tmp_path, monkeypatch):
    """Square brackets and colons in the name, a BOM, another kernel, pytest's settings, files beside it, saved outputs."""
    notebook = light("import numpy\nassert os.listdir() == ['submission.ipynb'], os.listdir()", tasks=1)
    notebook["metadata"] = {"kernelspec": {"name": "my-old-env", "display_name": "Mine", "language": "R"}}
    cell_of(notebook, "t1-answer")["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "of Colab"}]
    cell_of(notebook, "t1-answer")["source"] += "\n# NBVAL_CHECK_OUTPUT"
    folder = tmp_path / "é a"
    path = write(notebook, folder / "x::y [1] é.ipynb")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    (folder / "numpy.py").write_text("raise RuntimeError('not the real one')")
    (folder / "conftest.py").write_text("raise RuntimeError('conftest ran')")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--collect-only")
    monkeypatch.chdir(folder)
    found = validate(path)
    assert rows(found) == [("1", "key-1", "passed")]
    assert found.ready


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"hello", "damaged one: its JSON breaks at line 1"),
        (b'{"cells": [', "its JSON breaks at line 1"),
        (b"[" * 100_000, "its JSON breaks at"),
        (b"\xff\xfe{\x00}\x00", "not text in UTF-8"),
        (b"[1, 2]", "is JSON, but no notebook"),
        (b'{"nbformat": 3, "worksheets": []}', "format 3, which is too old"),
        (b'{"nbformat": 5, "cells": []}', "format 5, which is too new"),
        (b'{"nbformat": 4, "nbformat_minor": 5}', "no list of cells"),
        (b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": 7}]}', "cell 1 is not well-formed"),
        (b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": ["x", 7]}]}', "cell 1 is not well-formed"),
        (b'{"nbformat": 4, "cells": [{"cell_type": "heading", "source": ""}]}', "cell 1 is not well-formed"),
        (
            b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": "", "metadata": 1}]}',
            "cell 1 is not well-formed",
        ),
    ],
)
def test_what_is_no_notebook_gives_one_line_and_exit_code_2(tmp_path, capsys, content, words):
    path = tmp_path / "n.ipynb"
    path.write_bytes(content)
    assert main(["validate", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert captured.err.count("\n") == 1


def test_a_missing_file_and_a_folder_are_told(tmp_path):
    with pytest.raises(NotebookError, match="There is no file"):
        load(tmp_path / "none.ipynb")
    with pytest.raises(NotebookError, match="is a folder"):
        load(tmp_path)


def test_a_notebook_without_code_and_one_of_another_kind(tmp_path):
    found = validate(write({"nbformat": 4, "nbformat_minor": 5, "cells": [], "metadata": {}}, tmp_path / "n.ipynb"))
    assert (found.rows, found.runs) == ((), True)


def test_an_interrupt_ends_in_one_line(tmp_path, monkeypatch, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_watched", interrupted)
    assert main(["validate", str(write(light("1"), tmp_path / "n.ipynb"))]) == 130
    assert capsys.readouterr().err == "unet-lab: stopped; nothing was changed.\n"


@pytest.mark.parametrize(
    ("entries", "said", "words"),
    [
        ([], "/usr/bin/python: No module named pytest", r"No module named pytest. Install it: pip install"),
        ([], "", "pytest said: nothing"),
        ([{"cell": 0, "status": "no kernel", "error": "RuntimeError", "text": "dead"}], "", "no kernel started"),
    ],
)
def test_when_nothing_can_run_it_is_not_the_notebooks_fault(tmp_path, monkeypatch, capsys, entries, said, words):
    def nothing(folder, *arguments):
        (folder / "said.txt").write_text(said)
        return entries

    monkeypatch.setattr(run, "_watched", nothing)
    assert main(["validate", str(write(light("1"), tmp_path / "n.ipynb"))]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


# cells that are not as they were handed out: no kernel is needed to see it


def told(notebook: dict, tmp_path, failed: dict[int, CellRun] | None = None):
    """The report on a notebook whose cells ran well, but for those in `failed`; every check in a check cell spoke."""
    path = write(notebook, tmp_path / "n.ipynb")
    cells = run.cells_of(raw := load(path))
    verdicts = tuple({"key": key, "status": "passed"} for key in ("one-hot", "panoptic-decode"))
    runs = {cell.number: CellRun("ok", checks=verdicts) for cell in cells} | (failed or {})
    return report("n.ipynb", raw, cells, runs, 300.0, 1.0)


def without(notebook: dict, name: str) -> dict:
    return {**notebook, "cells": [cell for cell in notebook["cells"] if cell["id"] != name]}


def test_a_missing_check_and_a_missing_answer_are_told(tmp_path, exercise):
    found = told(without(exercise, "t2-check"), tmp_path)
    assert rows(found) == [("1", "one-hot", "passed"), ("2", "", "missing")]
    assert "The check of task 2 is missing. Take a fresh copy" in found.rows[1].message
    assert found.runs
    assert not found.ready
    found = told(without(exercise, "t1-answer"), tmp_path)
    assert ("1", "", "missing") in rows(found)
    assert "The answer cell of task 1 is missing" in found.as_text()


def test_an_edited_check_is_told_and_its_verdict_does_not_count(tmp_path, exercise):
    cell_of(exercise, "t1-check")["source"] = 'check("one-hot", lambda m, c: 1)'
    found = told(exercise, tmp_path)
    assert rows(found) == [("2", "panoptic-decode", "passed"), ("1", "one-hot", "edited")][::-1]
    assert not found.ready


@pytest.mark.parametrize("name", ["t1-answer", "t1-check"])
def test_a_cell_turned_into_markdown_is_told(tmp_path, exercise, name):
    cell_of(exercise, name)["cell_type"] = "markdown"
    found = told(exercise, tmp_path)
    assert ("1", "", "edited") in rows(found)
    assert "is no code cell any more" in found.as_text()
    assert not found.ready


def test_spaces_at_the_end_of_a_line_are_no_edit(tmp_path, exercise):
    cell_of(exercise, "t1-check")["source"] = 'check("one-hot", one_hot)   \n\n'
    assert told(exercise, tmp_path).ready


def test_a_copy_with_the_same_id_is_told(tmp_path, exercise):
    exercise["cells"].append(dict(cell_of(exercise, "t1-answer")))
    found = told(exercise, tmp_path)
    assert ("1", "", "double") in rows(found)
    assert "Cells 5 and 10 have the same id" in found.as_text()
    assert not found.ready


def test_own_cells_are_welcome_even_with_copied_metadata(tmp_path, exercise):
    copy = json.loads(json.dumps(cell_of(exercise, "t1-check")))
    exercise["cells"][6:6] = [{**copy, "id": "pasted"}, {**copy, "id": "own", "metadata": {}, "source": "one_hot"}]
    assert told(exercise, tmp_path).ready


def test_lost_cell_metadata_is_found_again_by_id(tmp_path, exercise):
    for cell in exercise["cells"]:
        cell["metadata"] = {}
    assert rows(told(exercise, tmp_path)) == [("1", "one-hot", "passed"), ("2", "panoptic-decode", "passed")]


def test_lost_ids_are_told_once_and_lost_notebook_metadata_does_not_matter(tmp_path, exercise):
    for cell in exercise["cells"]:
        del cell["id"]
    found = told(exercise, tmp_path)
    assert [row.status for row in found.rows] == ["missing"]
    assert "dropped the cells' ids" in found.rows[0].message
    exercise["metadata"] = {"unet_lab": "?"}
    assert rows(told(exercise, tmp_path)) == [("1", "one-hot", "passed"), ("2", "panoptic-decode", "passed")]
    found = told({**exercise, "cells": exercise["cells"][:7]}, tmp_path)
    assert rows(found) == [("1", "one-hot", "passed"), ("2", "", "missing")]


def test_odd_metadata_never_ends_in_a_traceback(tmp_path, exercise):
    for odd in (None, [], "x", {"task": ["1"], "role": 3}, {"task": "many", "role": "check"}):
        cell_of(exercise, "given")["metadata"]["unet_lab"] = odd
        exercise["metadata"]["unet_lab"]["cells"]["given"] = odd
        assert told(exercise, tmp_path).runs


def test_a_crash_in_an_answer_belongs_to_its_own_check_and_one_outside_comes_first(tmp_path, exercise):
    crash = CellRun("crashed", "NameError", "name 'x' is not defined", "x + 1")
    found = told(exercise, tmp_path, {5: crash, 6: crash, 9: crash})
    assert rows(found) == [("", "", "crashed"), ("1", "one-hot", "crashed"), ("2", "panoptic-decode", "passed")]
    text = found.as_text()
    assert "crashed: NameError" in text
    assert "Your line: x + 1" in text
    assert "In cell 5" in text
    assert "does NOT run" in text


def test_a_check_that_says_nothing_and_one_that_is_too_slow(tmp_path, exercise):
    slow = {"key": "panoptic-decode", "status": "wrong", "mistake": "too slow", "message": "It took more than 10 s."}
    found = told(exercise, tmp_path, {6: CellRun("ok"), 8: CellRun("ok", checks=(slow,))})
    assert rows(found) == [("1", "one-hot", "no verdict"), ("2", "panoptic-decode", "too slow")]
    assert "It took more than 10 s." in found.as_text()


def test_the_tiny_answers_are_the_solutions(exercise):
    """The stubs above are filled with these."""
    assert [cell_of(tiny_solution(), name)["source"] for name in ("t1-answer", "t2-answer")] == [ONE_HOT, DECODE]
