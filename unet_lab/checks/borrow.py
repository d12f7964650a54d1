"""`borrow`: the package's own solution of a task of E08, for a learner who is stuck and wants to go on.

DoubleConv = borrow("DoubleConv")
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Mapping
from typing import Any

from unet_lab.checks.display import Notice, show
from unet_lab.checks.registry import find

KEYS = {
    "DoubleConv": "e08-double-conv",
    "UNet": "e08-unet",
    "dice_loss": "e08-dice-loss",
    "combined_loss": "e08-combined-loss",
    "batches": "e08-batches",
    "train_one_epoch": "e08-train-one-epoch",
    "validate": "e08-validate",
    "confusion_matrix": "e08-confusion-matrix",
    "mean_iou": "e08-mean-iou",
    "evaluate": "e08-evaluate",
}
"""What can be borrowed, and the check of the task that it solves."""

NEEDS = {
    "e08-unet": ("DoubleConv",),
    "e08-combined-loss": ("dice_loss",),
    "e08-evaluate": ("confusion_matrix", "mean_iou"),
    "e08-trained-model": tuple(KEYS),
    "e08-comparison": tuple(KEYS),
}
"""The names of earlier tasks that the answer to a later one is built on."""


def borrow(name: str) -> Any:
    """The package's function or class of that name, marked: its own check says "borrowed", never "passed".

    Raises:
        ValueError: nothing of that name can be borrowed.
    """
    if not isinstance(name, str) or name not in KEYS:
        near = difflib.get_close_matches(str(name), KEYS, n=1)
        mend = f"Did you mean {near[0]!r}?" if near else f"Choose one of {', '.join(KEYS)}."
        raise ValueError(f"borrow expects the name of a task's function or class; got {name!r}. {mend}")
    marked = _marked(find(KEYS[name]).reference, KEYS[name])
    show(Notice("Borrowed:", f"{name} is the package's now. You can go on; its own task stays open.", f"borrow-{name}"))
    return marked


def _marked(reference: Any, key: str) -> Any:
    """A class or function of its own, so that the reference stays unmarked."""
    if inspect.isclass(reference):
        kept = {"__module__": reference.__module__, "__doc__": reference.__doc__, "_borrowed_from": key}
        return type(reference.__name__, (reference,), kept)

    @functools.wraps(reference)
    def marked(*arguments, **named):
        return reference(*arguments, **named)

    marked._borrowed_from = key
    return marked


def borrowed_from(thing: Any) -> str:
    """The key of the task that a borrowed thing, or an object of a borrowed class, solves; "" if it is not borrowed."""
    key = getattr(thing, "_borrowed_from", "")
    return key if isinstance(key, str) else ""


def built_on(key: str, namespace: Mapping[str, Any]) -> str:
    """One sentence for a task whose answer uses borrowed names of the notebook, which are in `namespace`; or ""."""
    names = [name for name in NEEDS.get(key, ()) if borrowed_from(namespace.get(name)) == KEYS[name]]
    if not names:
        return ""
    told = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"Built on the package's {told}."
