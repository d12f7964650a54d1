"""The exercise itself: built from its solution as it stands, and each of the two does what it should."""

import pytest

from tests.grading.tiny import PROJECT, write
from unet_lab.checks import find
from unet_lab.grading.notebook import cells_of, check_keys, load
from unet_lab.grading.release import EXERCISE, SOLUTION, build
from unet_lab.validate.run import validate

POINTS = {"1": 5, "2": 15, "3": 15, "4": 15, "5": 15, "6": 20, "7": 10, "8": 5}
WRITTEN = ("1", "2", "3", "4", "5")
"""The tasks whose answers are functions and classes, with known mistakes to fill in."""


def test_the_exercise_is_what_its_solution_gives():
    """`unet-lab release` builds it anew."""
    assert (PROJECT / EXERCISE).read_text() == build(PROJECT / SOLUTION)


def test_the_points_are_those_of_the_tasks():
    points = dict.fromkeys(POINTS, 0)
    for cell in cells_of(load(PROJECT / SOLUTION)):
        if cell.role == "check":
            points[cell.task] += cell.points
    assert points == POINTS


@pytest.mark.slow
def test_the_unfilled_exercise_runs_and_every_check_says_not_attempted_yet():
    found = validate(PROJECT / EXERCISE)
    assert {row.status for row in found.rows} == {"not attempted yet"}, found.as_text()
    assert {row.task for row in found.rows} == set(POINTS)
    assert found.ready
    assert found.seconds < 60


@pytest.mark.slow
def test_the_solution_passes_every_task():
    found = validate(PROJECT / SOLUTION)
    assert {row.status for row in found.rows} == {"passed"}, found.as_text()
    assert {row.task for row in found.rows} == set(POINTS)
    assert found.ready
    assert found.seconds < 540  # alone on two cores it takes under 360; beside another test a core is missing


@pytest.mark.slow
@pytest.mark.parametrize("number", range(10))
def test_a_notebook_full_of_mistakes_shows_each_name(tmp_path, number):
    """Every answer of tasks 1 to 5 is a known mistake, another one in each of the ten notebooks."""
    raw = load(PROJECT / SOLUTION)
    expected, last_answer, last = {}, {}, 0
    for index, cell in enumerate(cells_of(raw)):
        if cell.task in WRITTEN and cell.role == "answer":
            last_answer[cell.task] = index
        if cell.task not in WRITTEN or cell.role != "check":
            continue
        last = index
        for key in check_keys(cell.source):
            mistakes = find(key).mistakes
            chosen = number * len(mistakes) // 10
            expected[key] = mistakes[chosen].name
            answer = raw["cells"][last_answer[cell.task]]
            source = answer["source"] if isinstance(answer["source"], str) else "".join(answer["source"])
            name = find(key).reference.__name__
            answer["source"] = (
                f"{source}\n\nfrom unet_lab.checks import find\n{name} = find({key!r}).mistakes[{chosen}].answer"
            )
    raw = {**raw, "cells": raw["cells"][: last + 1]}  # no training with them
    found = validate(write(raw, tmp_path / f"wrong {number}.ipynb"))
    assert {row.key: row.mistake for row in found.rows if row.key in expected} == expected, found.as_text()
