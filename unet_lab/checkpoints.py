"""Checkpoint files: plain types only, so that ``torch.load(weights_only=True)`` reads them, written in one piece or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from unet_lab.models import UNet

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        architecture: in_channels, num_classes and base_channels; None where the model had no such attributes.
        weights: the best weights, a state dict.
        class_names: the names of the classes 0, 1, ….
        training: the state of the run for `fit` to resume, or None.
    """

    architecture: dict[str, int | None]
    weights: dict
    class_names: tuple[str, ...]
    training: dict | None

    def build(self) -> UNet:
        """A `UNet` with these weights, in evaluation mode.

        Raises:
            ValueError: the weights are another class's.
        """
        if None in self.architecture.values():
            raise ValueError("The checkpoint holds another class than UNet; load its `weights` into that class.")
        model = UNet(**self.architecture)
        model.load_state_dict(self.weights)
        return model.eval()


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    *,
    class_names: Sequence[str] = (),
    weights: dict | None = None,
    training: dict | None = None,
) -> None:
    """Write `model` to `path`: to a temporary name first, so that a cut write leaves the old file whole.

    Args:
        path: the file; its folder is made.
        model: a `UNet`, or a class of your own with the attributes in_channels, num_classes and base_channels.
        class_names: the names of the classes.
        weights: a state dict to store in place of the model's present one.
        training: the state of a run, of plain types and tensors.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "format": FORMAT,
        "model": {name: getattr(model, name, None) for name in ("in_channels", "num_classes", "base_channels")},
        "class_names": [str(name) for name in class_names],
        "weights": model.state_dict() if weights is None else weights,
        "training": training,
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        torch.save(content, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: str | Path, *, map_location: str | torch.device = "cpu") -> Checkpoint:
    """Read what `save_checkpoint` wrote. Runs no code from the file (``weights_only=True``).

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint of this package, or a damaged one.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"No checkpoint at {path}. Train one first: unet-lab train --data scenes --out {path}")
    try:
        content = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged files
        raise ValueError(f"{path} can't be read as a checkpoint ({type(error).__name__}). Is it complete?") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is not a checkpoint of unet-lab, format {FORMAT}. Was it written by another program?")
    return Checkpoint(content["model"], content["weights"], tuple(content["class_names"]), content["training"])
