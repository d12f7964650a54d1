"""Task 7: three trainings with a mistake each, to be told apart by their curves and masks.

Everything is trained live, in the same way but for the one mistake: a U-Net of 8 base channels on 64 scenes of
48 × 64 pixels, six epochs, and a healthy run beside. Which three mistakes a learner gets follows from their seed. The
runs themselves carry letters only.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unet_lab import IGNORE_INDEX
from unet_lab.data import SegmentationDataset
from unet_lab.data.scenes import CLASS_NAMES, load
from unet_lab.metrics import ConfusionMatrix
from unet_lab.models import UNet
from unet_lab.plots import LessonFigure, panels, plot_mask
from unet_lab.plots.charts import LINE_STYLES, MARKERS, curve, numbers
from unet_lab.plots.colours import LINE_COLOURS
from unet_lab.plots.figure import in_style
from unet_lab.plots.regions import class_patches

LETTERS = ("A", "B", "C")
HEALTHY = "healthy"

SIZE, TRAIN, VAL = (48, 64), 64, 32
EPOCHS, BATCH_SIZE, LR, WARM_UP = 6, 4, 1e-2, 0.1
SHOWN = 4
"""Scenes whose masks are shown."""

LOSSES, VALIDATION_LOSSES = (0.0, 2.5), (0.3, 100.0)
"""Ends of the axes; that of the validation loss is logarithmic. What lies above is drawn at the upper end."""


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def _few(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Two scenes again and again, so that there are as many steps as in the other runs."""
    again = torch.arange(len(images)) % 2
    return images[again], masks[again]


def _swapped(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    road, grass = CLASS_NAMES.index("road"), CLASS_NAMES.index("grass")
    other = masks.clone()
    other[masks == road], other[masks == grass] = grass, road
    return images, other


def _of_other_images(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    return images, masks[torch.randperm(len(masks))]


def _cross_entropy(logits: Tensor, masks: Tensor) -> Tensor:
    return F.cross_entropy(logits, masks, ignore_index=IGNORE_INDEX)


@dataclass(frozen=True)
class _Recipe:
    """How a run is made: the right way, but for what a mistake changes."""

    lr: float = LR
    pairs: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = lambda images, masks: (images, masks)  # once an epoch
    validation_images: Callable[[Tensor], Tensor] = _as_it_is
    loss: Callable[[Tensor, Tensor], Tensor] = _cross_entropy
    zero_grad: bool = True
    step_first: bool = False
    seen_as: str = ""  # what the mistake looks like


_RECIPES = {
    "learning rate far too high": _Recipe(
        lr=30.0,
        seen_as="its first steps throw the weights far away: both losses start far above the cost of guessing and hardly "
        "come below it, and the masks show next to nothing of the scene.",
    ),
    "learning rate far too low": _Recipe(
        lr=LR / 100,
        seen_as="the training loss falls in every epoch, but so slowly that after six of them it has hardly left the "
        "cost of guessing, and the masks are still near to noise.",
    ),
    "step before backward": _Recipe(
        step_first=True,
        seen_as="no weight ever moves: the training loss is a flat line at the cost of guessing, and the masks are noise.",
    ),
    "masks belong to other images": _Recipe(
        pairs=_of_other_images,
        seen_as="the training loss falls at first and then rests high, and all masks look alike: sky above, road below, "
        "and none of the things that differ from scene to scene.",
    ),
    "trained on two scenes only": _Recipe(
        pairs=_few,
        seen_as="the training loss falls lower than the healthy one, while the loss on other scenes stays far above it: "
        "the network learns by heart.",
    ),
    "softmax twice": _Recipe(
        loss=lambda logits, masks: _cross_entropy(logits.softmax(dim=1), masks),
        seen_as="the training and the validation loss can't fall below 1.17, however right the masks are: a second softmax "
        "makes the surest answer a doubtful one.",
    ),
    "two classes swapped in the training masks": _Recipe(
        pairs=_swapped,
        seen_as="the training loss falls as in the healthy run, but the validation loss stays near the cost of "
        "guessing or above it, and in the masks two classes have each other's places.",
    ),
    "validation images not scaled to [0, 1]": _Recipe(
        validation_images=lambda images: images * 255,
        seen_as="the training loss is the healthy one to the last digit, while the validation loss is enormous to the "
        "end: only what the network is validated on is wrong.",
    ),
    "no zero_grad": _Recipe(
        zero_grad=False,
        seen_as="gradients pile up: the training loss falls, but slower than the healthy one and not in every epoch, and "
        "the validation loss jumps up and down.",
    ),
}

CHOICES = tuple(_RECIPES)
"""The mistakes to choose from, three of which made a learner's broken runs."""


def looks_like(mistake: str) -> str:
    """What a mistake of `CHOICES` looks like, for the learner who named it by error."""
    return _RECIPES[mistake].seen_as


def mistakes_of(seed: int) -> dict[str, str]:
    """Which mistake made which of a learner's runs, letter -> mistake."""

    def place(mistake: str) -> bytes:
        return hashlib.sha256(f"{seed} {mistake}".encode()).digest()

    return dict(zip(LETTERS, sorted(CHOICES, key=place), strict=False))


@dataclass(frozen=True, eq=False)
class Run:
    """What a run shows of itself: one number an epoch in each list, and its masks of four validation scenes.

    Attributes:
        train_loss: mean over the epoch, as the run's own loop has it.
        val_loss: the run's own loss on validation scenes.
        val_miou: mIoU on validation scenes.
        preds: (4, H, W) int64 class ids.
    """

    train_loss: list[float]
    val_loss: list[float]
    val_miou: list[float]
    preds: Tensor


class BrokenRuns:
    """A healthy run and three broken ones, A, B and C.

    Attributes:
        runs: name -> `Run`, "healthy" first.
    """

    def __init__(self, runs: dict[str, Run], scenes: SegmentationDataset) -> None:
        self.runs, self._scenes = runs, scenes

    def __repr__(self) -> str:
        lines = [f"{'run':8} {'training loss':17} {'validation loss':19} mIoU"]
        for name, run in self.runs.items():
            first, last = (f"{run.train_loss[i]:7.2f}" for i in (0, -1))
            val_first, val_last = (f"{run.val_loss[i]:8.3g}" for i in (0, -1))
            lines.append(f"{name:8} {first} → {last} {val_first} → {val_last}   {run.val_miou[-1]:.2f}")
        return "\n".join(lines)

    @in_style
    def curves(self) -> LessonFigure:
        """One row a broken run: training loss, validation loss and mIoU, with the healthy run in grey."""
        figure, axes = panels(3, len(LETTERS), panel_size=(3.0, 1.9))
        healthy = {"color": "0.6", "linestyle": "-", "marker": ""}
        titles = ("training loss", "validation loss", "validation mIoU")
        for row, letter in enumerate(LETTERS):
            look = {"color": LINE_COLOURS[row], "linestyle": LINE_STYLES[row], "marker": MARKERS[row]}
            for column, limits in enumerate((LOSSES, VALIDATION_LOSSES, (0.0, 1.0))):
                ax = axes[3 * row + column]
                ax.set(ylim=limits, xlim=(0.8, EPOCHS + 0.2), yscale="log" if column == 1 else "linear")
                for name, style in ((HEALTHY, healthy), (letter, look)):
                    run = self.runs[name]
                    values = numbers((run.train_loss, run.val_loss, run.val_miou)[column])
                    curve(ax, np.nan_to_num(values, nan=limits[1]).clip(max=limits[1]), name, style)
                if column < 2:
                    guess = math.log(len(CLASS_NAMES))
                    ax.axhline(guess, color="0.3", linewidth=0.8, linestyle=":")
                    beside = {"transform": ax.get_yaxis_transform(), "va": "center", "fontsize": "small"}
                    ax.text(1.02, guess, f"ln {len(CLASS_NAMES)}", **beside)
                ax.grid(axis="y")
                ax.set(title=titles[column] if row == 0 else "", xlabel="epoch" if letter == LETTERS[-1] else "")
            axes[3 * row].set_ylabel(f"run {letter}")
            axes[3 * row + 2].legend(loc="upper left")
        figure.alt_text = f"Learning curves of three broken runs beside a healthy one. {self!r}".replace("\n", "; ")
        return figure

    @in_style
    def masks(self) -> LessonFigure:
        """Four validation scenes: the image, the truth, and what each run made of it."""
        scenes = self._scenes
        rows = {"image": None, "truth": scenes.masks, **{name: run.preds for name, run in self.runs.items()}}
        figure, axes = panels(SHOWN, len(rows), panel_size=(2.2, 1.72))
        for row, (name, masks) in enumerate(rows.items()):
            for column in range(SHOWN):
                ax = axes[SHOWN * row + column]
                if masks is None:
                    ax.imshow(scenes.images[column].permute(1, 2, 0).numpy())
                    ax.set(xticks=[], yticks=[])
                else:
                    plot_mask(ax, masks[column], scenes.class_names, scenes.colours, legend=False)
            axes[SHOWN * row].set_ylabel(name if masks is None or name in ("truth", HEALTHY) else f"run {name}")
        patches = class_patches(scenes.class_names, scenes.colours, range(scenes.num_classes), void=True)
        figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), columnspacing=1.2)
        names = ", ".join(scenes.class_names)
        figure.alt_text = f"Masks of four scenes: the truth, a healthy run and three broken ones. Classes: {names}."
        return figure


@dataclass(frozen=True)
class Diagnosis:
    """A learner's answers, letter -> mistake, and the seed that says which runs they are about."""

    seed: int
    answers: dict[str, str]


def train_broken_runs(seed: int) -> BrokenRuns:
    """The four runs of a seed; they leave torch's random state as they found it."""
    splits = load(seed=seed, size=SIZE, train=TRAIN, val=VAL, test=1)
    recipes = {HEALTHY: _Recipe()} | {letter: _RECIPES[mistake] for letter, mistake in mistakes_of(seed).items()}
    with torch.random.fork_rng(devices=[]):
        runs = {name: _train(recipe, splits.train, splits.val, seed) for name, recipe in recipes.items()}
    return BrokenRuns(runs, splits.val.subset(range(SHOWN)))


def _train(recipe: _Recipe, train: SegmentationDataset, val: SegmentationDataset, seed: int) -> Run:
    torch.manual_seed(seed)
    model = UNet(num_classes=train.num_classes, base_channels=8).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr)
    images, masks = train.images.float() / 255, train.masks.long()
    orders = [torch.randperm(len(images)) for _ in range(EPOCHS)]  # all runs see the same scenes in the same order
    run = Run([], [], [], torch.empty(0))
    for epoch, order in enumerate(orders):
        model.train()
        losses = []
        epoch_images, epoch_masks = recipe.pairs(images, masks)
        for number, some in enumerate(order.split(BATCH_SIZE)):
            share = (epoch + number * BATCH_SIZE / TRAIN) / EPOCHS
            warm_up = min(1.0, (share + 0.01) / WARM_UP)
            optimizer.param_groups[0]["lr"] = recipe.lr * warm_up * (1 + math.cos(math.pi * share)) / 2
            losses.append(_step(recipe, model, optimizer, epoch_images[some], epoch_masks[some]))
        run.train_loss.append(sum(losses) / len(losses))
        val_loss, miou, preds = _validate(recipe, model, val)
        run.val_loss.append(val_loss)
        run.val_miou.append(miou)
    return Run(run.train_loss, run.val_loss, run.val_miou, preds[:SHOWN])


def _step(recipe: _Recipe, model: UNet, optimizer: torch.optim.Optimizer, images: Tensor, masks: Tensor) -> float:
    if recipe.zero_grad:
        optimizer.zero_grad()
    loss = recipe.loss(model(images.contiguous(memory_format=torch.channels_last)), masks)
    if recipe.step_first:
        optimizer.step()
        loss.backward()
    else:
        loss.backward()
        optimizer.step()
    return loss.item()


@torch.no_grad()
def _validate(recipe: _Recipe, model: UNet, val: SegmentationDataset) -> tuple[float, float, Tensor]:
    model.eval()
    logits = model(recipe.validation_images(val.images.float() / 255))
    preds, masks = logits.argmax(dim=1), val.masks.long()
    matrix = ConfusionMatrix(val.num_classes)
    matrix.update(preds, masks)
    return recipe.loss(logits, masks).item(), matrix.scores().mean_iou, preds
