"""A run of `fit`, step by step."""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from unet_lab import IGNORE_INDEX
from unet_lab.checkpoints import load_checkpoint, save_checkpoint
from unet_lab.data import SegmentationDataset
from unet_lab.data.transforms import MINIMUM_SIDE, augmentation, resize, training_batches
from unet_lab.training.defaults import Stages
from unet_lab.training.history import History
from unet_lab.training.inference import measure

NORMALISATION_IMAGES = 80
"""How many training images batch normalisation measures its averages on, after a change of the image size."""

FIRST_VALIDATION = 30.0
"""Seconds that a run by the clock trains before it is first validated: a short one only at its end."""

WARM_UP = 0.1
"""Share of a run in which the learning rate climbs to its full height."""


@dataclass
class Run:
    """A run of `fit`: what a callback sees and what a checkpoint holds.

    Attributes:
        history: the run so far.
        epoch: index of the running epoch.
        step: optimizer steps since the start or the last resume.
        loss: the loss of the last step.
        progress: share of the run that is done, 0 to 1.
        stop: set to True to end the run after this step.
        best: the model's state at the epoch with the best validation mIoU, None before the first validation.
    """

    model: nn.Module
    loss_function: nn.Module
    optimizer: torch.optim.Optimizer
    device: torch.device
    dtype: torch.dtype
    num_epochs: int | None
    seconds: float | None
    lr: float
    batch_size: int
    size: tuple[int, int] | int | None
    augment: bool | Callable
    stages: Stages
    seed: int
    history: History = field(default_factory=History)
    epoch: int = 0
    step: int = 0
    loss: float = math.nan
    progress: float = 0.0
    stop: bool = False
    best: dict | None = None
    start: float = field(default_factory=time.perf_counter)
    _resized: dict[float, SegmentationDataset] = field(default_factory=dict)
    _validation: tuple[float, float] = (-math.inf, 0.0)  # when the last one ended, how long it took

    def train_epoch(self, train: SegmentationDataset) -> Iterator[None]:
        """One pass over `train`, a step at a time. A run by the clock ends in the middle of a pass."""
        # each epoch is seeded by its number, so a resumed run draws what the uninterrupted one would have drawn
        torch.manual_seed(self.seed * 1_000_003 + self.epoch)
        scale, until = self._stage()
        data = self._at_scale(train, scale)
        batches = -(-len(data) // self.batch_size)
        self.model.train()
        sum_loss, sum_pixels, start = 0.0, 0, time.perf_counter()
        for index, (images, masks) in enumerate(training_batches(data, self.batch_size, self._transform(scale))):
            self.progress = self._progress_at(index / batches)
            if self.progress >= 1:
                break
            self._step(images.to(self.device), masks.to(self.device))
            pixels = int((masks != IGNORE_INDEX).sum())
            sum_loss, sum_pixels = sum_loss + self.loss * pixels, sum_pixels + pixels
            self.history.images += len(images)
            yield
            if self.stop or (self.seconds and self._progress_at(0.0) >= until):
                break
        self.history.train_loss.append(sum_loss / max(sum_pixels, 1))
        self.history.training_seconds += time.perf_counter() - start
        self.epoch += 1
        self.progress = self._progress_at(0.0)

    def finish_epoch(self, train: SegmentationDataset, val: SegmentationDataset | None) -> None:
        """Validate where it is due, remember the best weights, write the epoch into the history."""
        scores, val_loss = None, math.nan
        now = time.perf_counter()
        ended, took = self._validation
        last = self.progress >= 1 or self.stop
        # by the clock, an epoch can be shorter than its validation: then not each one is validated
        waited = now - max(ended, self.start + FIRST_VALIDATION) >= 9 * took and self._stage()[0] == 1
        due = self.num_epochs or last or waited
        if due and len(self.stages) > 1 and self._stage()[0] == 1:
            self._measure_normalisation(train)
        if due and val is not None:
            scores, val_loss = measure(self.model, val, self.device, self.dtype, self.loss_function)
            self._validation = (time.perf_counter(), time.perf_counter() - now)
            if math.isnan(self.history.best_miou) or scores.mean_iou > self.history.best_miou:
                self.best = copy.deepcopy(self.model.state_dict())
        self.history.val_loss.append(val_loss)
        self.history.val_miou.append(scores.mean_iou if scores else math.nan)
        self.history.lr.append(self.optimizer.param_groups[0]["lr"])
        self.history.seconds.append(time.perf_counter() - self.start)

    def _measure_normalisation(self, train: SegmentationDataset) -> None:
        """Batch normalisation's averages, measured anew on images of full size.

        They follow the training slowly, and after a change of the size they are a mixture of both: on nuclei, 20 s of
        training, that alone cost 0.017 mIoU.
        """
        batches = training_batches(train, self.batch_size, self._transform(1.0))
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            update_bn(itertools.islice(batches, -(-NORMALISATION_IMAGES // self.batch_size)), self.model, self.device)

    def save(self, path: str | Path, class_names: Sequence[str]) -> None:
        """Write the last and the best state to `path`."""
        save_checkpoint(
            path,
            self.model,
            class_names=class_names,
            weights=self.best,
            training={
                "last": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "history": asdict(self.history),
                "settings": self._settings(),
            },
        )

    def resume(self, path: str | Path) -> None:
        """Take up the run that `save` wrote to `path`.

        Raises:
            ValueError: the checkpoint holds no run, or one with other settings.
        """
        saved = load_checkpoint(path, map_location=self.device)
        if saved.training is None:
            raise ValueError(f"{path} holds a model but no run to resume. Start anew, or give fit's own checkpoint.")
        theirs, ours = saved.training["settings"], self._settings()
        differing = [
            f"{key}: {theirs.get(key)!r} there, {ours[key]!r} here" for key in ours if theirs.get(key) != ours[key]
        ]
        if differing:
            raise ValueError(f"{path} was made with other settings, so it can't be resumed ({'; '.join(differing)}).")
        self.model.load_state_dict(saved.training["last"])
        self.optimizer.load_state_dict(saved.training["optimizer"])
        self.history = History(**saved.training["history"])
        if self.history.best_epoch is not None:  # without a validation the file holds the last weights there
            self.best = saved.weights
        self.epoch = self.history.epochs
        self.progress = self._progress_at(0.0)

    def _settings(self) -> dict:
        return {
            "num_epochs": self.num_epochs, "seconds": self.seconds, "lr": self.lr, "batch_size": self.batch_size,
            "size": list(self.size) if isinstance(self.size, tuple) else self.size,
            "stages": [list(stage) for stage in self.stages], "seed": self.seed,
        }  # fmt: skip

    def _progress_at(self, share_of_epoch: float) -> float:
        if self.num_epochs:
            return (self.epoch + share_of_epoch) / self.num_epochs
        return (time.perf_counter() - self.start) / self.seconds

    def _stage(self) -> tuple[float, float]:
        """Scale of the images now, and the progress at which that ends."""
        until = 0.0
        for scale, share in self.stages[:-1]:
            until += share
            if self._progress_at(0.0) < until:
                return scale, until
        return 1.0, math.inf

    def _at_scale(self, train: SegmentationDataset, scale: float) -> SegmentationDataset:
        if scale == 1:
            return train
        if scale not in self._resized:
            self._resized[scale] = resize(train, scale)
        return self._resized[scale]

    def _transform(self, scale: float) -> Callable:
        if callable(self.augment):
            return self.augment
        crop = (self.size, self.size) if isinstance(self.size, int) else self.size
        if crop is not None:
            crop = tuple(max(MINIMUM_SIDE, round(side * scale)) for side in crop)
        return augmentation(crop, self.augment)

    def _step(self, images: Tensor, masks: Tensor) -> None:
        warm = min(1.0, self.progress / WARM_UP)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * warm * 0.5 * (1 + math.cos(math.pi * self.progress))
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits = self.model(images)  # (N, num_classes, H, W)
        loss = self.loss_function(logits.float(), masks)
        self.loss = loss.item()
        if not math.isfinite(self.loss):
            raise FloatingPointError(
                f"The loss became {self.loss} at epoch {self.epoch + 1}, step {self.step + 1} "
                f"(lr {self.optimizer.param_groups[0]['lr']:.2g}). Look at: the learning rate (try a tenth), images that "
                "hold NaN or are not in [0, 1], a loss that divides by zero. The model holds the best weights so far."
            )
        loss.backward()
        self.optimizer.step()
        self.step += 1
