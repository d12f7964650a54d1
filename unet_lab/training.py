"""Train, evaluate and apply a U-Net: the loop of lesson 4 with what a real run needs around it."""

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
from tqdm.auto import tqdm

from unet_lab import IGNORE_INDEX
from unet_lab.checkpoints import load_checkpoint, save_checkpoint
from unet_lab.data import SegmentationDataset
from unet_lab.data.transforms import MINIMUM_SIDE, augmentation, resize, training_batches
from unet_lab.devices import choose_device, choose_precision
from unet_lab.losses import CrossEntropyDiceLoss, class_weights
from unet_lab.metrics import ConfusionMatrix, SegmentationScores

PIXELS_A_BATCH = 2**19
"""Evaluation takes as many images at once as make up about this many pixels."""

NORMALISATION_IMAGES = 80
"""How many training images batch normalisation measures its averages on, after a change of the image size."""

FIRST_VALIDATION = 30.0
"""Seconds that a run by the clock trains before it is first validated: a short one only at its end."""

WARM_UP = 0.1
"""Share of a run in which the learning rate climbs to its full height."""


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


def fit(
    model: nn.Module,
    train: SegmentationDataset,
    val: SegmentationDataset | None = None,
    *,
    num_epochs: int | None = None,
    seconds: float | None = None,
    lr: float = 3e-3,
    weight_decay: float = 1e-2,
    batch_size: int = 16,
    size: tuple[int, int] | int | None = None,
    loss: nn.Module | None = None,
    augment: bool | Callable = True,
    coarse_share: float = 0.0,
    device: str | torch.device = "auto",
    precision: str = "auto",
    seed: int = 0,
    checkpoint: str | Path | None = None,
    resume: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
) -> History:
    """Train `model` in place: AdamW, a learning rate that warms up and falls along a cosine, channels last.

    Args:
        model: gives logits ``(N, num_classes, H, W)`` for images ``(N, C, H, W)``.
        train: what the weights are fitted to.
        val: measured after an epoch; at the end `model` holds the weights of the best epoch by mIoU.
        num_epochs: passes over `train`. Give this or `seconds`, not both.
        seconds: time for training; the learning rate follows the clock. Validation is held to about a tenth of it,
            and a last one comes after it.
        lr: the highest learning rate of the run.
        weight_decay: AdamW's.
        batch_size: images a step.
        size: random crops of this many pixels, one number or (height, width); None takes whole images.
        loss: called as ``loss(logits, masks)``; None takes cross-entropy with root-inverse-frequency class weights
            plus Dice.
        augment: mirror and vary the light; or a transform of your own for (`tv_tensors.Image`, `tv_tensors.Mask`).
        coarse_share: share of the run, at its start, that trains on images of half the size: four times as many a
            second, to learn the outlines of the task before the details.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        precision: ``"auto"`` takes bfloat16 where the hardware has it, else float32.
        seed: of the order, the crops and the augmentation. The initial weights are the caller's.
        checkpoint: file that holds the last and the best state, written after each validation.
        resume: a checkpoint to go on from; with `num_epochs` the numbers are those of an uninterrupted run.
        callbacks: see `Callback`.
        progress: show a progress bar.

    Ctrl-C ends the run early and keeps the best weights so far.

    Raises:
        ValueError: arguments that don't fit together.
        FloatingPointError: the loss became NaN or infinite; the model then holds the best weights so far.
    """
    if (num_epochs is None) == (seconds is None):
        raise ValueError(f"fit expects num_epochs or seconds, one of the two; got {num_epochs} and {seconds}.")
    if not (seconds if num_epochs is None else num_epochs) > 0:
        raise ValueError(f"fit expects a budget above 0; got num_epochs={num_epochs}, seconds={seconds}.")
    if len(train) == 0:
        raise ValueError("fit expects at least one training image; got an empty data set.")
    device = choose_device(device)
    model.to(device=device, memory_format=torch.channels_last)
    if loss is None:
        loss = CrossEntropyDiceLoss(class_weights(train.class_pixels(), power=0.5))
    # the fused optimizer updates all weights in one pass, where torch has it
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=lr, weight_decay=weight_decay, fused=device.type in ("cpu", "cuda")
    )
    run = Run(
        model=model, loss_function=loss.to(device), optimizer=optimizer, device=device,
        dtype=choose_precision(precision, device), num_epochs=num_epochs, seconds=seconds, lr=lr,
        batch_size=batch_size, size=size, augment=augment, coarse_share=coarse_share, seed=seed,
    )  # fmt: skip
    if resume is not None:
        run.resume(resume)
    run.start = time.perf_counter() - (run.history.seconds[-1] if run.history.seconds else 0.0)
    bar = tqdm(total=100, disable=not progress, bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}")
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            while run.progress < 1 and not run.stop:
                for _ in run.train_epoch(train):
                    bar.n = 100 * run.progress
                    best = "" if math.isnan(run.history.best_miou) else f"  best mIoU {run.history.best_miou:.3f}"
                    bar.set_description(f"epoch {run.epoch + 1}  loss {run.loss:.3f}{best}")
                    for callback in callbacks:
                        callback.after_step(run)
                run.finish_epoch(train, val)
                if checkpoint is not None and not math.isnan(run.history.val_miou[-1] if val else 0.0):
                    run.save(checkpoint, class_names=train.class_names)
                for callback in callbacks:
                    callback.after_epoch(run)
    except KeyboardInterrupt:
        run.stop = True
    finally:
        bar.close()
        if run.best is not None:
            model.load_state_dict(run.best)
    run.history.stopped = "interrupted" if run.stop else "finished"
    return run.history


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
    coarse_share: float
    seed: int
    history: History = field(default_factory=History)
    epoch: int = 0
    step: int = 0
    loss: float = math.nan
    progress: float = 0.0
    stop: bool = False
    best: dict | None = None
    start: float = field(default_factory=time.perf_counter)
    _half: SegmentationDataset | None = None
    _validation: tuple[float, float] = (-math.inf, 0.0)  # when the last one ended, how long it took

    def train_epoch(self, train: SegmentationDataset) -> Iterator[None]:
        """One pass over `train`, a step at a time. A run by the clock ends in the middle of a pass."""
        # each epoch is seeded by its number, so a resumed run draws what the uninterrupted one would have drawn
        torch.manual_seed(self.seed * 1_000_003 + self.epoch)
        coarse = self._progress_at(0.0) < self.coarse_share
        if coarse and self._half is None:
            self._half = resize(train, 0.5)
        data = self._half if coarse else train
        batches = -(-len(data) // self.batch_size)
        self.model.train()
        sum_loss, sum_pixels, start = 0.0, 0, time.perf_counter()
        for index, (images, masks) in enumerate(training_batches(data, self.batch_size, self._transform(coarse))):
            self.progress = self._progress_at(index / batches)
            if self.progress >= 1:
                break
            self._step(images.to(self.device), masks.to(self.device))
            pixels = int((masks != IGNORE_INDEX).sum())
            sum_loss, sum_pixels = sum_loss + self.loss * pixels, sum_pixels + pixels
            self.history.images += len(images)
            yield
            if self.stop or (coarse and self.seconds and self._progress_at(0.0) >= self.coarse_share):
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
        due = self.num_epochs or last or now - max(ended, self.start + FIRST_VALIDATION) >= 9 * took
        if due and self.coarse_share and self.progress > self.coarse_share:
            self._measure_normalisation(train)
        if due and val is not None:
            scores, val_loss = _evaluate(self.model, val, self.device, self.dtype, self.loss_function)
            self._validation = (time.perf_counter(), time.perf_counter() - now)
            if math.isnan(self.history.best_miou) or scores.mean_iou > self.history.best_miou:
                self.best = copy.deepcopy(self.model.state_dict())
        self.history.val_loss.append(val_loss)
        self.history.val_miou.append(scores.mean_iou if scores else math.nan)
        self.history.lr.append(self.optimizer.param_groups[0]["lr"])
        self.history.seconds.append(time.perf_counter() - self.start)

    def _measure_normalisation(self, train: SegmentationDataset) -> None:
        """Batch normalisation's averages, measured anew on images of full size.

        They follow the training slowly, and after the change from half the size they are a mixture of both sizes: on
        nuclei, 20 s of training, that alone cost 0.017 mIoU.
        """
        batches = training_batches(train, self.batch_size, self._transform(coarse=False))
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
        self.best = saved.weights
        self.epoch = self.history.epochs
        self.progress = self._progress_at(0.0)

    def _settings(self) -> dict:
        return {
            "num_epochs": self.num_epochs, "seconds": self.seconds, "lr": self.lr, "batch_size": self.batch_size,
            "size": list(self.size) if isinstance(self.size, tuple) else self.size,
            "coarse_share": self.coarse_share, "seed": self.seed,
        }  # fmt: skip

    def _progress_at(self, share_of_epoch: float) -> float:
        if self.num_epochs:
            return (self.epoch + share_of_epoch) / self.num_epochs
        return (time.perf_counter() - self.start) / self.seconds

    def _transform(self, coarse: bool) -> Callable:
        if callable(self.augment):
            return self.augment
        crop = (self.size, self.size) if isinstance(self.size, int) else self.size
        if crop is not None and coarse:
            crop = (max(MINIMUM_SIDE, crop[0] // 2), max(MINIMUM_SIDE, crop[1] // 2))
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


def evaluate(
    model: nn.Module, dataset: SegmentationDataset, *, device: str | torch.device = "auto"
) -> SegmentationScores:
    """The scores of `model` on whole images: one confusion matrix over the data set.

    The model's mode is left as it was.
    """
    device = choose_device(device)
    return _evaluate(model.to(device), dataset, device, torch.float32)[0]


def predict(model: nn.Module, images: Tensor | Sequence[Tensor], *, device: str | torch.device = "auto"):
    """Class ids for whole images of any size.

    Args:
        model: gives logits ``(N, num_classes, H, W)``; with one logit a pixel, above 0 is class 1.
        images: one image ``(C, H, W)``, a batch ``(N, C, H, W)``, or a list of images of any sizes; float in [0, 1],
            or uint8.

    Returns:
        int64 on the CPU: ``(H, W)``, ``(N, H, W)``, or a list of ``(H, W)``, as the images came.
    """
    if isinstance(images, Tensor) and images.ndim == 3:
        return predict(model, images[None], device=device)[0]
    device = choose_device(device)
    if isinstance(images, Tensor) and images.ndim != 4:
        raise ValueError(f"predict expects images (C, H, W) or (N, C, H, W); got {tuple(images.shape)}.")
    found = [None] * len(images)
    for indices, batch in _same_size_batches(images):
        preds = classes_of(_logits(model.to(device), batch, device, torch.float32)).cpu()
        for index, pred in zip(indices, preds, strict=True):
            found[index] = pred
    return torch.stack(found) if isinstance(images, Tensor) else found


def classes_of(logits: Tensor) -> Tensor:
    """``(N, C, H, W)`` logits → ``(N, H, W)`` int64 class ids: argmax, or logit > 0 where there is a single one."""
    # max gives the same indices as argmax and is several times faster over a strided dimension on the CPU
    return logits.max(dim=1).indices if logits.shape[1] > 1 else (logits[:, 0] > 0).long()


@torch.no_grad()
def _evaluate(
    model: nn.Module,
    dataset: SegmentationDataset,
    device: torch.device,
    dtype: torch.dtype,
    loss_function: nn.Module | None = None,
) -> tuple[SegmentationScores, float]:
    matrix = ConfusionMatrix(dataset.num_classes)
    sum_loss, sum_pixels = 0.0, 0
    for indices, images in _same_size_batches(dataset.images):
        logits = _logits(model, images, device, dtype)
        masks = torch.stack([dataset.masks[index] for index in indices]).long().to(device)
        matrix.update(classes_of(logits), masks)
        if loss_function is not None:
            pixels = int((masks != IGNORE_INDEX).sum())
            sum_loss, sum_pixels = sum_loss + loss_function(logits, masks).item() * pixels, sum_pixels + pixels
    return matrix.scores(dataset.class_names), sum_loss / sum_pixels if sum_pixels else math.nan


@torch.no_grad()
def _logits(model: nn.Module, images: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """float32 logits in evaluation mode; the mode of each module is put back afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    images = images.to(device, memory_format=torch.channels_last)
    images = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    try:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return model(images).float()
    finally:
        for module, training in modes.items():
            module.training = training


def _same_size_batches(images: Tensor | Sequence[Tensor]) -> Iterator[tuple[list[int], Tensor]]:
    """Indices and stacked images ``(N, C, H, W)``, equal sizes together, each batch within `PIXELS_A_BATCH`."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for index, image in enumerate(images):
        by_size.setdefault(tuple(image.shape), []).append(index)
    for (_, height, width), indices in by_size.items():
        count = max(1, PIXELS_A_BATCH // (height * width))
        for first in range(0, len(indices), count):
            chosen = indices[first : first + count]
            yield chosen, torch.stack([images[index] for index in chosen])
