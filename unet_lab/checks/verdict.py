"""check(key, answer): passed, not attempted yet, or wrong, and then which mistake it is."""

from __future__ import annotations

import inspect
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from unet_lab.checks.compare import Difference, arrays_in, difference, in_words, unfinished
from unet_lab.checks.display import BLUE, GREEN, ORANGE, Notice, show
from unet_lab.checks.exercise import Exercise, Mistake
from unet_lab.checks.registry import find
from unet_lab.checks.run import Record, run, untouched_randomness

OUR_LIMIT = 120.0  # seconds for our own functions, which are fast; only a guard
FAILURES_PER_HINT = 2
_failures: Counter[str] = Counter()
_hints_shown: Counter[str] = Counter()


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    status   "passed", "not attempted yet", "wrong", or "no verdict" when the check itself could not run
    mistake  the name of what is wrong; empty unless the status is "wrong" and the mistake has a name
    message  the sentence for the learner
    """

    key: str
    status: str
    mistake: str = ""
    message: str = ""

    @property
    def passed(self) -> bool:
        return self.status == "passed"

    def notice(self) -> Notice:
        head = f"{self.key}: {self.status}" + (f" ({self.mistake})." if self.mistake else "." if self.message else "")
        colour = {"passed": GREEN, "wrong": ORANGE}.get(self.status, BLUE)
        return Notice(head, self.message, f"check-{self.key}", colour)

    def __repr__(self) -> str:
        return repr(self.notice())

    def _repr_html_(self) -> str:
        return self.notice()._repr_html_()


def check(key: str, answer: Any) -> None:
    """Shows what is right or wrong with an answer. Never raises, and leaves all random states alone."""
    outcome = judge(key, answer)
    if outcome.status == "wrong":
        _failures[key] += 1
        outcome = Outcome(key, outcome.status, outcome.mistake, f"{outcome.message}{_offer(key)}")
    elif outcome.passed:
        _failures[key] = 0
    show(outcome)


def _offer(key: str) -> str:
    hints = find(key).hints
    number = min(_failures[key] // FAILURES_PER_HINT, len(hints))
    if number == 0:
        return ""
    return f' Stuck? Hint {number} of {len(hints)} is folded under the task; hint("{key}") shows the next one here.'


def hint(key: str) -> None:
    """Shows the next hint of a task; the last one again when there is no other. Never raises."""
    try:
        hints = find(key).hints
    except KeyError as error:
        show(Notice("hint:", error.args[0], "hint"))
        return
    if not hints:
        show(Notice(f"{key}:", "this task has no hints.", f"hint-{key}"))
        return
    _hints_shown[key] = min(_hints_shown[key] + 1, len(hints))
    show(Notice(f"Hint {_hints_shown[key]} of {len(hints)}:", hints[_hints_shown[key] - 1], f"hint-{key}"))


def judge(key: str, answer: Any, *, seed: int = 0) -> Outcome:
    """What `check` shows, as an `Outcome`; the probes are those of `seed`. Never raises, keeps no count of failures."""
    try:
        exercise = find(key)
    except KeyError as error:
        return Outcome(str(key), "no verdict", message=error.args[0])
    return judge_exercise(exercise, answer, seed=seed)


def judge_exercise(exercise: Exercise, answer: Any, *, seed: int = 0) -> Outcome:
    """`judge` for an exercise that need not be registered."""
    try:
        with untouched_randomness():
            return _judge(exercise, answer, seed)
    except Exception as error:  # a fault of ours must not break the learner's notebook
        message = f"This check could not run ({type(error).__name__}: {error}). That is not your answer's fault."
        return Outcome(exercise.key, "no verdict", message=message)


def _judge(exercise: Exercise, answer: Any, seed: int) -> Outcome:
    def wrong(mistake: str, message: str) -> Outcome:
        return Outcome(exercise.key, "wrong", mistake, message)

    if unfinished(answer):
        return Outcome(exercise.key, "not attempted yet")
    if exercise.kind == "function" and not callable(answer):
        name = exercise.reference.__name__
        return wrong("not a function", f'Give the function itself, without brackets: check("{exercise.key}", {name}).')
    if exercise.kind == "value" and callable(answer):
        return wrong("not a value", "The check wants the value, not the function that computes it.")

    probes = exercise.draw(seed)
    references = _our_records(exercise, None, seed)
    for reference in references:
        if reference.error is not None:
            raise reference.error
    try:
        records = run(exercise, exercise.as_function(answer), probes, exercise.limit)
    except TimeoutError:
        message = f"It took more than {exercise.limit:g} seconds on small inputs. Is there a loop without an end?"
        return wrong("too slow", message)
    if all(record.unfinished for record in records):
        return _not_attempted(exercise, records)

    tolerances = [exercise.tolerance_for(probe) for probe in probes]
    differences = [_differs(*pair) for pair in zip(records, references, tolerances, strict=True)]
    if any(differences):
        known = _known_mistake(exercise, records, seed, tolerances)
        if known is not None:
            return wrong(known.name, known.sentence)
    first = next((i for i, found in enumerate(differences) if found), None)
    if first is not None and records[first].error is not None:
        return wrong(*_raised(exercise, answer, records[first].error, probes[first]))
    for record in records:
        if record.changed:
            message = (
                f"It changes {_names(exercise, record.changed)}, which still belongs to the caller. Work on a "
                "copy: x.clone() in PyTorch, x.copy() in NumPy."
            )
            return wrong("input changed in place", message)
    if first is not None:
        return wrong(*_unknown(exercise, differences[first], probes[first]))
    return _beyond_numbers(exercise, records, references) or Outcome(exercise.key, "passed")


def _beyond_numbers(exercise: Exercise, records: list[Record], references: list[Record]) -> Outcome | None:
    """What can be wrong when all numbers are right: the dtype and the gradient."""
    for record, reference in zip(records, references, strict=True):
        others = [array.dtype for array in arrays_in(record.data) if array.dtype.kind not in "iu"]
        if exercise.integers and others:
            message = f"The numbers are right, but their dtype is {others[0]}; ids are integers, fit to be an index."
            return Outcome(exercise.key, "wrong", "wrong dtype", message)
        if not exercise.differentiable:
            continue
        if record.gradient is None:
            message = (
                "The value is right, but no gradient comes back from it. Return a tensor: no .item(), float(), "
                ".numpy(), .detach() or no_grad() on the way."
            )
            return Outcome(exercise.key, "wrong", "not differentiable", message)
        largest = np.abs(reference.gradient).max()
        if not np.allclose(record.gradient, reference.gradient, rtol=0, atol=0.01 * largest):
            message = (
                "The value is right, but its gradient is not: a part of the formula was cut off by .item(), "
                ".detach() or no_grad()."
            )
            return Outcome(exercise.key, "wrong", "wrong gradient", message)
    return None


def _not_attempted(exercise: Exercise, records: list[Record]) -> Outcome:
    returned_nothing = any(record.unfinished and record.error is None for record in records)
    message = "The function returns None or `...`." if exercise.kind == "function" and returned_nothing else ""
    return Outcome(exercise.key, "not attempted yet", message=message)


def _differs(record: Record, other: Record, tolerance: float) -> Difference | None:
    if record.error is not None:
        return Difference("raised", "", "")
    return difference(record.data, other.data, tolerance)


@lru_cache(maxsize=512)
def _our_records(exercise: Exercise, mistake: int | None, seed: int) -> list[Record]:
    """What the reference (None) or a known mistake gives; kept, because a learner checks the same task many times."""
    answer = exercise.reference if mistake is None else exercise.mistakes[mistake].answer
    return run(exercise, exercise.as_function(answer), exercise.draw(seed), OUR_LIMIT)


def _known_mistake(exercise: Exercise, records: list[Record], seed: int, tolerances: list[float]) -> Mistake | None:
    """The mistake that gives the same numbers, and fails on the same probes, as these records."""
    if all(record.error is not None for record in records):
        return None  # any two answers that always fail would look the same
    for i, mistake in enumerate(exercise.mistakes):
        if all(map(_alike, records, _our_records(exercise, i, seed), tolerances)):
            return mistake
    return None


def _alike(record: Record, other: Record, tolerance: float) -> bool:
    if record.error is not None or other.error is not None:
        return record.error is not None and other.error is not None
    return difference(record.data, other.data, tolerance) is None


def _call_in_words(exercise: Exercise, probe: tuple) -> str:
    if exercise.setting:
        return exercise.setting
    names = inspect.signature(exercise.reference).parameters
    arguments = ", ".join(f"{name}={in_words(value)}" for name, value in zip(names, probe, strict=True))
    return f"{exercise.reference.__name__}({arguments})"


def _names(exercise: Exercise, positions: tuple[int, ...]) -> str:
    """The changed arguments by name, where the learner's function gets the probe as it is."""
    if exercise.setting:
        return "an input"
    names = list(inspect.signature(exercise.reference).parameters)
    return " and ".join(names[i] for i in positions)


def _raised(exercise: Exercise, answer: Callable, error: BaseException, probe: tuple) -> tuple[str, str]:
    kind = type(error).__name__
    text = str(error).strip().split("\n")[0][:200]
    line = _line_of(answer, error)
    where = f" in the line `{line}`" if line else ""
    told = f"Your function raised {kind}: {text}".rstrip(": ")
    return f"raised {kind}", f"{told}{where}. The input was: {_call_in_words(exercise, probe)}."


def _line_of(answer: Callable, error: BaseException) -> str:
    """The last line of the learner's own code that the error went through."""
    file = getattr(getattr(answer, "__code__", None), "co_filename", None)
    lines = [frame.line for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file and frame.line]
    return lines[-1] if lines else ""


def _unknown(exercise: Exercise, found: Difference, probe: tuple) -> tuple[str, str]:
    part = f"{found.where}: " if found.where else ""
    name = found.name if found.name in ("wrong type", "wrong shape") else ""
    if exercise.kind == "value":  # never with the answer in it
        return name, f"It is {found.got}; expected {found.expected}." if name else f"It is not {found.got}."
    return name, f"{_call_in_words(exercise, probe)}: {part}it gave {found.got}; expected {found.expected}."
