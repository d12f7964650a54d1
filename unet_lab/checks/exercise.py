"""What a check knows about a task: the reference, the probes, and the mistakes by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that learners really give.

    `answer` is the wrong function or class, or the wrong value in an exercise of kind "value"; the learner reads
    `sentence`. `others` are more ways to make the same mistake, where they don't give the same numbers, and `failing`
    those that raise. A learner's mistake is known by giving the same as one of these; with a `symptom` it is known by
    `symptom(got, expected)`, two lists with what each probe gave, and only the `failing` ones are run.
    """

    name: str
    answer: Any
    sentence: str
    others: tuple = ()
    failing: tuple = ()
    symptom: Callable[[list, list], bool] | None = None

    @property
    def answers(self) -> tuple:
        return (self.answer, *self.others, *self.failing)

    @property
    def compared(self) -> tuple:
        """The answers that a learner's is compared with."""
        return self.answers if self.symptom is None else self.failing


class Fault(Exception):
    """Raised by a `measure` that can say by name what is wrong, where there are no numbers to compare."""

    def __init__(self, name: str, sentence: str):
        super().__init__(sentence)
        self.name, self.sentence = name, sentence


def on_wrong_device(device: Any) -> Fault:
    """The fault of a result that is not on the CPU, where all probes are."""
    return Fault(
        "wrong device",
        f"The inputs are on the CPU, the result is on {device}: create new tensors on the device of the inputs, for example "
        "with device=x.device.",
    )


def call(function: Callable, *probe):
    """The usual way to measure an answer: call it and look at what it returns."""
    return function(*probe)


@dataclass(frozen=True, eq=False)
class Exercise:
    """One task of a lesson, as data.

    key         what the notebook writes in `check(key, answer)`
    task        the task in one sentence
    reference   a right function or class with the learner's name and signature, or the right value
    probes      random generator -> list of argument tuples, the smallest first; None makes it of kind "value"
    mistakes    the known wrong answers; no two of them, and none and the reference, may agree on all probes
    variants    other right answers, for the tests
    hints       from a nudge to nearly the solution
    measure     `measure(function, *probe)` gives what is compared, where that is more than the return value;
                None means not attempted; it may raise a `Fault`
    tolerance   largest accepted `|got - expected| / max(1, |expected|)`, or a function of the probe that gives it;
                whole numbers are compared exactly
    staged      whether the probes go from easy to hard: of an answer with two mistakes, the one that shows in the first
                wrong probe is named
    differentiable  whether the gradient with respect to the first floating tensor of the probe is compared too
    integers    whether the answer's arrays must have an integer dtype
    setting     what a message says about the inputs instead of printing them, also a function of the probe
    limit       seconds that the learner's function has for all probes together
    remark      `remark(function, *probe)` gives a sentence for a right answer, or ""; the first one is shown
    verdict     judges the answer whole, where there is nothing to compare: gives status, mistake and message
    """

    key: str
    task: str
    reference: Any
    mistakes: tuple[Mistake, ...]
    probes: Callable[[np.random.Generator], list[tuple]] | None = None
    variants: tuple = ()
    hints: tuple[str, ...] = ()
    measure: Callable = call
    tolerance: float | Callable[..., float] = 1e-4
    staged: bool = False
    differentiable: bool = False
    integers: bool = False
    setting: str | Callable[..., str] = ""
    limit: float = 10.0
    remark: Callable[..., str] | None = None
    verdict: Callable[[Any], tuple[str, str, str]] | None = None

    @property
    def kind(self) -> str:
        """ "function", "class" or "value"."""
        if self.probes is None:
            return "value"
        return "class" if inspect.isclass(self.reference) else "function"

    @property
    def signature(self) -> str:
        """How the learner's function is called, for example `one_hot(masks, num_classes)`; empty for a value."""
        if self.kind == "value":
            return ""
        return f"{self.reference.__name__}({', '.join(inspect.signature(self.reference).parameters)})"

    def draw(self, seed: int) -> list[tuple]:
        """The probes of one seed; a value counts as a function of nothing."""
        return [()] if self.probes is None else self.probes(np.random.default_rng(seed))

    def as_function(self, answer: Any) -> Callable:
        return (lambda: answer) if self.kind == "value" else answer

    def tolerance_for(self, probe: tuple) -> float:
        return self.tolerance(*probe) if callable(self.tolerance) else self.tolerance
