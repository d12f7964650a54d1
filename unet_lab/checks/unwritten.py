"""What is not written yet: stubs, answers that forget their return, and answers built on a stub of an earlier task."""

from __future__ import annotations

import dis
import functools
import inspect
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

from torch import nn

from unet_lab.checks.borrow import NEEDS
from unet_lab.checks.compare import unfinished
from unet_lab.checks.exercise import Exercise, Fault
from unet_lab.checks.run import Record, run

IDLE = {"RESUME", "NOP", "COPY_FREE_VARS", "MAKE_CELL", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE"}
"""All that a body of a docstring, `...`, `pass` or `return None` is compiled to."""


def is_empty_class(answer: Any) -> bool:
    """A stub of a network: neither `__init__` nor `forward` is written yet."""
    if not (inspect.isclass(answer) and issubclass(answer, nn.Module)):
        return False
    return answer.__init__ is nn.Module.__init__ and answer.forward is nn.Module.forward


def forgets_its_return(answer: Any, records: list[Record]) -> bool:
    """Whether a body that does something gave None for every probe. False where that can't be told."""
    if any(record.error is not None or record.data is not None for record in records):
        return False
    code = _code(answer)
    if code is None or Ellipsis in code.co_consts:  # `answer = ...`, still to be filled in
        return False
    return any(step.opname not in IDLE for step in dis.get_instructions(code))


def _code(answer: Any) -> CodeType | None:
    """That of the function, or of the `forward` of a network; None where there is no Python to read."""
    if isinstance(answer, nn.Module) or inspect.isclass(answer):
        answer = getattr(answer, "forward", None)
    return getattr(inspect.unwrap(answer), "__code__", None) if callable(answer) else None


def unwritten_need(exercise: Exercise, answer: Any, probe: tuple) -> Fault | None:
    """That a function of an earlier task, which the answer calls by its name in the notebook, returns nothing.

    A copy of the answer is run, in which those names stand for functions that watch what they give.
    """
    function = inspect.unwrap(answer) if callable(answer) else answer
    if exercise.kind != "function" or not inspect.isfunction(function):
        return None
    names = [name for name in NEEDS.get(exercise.key, ()) if callable(function.__globals__.get(name))]
    if not names:
        return None
    watching = {name: _watched(name, function.__globals__[name]) for name in names}
    copy = FunctionType(
        function.__code__,
        {**function.__globals__, **watching},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    error = run(exercise, copy, [probe], exercise.limit)[0].error
    return error if isinstance(error, Fault) and error.name.endswith(RETURNS_NOTHING) else None


RETURNS_NOTHING = "returns nothing"


def _watched(name: str, function: Callable) -> Callable:
    @functools.wraps(function)
    def watched(*arguments, **named):
        try:
            value = function(*arguments, **named)
        except NotImplementedError:
            value = None
        if unfinished(value):
            raise Fault(f"{name} {RETURNS_NOTHING}", f"{name} returns nothing: finish {name} first, or borrow it.")
        return value

    return watched
