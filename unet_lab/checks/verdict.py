"""check(key, answer): passed, not attempted yet, or wrong, and then which mistake it is."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from torch import nn

from unet_lab.checks.borrow import borrowed_from, built_on
from unet_lab.checks.compare import Difference, arrays_in, difference, in_words, unfinished
from unet_lab.checks.display import BLUE, GREEN, ORANGE, Notice, show
from unet_lab.checks.exercise import Exercise, Fault, Mistake
from unet_lab.checks.registry import find
from unet_lab.checks.run import Record, in_thread, run, untouched_randomness
from unet_lab.checks.unwritten import RETURNS_NOTHING, forgets_its_return, is_empty_class, unwritten_need

OUR_LIMIT = 120.0  # seconds for our own functions, which are fast; only a guard
FAILURES_PER_HINT = 2
_failures: Counter[str] = Counter()
_hints_shown: Counter[str] = Counter()


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    status   "passed", "not attempted yet", "wrong", "borrowed" (the package's own, by `borrow`), or "no verdict" when
             the check itself could not run
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
    """Shows what is right or wrong with an answer. Never raises, and leaves all random states alone.

    Where the environment variable UNET_LAB_CHECK_LOG names a file, the outcome is added to it as one line of JSON.
    """
    outcome = judge(key, answer)
    if outcome.passed:
        sentences = outcome.message, built_on(key, sys._getframe(1).f_globals)
        outcome = replace(outcome, message=" ".join(filter(None, sentences)))
    _write_log(outcome)
    if outcome.status == "wrong":
        _failures[key] += 1
        outcome = replace(outcome, message=f"{outcome.message}{_offer(key)}")
    elif outcome.passed:
        _failures[key] = 0
    show(outcome)


def _write_log(outcome: Outcome) -> None:
    """One line for whoever runs the notebook from outside, such as `unet-lab validate`."""
    path = os.environ.get("UNET_LAB_CHECK_LOG")
    if not path:
        return
    line = {name: getattr(outcome, name) for name in ("key", "status", "mistake", "message")}
    with contextlib.suppress(OSError), open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


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

    if unfinished(answer) or is_empty_class(answer):
        return Outcome(exercise.key, "not attempted yet")
    if exercise.kind != "value" and borrowed_from(answer) == exercise.key:
        name = exercise.reference.__name__
        return Outcome(
            exercise.key, "borrowed", message=f"This is the package's {name}. Go on; come back when you can."
        )
    if exercise.verdict is not None:
        return _own_verdict(exercise, answer)
    if misunderstood := _wrong_kind(exercise, answer):
        return wrong(*misunderstood)

    probes = _drawn(exercise, seed)
    references = [_our_record(exercise, None, seed, i) for i in range(len(probes))]
    for reference in references:
        if reference.error is not None:
            raise reference.error
    try:
        records = run(exercise, exercise.as_function(answer), probes, exercise.limit)
    except TimeoutError:
        message = f"It took more than {exercise.limit:g} seconds on small inputs. Is there a loop without an end?"
        return wrong("too slow", message)
    tolerances = [exercise.tolerance_for(probe) for probe in probes]
    differences = [_differs(*pair) for pair in zip(records, references, tolerances, strict=True)]
    at_fault = next((probe for probe, found in zip(probes, differences, strict=True) if found), None)
    if at_fault is not None and (need := unwritten_need(exercise, answer, at_fault)):
        return wrong(need.name, need.sentence)
    if all(record.unfinished for record in records):
        if forgets_its_return(answer, records):
            return wrong(RETURNS_NOTHING, _forgotten(exercise))
        return _not_attempted(exercise, records)

    gradients = [_gradient_fault(exercise, *pair) for pair in zip(records, references, strict=True)]
    if any(differences) or any(gradients):
        known = _known_mistake(exercise, records, references, seed, tolerances, by_numbers=any(differences))
        if known is None and exercise.staged and any(differences):
            wrong_at = next(i for i, found in enumerate(differences) if found)
            known = _known_at(exercise, records[wrong_at], seed, wrong_at, tolerances[wrong_at])
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
    if first is not None and _is_only_rounded(differences[first], records[first], references[first]):
        return wrong("wrong dtype", "In half precision only three digits are right; sum and return float32.")
    if first is not None:
        return wrong(*_unknown(exercise, differences[first], probes[first]))
    others = [array.dtype for record in records for array in arrays_in(record.data) if array.dtype.kind not in "iu"]
    if exercise.integers and others:
        message = f"The numbers are right, but their dtype is {others[0]}; ids are integers, fit to be an index."
        return wrong("wrong dtype", message)
    if any(gradients):
        name = next(filter(None, gradients))
        return wrong(name, GRADIENT_FAULTS[name])
    return Outcome(exercise.key, "passed", message=_remark(exercise, answer, probes))


def _remark(exercise: Exercise, answer: Callable, probes: list[tuple]) -> str:
    if exercise.remark is None:
        return ""
    records = run(replace(exercise, measure=exercise.remark), answer, probes, exercise.limit)
    return next((record.data for record in records if record.data), "")


def _own_verdict(exercise: Exercise, answer: Any) -> Outcome:
    try:
        return Outcome(exercise.key, *in_thread(lambda: exercise.verdict(answer), exercise.limit))
    except TimeoutError:
        return Outcome(exercise.key, "wrong", "too slow", f"It took more than {exercise.limit:g} seconds to judge.")


def _wrong_kind(exercise: Exercise, answer: Any) -> tuple[str, str] | None:
    """The name and sentence for an answer that is not even the kind of thing that was asked for."""
    if exercise.kind == "value":
        message = "The check wants the value, not the function that computes it."
        return ("not a value", message) if callable(answer) else None
    the_call = f'check("{exercise.key}", {exercise.reference.__name__})'
    if exercise.kind == "class" and (isinstance(answer, nn.Module) or not callable(answer)):
        return "not a class", f"Give the class itself, without brackets and arguments: {the_call}."
    if exercise.kind == "function" and inspect.isclass(answer) and issubclass(answer, nn.Module):
        name = answer.__name__
        return "not a function", f'Give an object of the class, with brackets: check("{exercise.key}", {name}()).'
    if not callable(answer):
        return "not a function", f"Give the function itself, without brackets: {the_call}."
    return None


GRADIENT_FAULTS = {
    "not differentiable": "The value is right, but no gradient comes back from it. Return a tensor: no .item(), float(), "
    ".numpy(), .detach() or no_grad() on the way.",
    "nan in the gradient": "The value is right, but its gradient is nan: somewhere 0 is divided by 0, also if the result "
    "is thrown away later. Change the denominator before you divide.",
    "wrong gradient": "The value is right, but its gradient is not: a part of the formula was cut off by .item(), "
    ".detach() or no_grad().",
}


def _gradient_fault(exercise: Exercise, record: Record, reference: Record) -> str:
    if not exercise.differentiable or record.error is not None:
        return ""
    if record.gradient is None:
        # A constant of its own does where the right gradient is 0 everywhere: backward() works, and nothing moves.
        harmless = record.backward and reference.gradient is not None and not reference.gradient.any()
        return "" if harmless else "not differentiable"
    if not np.isfinite(record.gradient).all():
        return "nan in the gradient"
    return "" if _same_gradient(record, reference) else "wrong gradient"


def _same_gradient(record: Record, other: Record) -> bool:
    if record.gradient is None or other.gradient is None:
        return record.gradient is other.gradient and record.backward == other.backward
    largest = np.nanmax(np.abs(other.gradient), initial=0)
    return np.allclose(record.gradient, other.gradient, rtol=0, atol=0.01 * largest, equal_nan=True)


def _is_only_rounded(found: Difference, record: Record, reference: Record) -> bool:
    return record.half and found.name == "wrong numbers" and difference(record.data, reference.data, 0.02) is None


def _forgotten(exercise: Exercise) -> str:
    what = "forward" if exercise.kind == "class" else "It"
    word = "yield" if inspect.isgeneratorfunction(exercise.reference) else "return"
    return f"{what} returns None: is a {word} missing?"


def _not_attempted(exercise: Exercise, records: list[Record]) -> Outcome:
    returned_nothing = any(record.unfinished and record.error is None for record in records)
    what = {"function": "The function", "class": "forward"}.get(exercise.kind)
    message = f"{what} returns None or `...`." if what and returned_nothing else ""
    return Outcome(exercise.key, "not attempted yet", message=message)


def _differs(record: Record, other: Record, tolerance: float) -> Difference | None:
    if record.error is not None:
        return Difference("raised", "", "")
    return difference(record.data, other.data, tolerance)


@lru_cache(maxsize=4096)
def _our_record(exercise: Exercise, which: tuple[int, int] | None, seed: int, number: int) -> Record:
    """What the reference (None), or the j-th compared answer of mistake i, gives for the probe of that number.

    Kept, because learners check a task many times.
    """
    answer = exercise.reference if which is None else exercise.mistakes[which[0]].compared[which[1]]
    return run(exercise, exercise.as_function(answer), [_drawn(exercise, seed)[number]], OUR_LIMIT)[0]


@lru_cache(maxsize=64)
def _drawn(exercise: Exercise, seed: int) -> list[tuple]:
    """The probes of a seed; whoever runs an answer copies them."""
    return exercise.draw(seed)


def _known_mistake(
    exercise: Exercise,
    records: list[Record],
    references: list[Record],
    seed: int,
    tolerances: list[float],
    by_numbers: bool,
) -> Mistake | None:
    """The mistake that has this symptom, or gives the same as these records: the same errors and gradients.

    If there is none, and if `by_numbers`, the first that gives the same numbers and fails on the same probes.
    """
    failed = [record.error is not None for record in records]
    if not any(failed):
        got, expected = ([record.data for record in these] for these in (records, references))
        for mistake in exercise.mistakes:
            if mistake.symptom is not None and mistake.symptom(got, expected):
                return mistake

    # Where every probe fails, only what the errors say tells two answers apart.
    for exactly in (True, False) if by_numbers and not all(failed) else (True,):
        for i, mistake in enumerate(exercise.mistakes):
            for j in range(len(mistake.compared)):
                theirs = (_our_record(exercise, (i, j), seed, number) for number in range(len(records)))
                if all(map(_alike, records, theirs, tolerances, [exactly] * len(records))):
                    return mistake
    return None


def _known_at(exercise: Exercise, record: Record, seed: int, number: int, tolerance: float) -> Mistake | None:
    """The mistake that gives the same for one probe, or fails there in the same way."""
    for i, mistake in enumerate(exercise.mistakes):
        for j in range(len(mistake.compared)):
            other = _our_record(exercise, (i, j), seed, number)
            if _alike(record, other, tolerance, exactly=record.error is not None):
                return mistake
    return None


def _alike(record: Record, other: Record, tolerance: float, exactly: bool) -> bool:
    if record.error is not None or other.error is not None:
        same_kind = type(record.error) is type(other.error)
        return same_kind and str(record.error) == str(other.error) if exactly else bool(record.error and other.error)
    if exactly and not _same_gradient(record, other):
        return False
    return difference(record.data, other.data, tolerance) is None


def _call_in_words(exercise: Exercise, probe: tuple) -> str:
    if exercise.setting:
        return exercise.setting(*probe) if callable(exercise.setting) else exercise.setting
    names = inspect.signature(exercise.reference).parameters  # the last ones may be left to their defaults
    arguments = ", ".join(f"{name}={in_words(value)}" for name, value in zip(names, probe, strict=False))
    return f"{exercise.reference.__name__}({arguments})"


def _names(exercise: Exercise, positions: tuple[int, ...]) -> str:
    """The changed arguments by name, where the learner's function gets the probe as it is."""
    if exercise.setting:
        return "an input"
    names = list(inspect.signature(exercise.reference).parameters)
    return " and ".join(names[i] for i in positions)


def _raised(exercise: Exercise, answer: Callable, error: BaseException, probe: tuple) -> tuple[str, str]:
    if isinstance(error, Fault):
        return error.name, error.sentence
    kind = type(error).__name__
    text = str(error).strip().split("\n")[0][:200]
    line = _line_of(answer, error)
    where = f" in the line `{line}`" if line else ""
    told = f"Your {exercise.kind} raised {kind}: {text}".rstrip(": ")
    name = "wrong device" if "on the same device" in text else f"raised {kind}"
    return name, f"{told}{where}. The input was: {_call_in_words(exercise, probe)}."


def _line_of(answer: Callable, error: BaseException) -> str:
    """The last line of the learner's own code that the error went through."""
    owner = answer if inspect.isclass(answer) else type(answer)
    functions = (answer, *vars(owner).values())
    files = {function.__code__.co_filename for function in functions if inspect.isfunction(function)}
    lines = [
        frame.line for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files and frame.line
    ]
    return lines[-1] if lines else ""


def _unknown(exercise: Exercise, found: Difference, probe: tuple) -> tuple[str, str]:
    part = f"{found.where}: " if found.where else ""
    name = found.name if found.name in ("wrong type", "wrong shape") else ""
    if exercise.kind == "value":  # never with the answer in it
        return name, f"It is {found.got}; expected {found.expected}." if name else f"It is not {found.got}."
    return name, f"{_call_in_words(exercise, probe)}: {part}it gave {found.got}; expected {found.expected}."
