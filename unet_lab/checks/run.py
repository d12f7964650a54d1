"""Runs an answer on the probes: in a thread with a time limit, on copies, with the learner's random state put back."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from unet_lab.checks.compare import same, to_data, unfinished
from unet_lab.checks.exercise import Exercise, on_wrong_device


@dataclass
class Record:
    """What one probe gave: data (and the gradient, if compared) or an error; `changed` holds positions of arguments."""

    data: Any = None
    error: BaseException | None = None
    gradient: np.ndarray | None = None
    backward: bool = False
    """whether backward() can be called on it, also if no gradient reaches the probe then"""
    changed: tuple[int, ...] = ()
    unfinished: bool = False
    half: bool = False
    """whether a tensor of it is in half precision"""


class Stopped(BaseException):
    """Ends a thread that ran past its time. Not an Exception, which the learner's `except Exception` would swallow."""


@contextlib.contextmanager
def untouched_randomness() -> Iterator[None]:
    """Whatever happens inside, Python's, NumPy's and torch's global random states are afterwards what they were."""
    kept_python, kept_numpy, kept_torch = random.getstate(), np.random.get_state(), torch.get_rng_state()
    kept_cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(kept_python)
        np.random.set_state(kept_numpy)
        torch.set_rng_state(kept_torch)
        if kept_cuda is not None:
            torch.cuda.set_rng_state_all(kept_cuda)


def in_thread(work: Callable[[], Any], limit: float) -> Any:
    """`work()` in a daemon thread; TimeoutError after `limit` seconds.

    A thread, because a signal would not be portable and a process can't get at functions of a notebook. It also starts
    with gradients on and without autocast, whatever the cell around the check has set.
    """
    outcome: dict[str, Any] = {}

    def body() -> None:
        try:
            outcome["result"] = work()
        except BaseException as error:
            outcome["error"] = error

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    try:
        thread.join(limit)
    finally:  # also when the learner interrupts the kernel
        if thread.is_alive():
            _stop(thread)
    if "result" in outcome:
        return outcome["result"]
    error = outcome.get("error")
    raise TimeoutError if error is None or isinstance(error, Stopped) else error


def _stop(thread: threading.Thread) -> None:
    """Ends the thread at its next line of Python; an endless loop would slow down every later cell.

    Waits for that a moment, so that what the thread draws last comes before the random states are put back.
    """
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Stopped))
    thread.join(1.0)


def run(exercise: Exercise, function: Callable, probes: list[tuple], limit: float) -> list[Record]:
    """One record a probe. Raises TimeoutError when all together take more than `limit` seconds."""
    return in_thread(lambda: [_run_one(exercise, function, probe) for probe in probes], limit)


def _run_one(exercise: Exercise, function: Callable, probe: tuple) -> Record:
    arguments = copy.deepcopy(probe)
    leaf = next((a for a in arguments if isinstance(a, torch.Tensor) and a.is_floating_point()), None)
    if exercise.differentiable:
        leaf.requires_grad_(True)
    _seed_globals()
    try:
        value = exercise.measure(function, *arguments)
        tensors = list(_tensors_in(value))
        if exercise.kind != "value":
            for tensor in tensors:
                if tensor.device.type != "cpu":
                    raise on_wrong_device(tensor.device)
        data = to_data(value)
        backward = exercise.differentiable and isinstance(value, torch.Tensor) and value.requires_grad
        gradient = _gradient(value, leaf) if backward else None
    except Stopped:
        raise
    except BaseException as error:  # SystemExit too: nothing of the learner's may end the notebook
        return Record(error=error, unfinished=_is_stub_error(error))
    changed = tuple(i for i, argument in enumerate(arguments) if not same(argument, probe[i]))
    half = any(tensor.dtype in (torch.float16, torch.bfloat16) for tensor in tensors)
    return Record(data, gradient=gradient, backward=backward, changed=changed, unfinished=unfinished(value), half=half)


def _tensors_in(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors_in(item)


def _seed_globals() -> None:
    """An answer that draws from the global generators gives the same numbers at every check."""
    random.seed(0)
    np.random.seed(0)
    torch.default_generator.manual_seed(0)  # torch.manual_seed would reseed CUDA as well


def _gradient(value: torch.Tensor, leaf: torch.Tensor) -> np.ndarray | None:
    (gradient,) = torch.autograd.grad(value.sum(), leaf, allow_unused=True)
    return None if gradient is None else gradient.numpy()


def _is_stub_error(error: BaseException) -> bool:
    """A stub's NotImplementedError, or an operation on a `...` that is still to be filled in."""
    text = str(error)
    if isinstance(error, NotImplementedError):  # torch raises it too, for a dtype or a device
        return "not implemented for '" not in text and "aten::" not in text
    return isinstance(error, (TypeError, AttributeError)) and "ellipsis" in text
