"""All exercises by key. One file a lesson or a part of E08; each has its exercises in a tuple `EXERCISES`."""

from __future__ import annotations

import difflib
from functools import cache

from unet_lab.checks.exercise import Exercise


@cache
def exercises() -> dict[str, Exercise]:
    """Every registered exercise, in the order of the lessons and of E08's tasks."""
    from unet_lab.checks.e08 import blocks, loops, losses, metrics, results, unet
    from unet_lab.checks.lessons import lesson_01, lesson_02, lesson_03, lesson_04, lesson_05

    lessons = (lesson_01, lesson_02, lesson_03, lesson_04, lesson_05)
    tasks = (blocks, unet, losses, loops, metrics, results)
    found: dict[str, Exercise] = {}
    for exercise in (exercise for part in (*lessons, *tasks) for exercise in part.EXERCISES):
        if exercise.key in found:
            raise ValueError(f"two exercises have the key {exercise.key!r}; a key names one task")
        found[exercise.key] = exercise
    return found


def find(key: str) -> Exercise:
    """The exercise of a key; KeyError with the nearest key otherwise."""
    known = exercises()
    if isinstance(key, str) and key in known:
        return known[key]
    near = difflib.get_close_matches(str(key), known, n=1)
    raise KeyError(f"There is no check named {key!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
