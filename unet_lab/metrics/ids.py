"""What both kinds of metric share: checked ids, and results as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

Ids = Tensor | np.ndarray


def as_ids(ids: Ids, name: str) -> Tensor:
    """As an int64 tensor, on the CPU unless it is on CUDA: other devices don't all count in int64."""
    if isinstance(ids, np.ndarray):
        if ids.dtype.kind in "biu":
            return torch.from_numpy(ids.astype(np.int64))
    elif not isinstance(ids, Tensor):
        raise TypeError(f"{name} must be a torch tensor or a numpy array of class ids; got {type(ids).__name__}.")
    elif not (ids.is_floating_point() or ids.is_complex()):
        return (ids if ids.device.type in ("cpu", "cuda") else ids.cpu()).long()
    raise TypeError(
        f"{name} must hold class ids, which are integers; got {ids.dtype} of shape {tuple(ids.shape)}. "
        f"Logits or probabilities? Argmax first: {name}.argmax(1)."
    )


def check_same_shape(preds: Tensor, masks: Tensor, name: str = "masks") -> None:
    if preds.shape != masks.shape:
        mend = " Logits? Argmax first: preds.argmax(1)." if preds.ndim == masks.ndim + 1 else ""
        raise ValueError(
            f"preds and {name} must have the same shape; got {tuple(preds.shape)} and {tuple(masks.shape)}.{mend}"
        )


def as_text(value: float | int | str) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.3f}"
    return str(value)


def as_table(rows: Sequence[Sequence[float | int | str]]) -> str:
    """Lines with the first column aligned left and the others right."""
    width = max(len(row[0]) for row in rows)
    return "\n".join(
        (f"{row[0]:<{width}}" + "".join(f"{as_text(cell):>7}" for cell in row[1:])).rstrip() for row in rows
    )
