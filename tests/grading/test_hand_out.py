"""The folder to hand out: complete, the same every time, never over someone's files, and working on its own."""

import json
import os
import subprocess
import sys

import nbformat
import pytest

from tests.grading.tiny import PROJECT, cell_of, write
from unet_lab.grading.release import EXERCISE, MANIFEST, TEMPLATES, Refused, release


def test_the_hand_out_has_what_learners_need_and_nothing_of_the_instructor(project, tmp_path):
    folder = tmp_path / "new" / "hand out"
    done = release(project, folder)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert done.files == len(files) - 1  # the manifest
    assert {"README.md", "LICENSE", "Makefile", "environment.yml", "pyproject.toml", EXERCISE.as_posix()} <= files
    assert {"unet_lab/cli.py", "unet_lab/checks/lessons/lesson_01.py", "unet_lab/validate/plugin.py"} <= files
    assert {name for name in files if name.startswith("notebooks/")} == {
        f"notebooks/{path.name}" for path in (PROJECT / "notebooks").glob("*.ipynb")
    }
    assert {name for name in files if name.startswith("unet_lab/grading/")} == {
        "unet_lab/grading/__init__.py",
        "unet_lab/grading/notebook.py",
    }
    assert not [
        name for name in files if name.startswith(("solutions", "tests", "tools", ".git")) or "__pycache__" in name
    ]
    assert not [path for path in tmp_path.rglob(".hand out.*")]
    text = "".join((folder / name).read_text() for name in files if name.endswith(".ipynb"))
    assert "BEGIN SOLUTION" not in text


def test_the_hand_out_is_the_same_every_time_and_replaces_only_its_own(project, tmp_path):
    folder = tmp_path / "out"
    release(project, folder)
    first = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    release(project, folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == first
    (folder / "unet_lab" / "__pycache__").mkdir()
    (folder / "unet_lab" / "__pycache__" / "x.pyc").write_text("")  # someone tried it out; that is no loss
    release(project, folder)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"notes\.txt"):
        release(project, folder)
    (folder / "notes.txt").unlink()
    (folder / "README.md").write_text("my own words")
    with pytest.raises(FileExistsError, match=r"README\.md"):
        release(project, folder)
    assert (folder / "README.md").read_text() == "my own words"


@pytest.mark.parametrize("manifest", [None, "{", "[]", "{}"])
def test_a_foreign_folder_is_left_alone(project, tmp_path, manifest):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.txt").write_text("years of work")
    if manifest is not None:
        (folder / MANIFEST).write_text(manifest)
    with pytest.raises(FileExistsError, match=r"chapter\.txt"):
        release(project, folder)
    assert (folder / "chapter.txt").read_text() == "years of work"
    assert not (project / EXERCISE).exists()


def test_an_empty_folder_is_taken_and_a_file_is_not(project, tmp_path):
    (tmp_path / "empty").mkdir()
    release(project, tmp_path / "empty")
    assert (tmp_path / "empty" / "README.md").is_file()
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="is not a folder"):
        release(project, tmp_path / "file")


def test_a_lesson_with_a_marker_is_refused(project, tmp_path):
    (project / "notebooks").unlink()
    lesson = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("# BEGIN SOLUTION", id="x")])
    write(lesson, project / "notebooks" / "01_faulty.ipynb")
    with pytest.raises(Refused, match=r"notebooks/01_faulty\.ipynb, cell 1"):
        release(project, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_half_written_is_left_when_the_disk_fails(project, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    release(project, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    real, calls = os.replace, []

    def rename(self, target):
        calls.append(target)
        if len(calls) == 2:
            raise OSError("No space left on device")
        real(self, target)
        return target

    monkeypatch.setattr("pathlib.Path.rename", rename)
    with pytest.raises(OSError, match="No space left"):
        release(project, folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_makefile_of_the_hand_out_sets_up_and_opens_as_the_projects_own():
    def paragraphs(path):
        return path.read_text().split("\n\n")

    theirs, own = paragraphs(TEMPLATES / "Makefile"), paragraphs(PROJECT / "Makefile")
    for start in ("lab:", "# A stamp is newer"):
        (paragraph,) = [text.strip() for text in own if text.startswith(start)]
        assert paragraph in [text.strip() for text in theirs]


def test_the_readme_of_the_hand_out_links_only_to_what_is_there(project, tmp_path):
    folder = tmp_path / "out"
    release(project, folder)
    links = [part.split(")")[0] for part in (folder / "README.md").read_text().split("](")[1:]]
    assert len(links) == 6
    assert [link for link in links if not (folder / link).is_file()] == []


@pytest.mark.slow
def test_a_hand_out_works_on_its_own(project, tmp_path):
    """Its own package is imported, the unfilled exercise runs there, and the instructor's command is not part of it."""
    folder = tmp_path / "out"
    release(project, folder)
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "UNET_LAB_CHECK_LOG")}

    def command(*arguments):
        return subprocess.run(
            [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
        )

    where = command("-c", "import unet_lab.checks, unet_lab.data, unet_lab.plots; print(unet_lab.__file__)")
    assert where.stdout.strip() == str(folder / "unet_lab" / "__init__.py")
    here = tmp_path / "said.txt"
    exercise = json.loads((folder / EXERCISE).read_text())
    cell_of(exercise, "end")["source"] = f"import unet_lab\nopen({str(here)!r}, 'w').write(unet_lab.__file__)"
    write(exercise, folder / EXERCISE)
    done = command("-m", "unet_lab.cli", "validate", str(EXERCISE), "--json")
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in json.loads(done.stdout)["rows"]] == ["not attempted yet"] * 2
    assert here.read_text() == str(folder / "unet_lab" / "__init__.py")
    refused = command("-m", "unet_lab.cli", "release")
    assert refused.returncode == 2
    assert "release is the instructor's" in refused.stderr
    assert subprocess.run(["make", "-n", "lab", "validate"], cwd=folder, capture_output=True).returncode == 0
