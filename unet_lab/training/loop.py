"""`fit`: the loop of lesson 4 with what a real run needs around it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn
from tqdm.auto import tqdm

from unet_lab.data import SegmentationDataset
from unet_lab.devices import choose_device, choose_precision
from unet_lab.losses import CrossEntropyDiceLoss, class_weights
from unet_lab.training.defaults import (
    WHOLE_RUN,
    Stages,
    checked_stages,
    default_batch_size,
    default_size,
    default_stages,
)
from unet_lab.training.history import Callback, History
from unet_lab.training.run import Run

SAVE_SECONDS = 60.0
"""A run by the clock is validated only at full size; what it lost in between must not be more than this."""


def fit(
    model: nn.Module,
    train: SegmentationDataset,
    val: SegmentationDataset | None = None,
    *,
    num_epochs: int | None = None,
    seconds: float | None = None,
    lr: float = 3e-3,
    weight_decay: float = 1e-2,
    batch_size: int | None = None,
    size: tuple[int, int] | int | None = None,
    loss: nn.Module | None = None,
    augment: bool | Callable = True,
    stages: Stages | None = None,
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
        batch_size: images a step; None takes 4 to 16, by the number of images.
        size: random crops of this many pixels, one number or (height, width); None takes whole images where all are of
            one size and not large, else crops with a short side of 128.
        loss: called as ``loss(logits, masks)``; None takes cross-entropy with root-inverse-frequency class weights
            plus Dice.
        augment: mirror and vary the light; or a transform of your own for (`tv_tensors.Image`, `tv_tensors.Mask`).
        stages: (scale, share) pairs, ``((0.5, 0.6), (1, 0.4))`` for example: the first 60 % of the run trains on images
            of half the size, four times as many a second, to learn the outlines of the task before the details. None
            takes quarter, half and full size in a run by the clock, as far as the images are large enough for it, and
            full size alone in a run by epochs or where `augment` is a transform of your own.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        precision: ``"auto"`` takes bfloat16 where the hardware has it, else float32.
        seed: of the order, the crops and the augmentation. The initial weights are the caller's.
        checkpoint: file that holds the last and the best state, written after each validation, and every minute where
            none is due.
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
    batch_size = default_batch_size(train) if batch_size is None else batch_size
    size = default_size(train) if size is None else size
    if stages is None:  # a transform of the caller's own may expect the full size
        stages = WHOLE_RUN if num_epochs or callable(augment) else default_stages(train, size)
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
        batch_size=batch_size, size=size, augment=augment, stages=checked_stages(stages), seed=seed,
    )  # fmt: skip
    if resume is not None:
        run.resume(resume)
    saved = time.perf_counter()
    run.start = saved - (run.history.seconds[-1] if run.history.seconds else 0.0)
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
                validated = val is None or not math.isnan(run.history.val_miou[-1])
                if checkpoint is not None and (validated or time.perf_counter() - saved >= SAVE_SECONDS):
                    run.save(checkpoint, class_names=train.class_names)
                    saved = time.perf_counter()
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
