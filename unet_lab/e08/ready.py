"""Whether the learner's parts are written, so that a given cell that needs them can step aside with a sentence."""

from __future__ import annotations

import dis
import inspect
from typing import Any

from torch import nn

DOES_NOTHING = {"RESUME", "NOP", "LOAD_CONST", "LOAD_COMMON_CONSTANT", "RETURN_VALUE", "RETURN_CONST"}
"""Byte code of a function that only returns a constant: all that is left of a stub's docstring and `...`."""


def ready(**parts: Any) -> bool:
    """Whether all parts are written; if not, says which are missing.

    Args:
        parts: the learner's functions, classes and values by name.

    >>> def batches(images, masks, batch_size, size):
    ...     ...
    >>> ready(batches=batches)
    Skipped for now: batches is still to be written. Write it, or borrow it, and run this cell again.
    False
    """
    missing = [name for name, part in parts.items() if is_stub(part)]
    if missing:
        names = missing[0] if len(missing) == 1 else f"{', '.join(missing[:-1])} and {missing[-1]}"
        verb, it = ("is", "it") if len(missing) == 1 else ("are", "them")
        print(
            f"Skipped for now: {names} {verb} still to be written. Write {it}, or borrow {it}, and run this cell again."
        )
    return not missing


def is_stub(part: Any) -> bool:
    """None, `...`, a function that does nothing, or a module class whose `forward` is missing or does nothing."""
    if part is None or part is ...:
        return True
    if inspect.isclass(part) and issubclass(part, nn.Module):
        return part.forward is nn.Module.forward or is_stub(part.forward)
    if not inspect.isfunction(part) or inspect.isgeneratorfunction(part):
        return False
    part = inspect.unwrap(part)
    return {instruction.opname for instruction in dis.get_instructions(part)} <= DOES_NOTHING
