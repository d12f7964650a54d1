"""The tiny exercise as source, in a project of its own, and as it is handed out."""

import json
import shutil
from pathlib import Path

import nbformat
import pytest

from tests.grading.tiny import PROJECT, tiny_solution, write
from unet_lab.grading.release import EXERCISE, SOLUTION, release


@pytest.fixture
def solution() -> nbformat.NotebookNode:
    return tiny_solution()


@pytest.fixture
def project(tmp_path, solution) -> Path:
    """A checkout whose exercise is the tiny one; package and lessons are the real ones."""
    root = tmp_path / "project"
    root.mkdir()
    for name in ("environment.yml", "pyproject.toml", "LICENSE"):
        shutil.copy(PROJECT / name, root)
    for name in ("unet_lab", "notebooks"):
        (root / name).symlink_to(PROJECT / name)
    write(solution, root / SOLUTION)
    return root


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> str:
    """The tiny exercise as it is handed out, as text."""
    root = tmp_path_factory.mktemp("built")
    write(tiny_solution(), root / SOLUTION)
    release(root)
    return (root / EXERCISE).read_text()


@pytest.fixture
def exercise(built) -> dict:
    """The tiny exercise, to be filled in."""
    return json.loads(built)
