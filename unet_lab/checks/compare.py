"""Answers as plain NumPy data, and the first difference between two of them in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

PRINTED_ELEMENTS = 24  # larger arrays are described, not printed


@dataclass(frozen=True)
class Difference:
    """What kind it is, what came and what was expected in words, and in which part of the answer (or "")."""

    name: str
    got: str
    expected: str
    where: str = ""


def unfinished(value: Any) -> bool:
    """None, `...`, or a tuple or list that has one of them in it: a stub, not an answer."""
    if isinstance(value, (tuple, list)):
        return any(unfinished(item) for item in value)
    return value is None or value is Ellipsis or value is NotImplemented


def to_data(value: Any) -> Any:
    """Tensors, arrays and numbers become NumPy arrays, tuples and lists become tuples; anything else stays as it is."""
    if isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_complex():
        value = value.detach().cpu()
        return (value.float() if value.dtype in (torch.float16, torch.bfloat16) else value).numpy().copy()
    if isinstance(value, (bool, int, float, np.number, np.bool_)):
        return np.asarray(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return value.copy()
    if isinstance(value, (tuple, list)):
        return tuple(to_data(item) for item in value)
    if isinstance(value, dict):
        return {name: to_data(item) for name, item in value.items()}
    return value


def arrays_in(data: Any) -> Iterator[np.ndarray]:
    """Every array in what `to_data` gave."""
    if isinstance(data, np.ndarray):
        yield data
    elif isinstance(data, (tuple, dict)):
        for item in data.values() if isinstance(data, dict) else data:
            yield from arrays_in(item)


def difference(got: Any, expected: Any, tolerance: float, where: str = "") -> Difference | None:
    """The first difference between two pieces of data from `to_data`, or None. NaN equals NaN."""
    if isinstance(expected, tuple) and isinstance(got, np.ndarray) and got.ndim > 0:
        got = tuple(np.asarray(item) for item in got)  # one array of two numbers is as good as two numbers
    if isinstance(expected, dict) and isinstance(got, dict) and got.keys() == expected.keys():
        parts = [(name, got[name], expected[name]) for name in expected]
    elif isinstance(expected, tuple) and isinstance(got, tuple) and len(got) == len(expected):
        parts = [(f"item {i}", got[i], expected[i]) for i in range(len(expected))]
    elif is_numbers(expected) and is_numbers(got):
        return _array_difference(got, expected, tolerance, where)
    elif type(expected) is type(got) and not isinstance(expected, (tuple, dict, np.ndarray)):
        return None if got == expected else Difference("wrong value", f"{got}", f"{expected}", where)
    else:
        return Difference("wrong type", type_in_words(got), type_in_words(expected), where)
    for name, part, other in parts:
        found = difference(part, other, tolerance, f"{where}, {name}" if where else name)
        if found is not None:
            return found
    return None


def is_numbers(data: Any) -> bool:
    """Whether it is an array of booleans, whole or real numbers, as `to_data` gives it."""
    return isinstance(data, np.ndarray) and data.dtype.kind in "biuf"


def _array_difference(got: np.ndarray, expected: np.ndarray, tolerance: float, where: str) -> Difference | None:
    if got.shape != expected.shape:
        return Difference("wrong shape", _shape_in_words(got), _shape_in_words(expected), where)
    if expected.dtype.kind in "biu":
        tolerance = 1e-9  # whole numbers agree exactly, in whatever dtype they come
    a, b = got.astype(np.float64), expected.astype(np.float64)
    with np.errstate(invalid="ignore"):
        agrees = (a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= tolerance * np.maximum(1, np.abs(b)))
    if agrees.all():
        return None
    if got.size <= PRINTED_ELEMENTS:
        return Difference("wrong numbers", in_words(got), in_words(expected), where)
    first = tuple(int(i) for i in np.argwhere(~agrees)[0])
    at = f"at [{', '.join(map(str, first))}]"
    return Difference("wrong numbers", f"{in_words(got[first])} {at}", f"{in_words(expected[first])} there", where)


def same(a: Any, b: Any) -> bool:
    """Whether two inputs are bit for bit equal: arguments before and after a call. Of other objects, the type alone."""
    a, b = to_data(a), to_data(b)
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if is_numbers(a):
        return difference(a, b, 0.0) is None
    return a == b if isinstance(a, str) else True


def type_in_words(data: Any) -> str:
    if is_numbers(data):
        return "a number" if data.ndim == 0 else f"one array of shape {data.shape}"
    if isinstance(data, torch.Tensor):
        return "a complex tensor" if data.is_complex() else "a sparse tensor"
    if isinstance(data, np.ndarray):
        return f"an array of dtype {data.dtype}"
    if isinstance(data, tuple):
        return f"{len(data)} items"
    if isinstance(data, type):
        return f"the class {data.__name__}"
    name = type(data).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def _shape_in_words(array: np.ndarray) -> str:
    return "one number" if array.ndim == 0 else f"shape {array.shape}"


def in_words(value: Any) -> str:
    """A number, a small array or a short object as it is; a large array by its shape."""
    data = to_data(value)
    if isinstance(data, np.ndarray):
        if data.size > PRINTED_ELEMENTS:
            return f"<{data.dtype} array of shape {data.shape}>"
        return _numbers(data.tolist())
    if isinstance(data, tuple):
        return f"({', '.join(in_words(item) for item in data)})"
    return f"{data!r}" if isinstance(data, str) else f"<{type(data).__name__}>"


def _numbers(item: Any) -> str:
    if isinstance(item, list):
        return f"[{', '.join(_numbers(i) for i in item)}]"
    return f"{item:.4g}" if isinstance(item, float) else f"{item}"
