"""What a run leaves behind, and who may watch it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unet_lab.training.run import Run


@dataclass
class History:
    """What a run did, one entry an epoch in each list.

    Attributes:
        train_loss: mean over the epoch, each batch weighted by its counted (not void) pixels.
        val_loss: the same loss on the validation images, NaN where it was not measured.
        val_miou: mIoU over the validation images by one confusion matrix, NaN where it was not measured.
        lr: learning rate after the epoch.
        seconds: since the start of the run, validation included.
        images: images seen since the start of the run.
        training_seconds: spent in training steps alone, without validation.
        stopped: ``"finished"``, or ``"interrupted"`` by Ctrl-C or a callback.
    """

    train_loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_miou: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    images: int = 0
    training_seconds: float = 0.0
    stopped: str = "finished"

    @property
    def epochs(self) -> int:
        """Epochs completed."""
        return len(self.train_loss)

    @property
    def best_epoch(self) -> int | None:
        """Index of the epoch with the highest validation mIoU; None where none was measured."""
        measured = [index for index, value in enumerate(self.val_miou) if not math.isnan(value)]
        return max(measured, key=lambda index: self.val_miou[index]) if measured else None

    @property
    def best_miou(self) -> float:
        """The highest validation mIoU; NaN where none was measured."""
        return math.nan if self.best_epoch is None else self.val_miou[self.best_epoch]

    @property
    def images_per_second(self) -> float:
        """Training images a second, validation time left out."""
        return self.images / self.training_seconds if self.training_seconds else math.nan


class Callback:
    """Watches a run. Override what you need; set ``run.stop = True`` to end it."""

    def after_step(self, run: Run) -> None:
        """Called after each optimizer step."""

    def after_epoch(self, run: Run) -> None:
        """Called after each epoch and its validation."""
