"""Where to compute and in which precision: chosen by asking the machine, not by guessing."""

from __future__ import annotations

import torch

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
    """The dtype of the convolutions: bfloat16 where the processor or GPU has it in hardware, else float32.

    Weights, losses and sums stay in float32 either way.

    Raises:
        ValueError: a precision that is not one of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision expects one of {', '.join(PRECISIONS)}; got {precision!r}.")
    if precision != "auto":
        return getattr(torch, precision)
    kind = torch.device(device).type
    faster = {"cpu": bfloat16_in_hardware(), "cuda": kind == "cuda" and torch.cuda.is_bf16_supported()}
    return torch.bfloat16 if faster.get(kind, False) else torch.float32


def bfloat16_in_hardware() -> bool:
    """Whether this processor has instructions for bfloat16; without them torch emulates it, many times slower.

    A timing would have to tell a fast format from a busy machine; the processor's own list does not.
    """
    if hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16"))
    return torch.cpu._is_avx512_bf16_supported()  # torch before 2.10 has no public way to ask
