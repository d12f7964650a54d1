"""Checks for the "Your turn" cells of the lessons: they name the mistake, never raise, and leave random states alone.

from unet_lab.checks import check, hint
check("one-hot", one_hot)
"""

from unet_lab.checks.borrow import borrow
from unet_lab.checks.exercise import Exercise, Fault, Mistake
from unet_lab.checks.registry import exercises, find
from unet_lab.checks.verdict import Outcome, check, hint, judge, judge_exercise

__all__ = [
    "Exercise",
    "Fault",
    "Mistake",
    "Outcome",
    "borrow",
    "check",
    "exercises",
    "find",
    "hint",
    "judge",
    "judge_exercise",
]
