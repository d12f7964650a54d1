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

    `answer` is the wrong function, or the wrong value in an exercise of kind "value"; the learner reads `sentence`.
    """

    name: str
    answer: Any
    sentence: str


def call(function: Callable, *probe):
    """The usual way to measure an answer: call it and look at what it returns."""
    return function(*probe)


@dataclass(frozen=True, eq=False)
class Exercise:
    """One task of a lesson, as data.

    key         what the notebook writes in `check(key, answer)`
    task        the task in one sentence
    reference   a right function with the learner's name and signature, or the right value
    probes      random generator -> list of argument tuples, the smallest first; None makes it of kind "value"
    mistakes    the known wrong answers; no two of them, and none and the reference, may agree on all probes
    variants    other right answers, for the tests
    hints       from a nudge to nearly the solution
    measure     `measure(function, *probe)` gives what is compared, where that is more than the return value;
                None means not attempted
    tolerance   largest accepted `|got - expected| / max(1, |expected|)`, or a function of the probe that gives it;
                whole numbers are compared exactly
    differentiable  whether the gradient with respect to the first floating tensor of the probe is compared too
    integers    whether the answer's arrays must have an integer dtype
    setting     what a message says about the inputs instead of printing them
    limit       seconds that the learner's function has for all probes together
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
    differentiable: bool = False
    integers: bool = False
    setting: str = ""
    limit: float = 10.0

    @property
    def kind(self) -> str:
        """ "function" or "value"."""
        return "value" if self.probes is None else "function"

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
