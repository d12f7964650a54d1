"""Where to compute and in which precision: chosen by looking and measuring, not by guessing."""

from __future__ import annotations

import time
from functools import lru_cache

import torch
import torch.nn.functional as F

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16")


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """``"auto"`` takes CUDA, then MPS, then the CPU; anything else is taken as asked for.

    Raises:
        ValueError: a device that is unknown or not in this machine.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device expects one of {', '.join(DEVICES)}; got {device!r}.") from None
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present.get(chosen.type, False):
        raise ValueError(
            f"device {str(device)!r} was asked for, but torch finds none here. Use device='auto' or 'cpu'."
        )
    return chosen


def choose_precision(precision: str = "auto", device: torch.device | str = "cpu") -> torch.dtype:
    """The dtype of the convolutions: bfloat16 where it is faster here, else float32.

    Weights, losses and sums stay in float32 either way.

    Raises:
        ValueError: a precision that is not one of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision expects one of {', '.join(PRECISIONS)}; got {precision!r}.")
    if precision != "auto":
        return getattr(torch, precision)
    kind = torch.device(device).type
    faster = {"cpu": bfloat16_speedup_on_cpu() > 1.1, "cuda": kind == "cuda" and torch.cuda.is_bf16_supported()}
    return torch.bfloat16 if faster.get(kind, False) else torch.float32


@lru_cache(maxsize=1)
def bfloat16_speedup_on_cpu() -> float:
    """How many times faster a bfloat16 convolution, forward and backward, runs here than the float32 one.

    Processors without bfloat16 instructions emulate them and give a figure well below 1. Measured once a process, in
    some tens of milliseconds.
    """
    generator = torch.Generator().manual_seed(0)  # the caller's random state is not touched
    images = torch.rand(1, 32, 32, 32, generator=generator)
    weight = torch.rand(32, 32, 3, 3, generator=generator)

    def best_seconds(dtype: torch.dtype) -> float:
        x = images.to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
        w = weight.to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
        times = []
        for _ in range(4):  # the first one sets up the kernels
            start = time.perf_counter()
            F.conv2d(x, w, padding=1).sum().backward()
            times.append(time.perf_counter() - start)
        return min(times)

    return best_seconds(torch.float32) / best_seconds(torch.bfloat16)
