"""Pixels: one confusion matrix, and what is read off it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from unet_lab.metrics.ids import Ids, as_ids, as_table, as_text, check_same_shape

_BYTE_IDS = 256


class ConfusionMatrix:
    """Counts of (true class, predicted class) over every pixel it is shown.

    `counts` is an int64 (num_classes, num_classes) CPU tensor, rows = truth, columns = prediction. Pixels whose truth
    is `ignore_index` (void) are not counted, whatever the prediction there.

    >>> matrix = ConfusionMatrix(num_classes=3)
    >>> matrix.update(preds=torch.tensor([0, 0, 1, 0, 2]), masks=torch.tensor([0, 0, 1, 1, 255]))
    >>> matrix.counts
    tensor([[2, 0, 0],
            [1, 1, 0],
            [0, 0, 0]])
    >>> print(matrix.scores(("sky", "road", "car")))
    class    IoU   Dice
    sky    0.667  0.800
    road   0.500  0.667
    car        -      -
    mean   0.583  0.733
    pixel accuracy 0.750 over 4 pixels
    """

    def __init__(self, num_classes: int, ignore_index: int = 255) -> None:
        if num_classes < 1:
            raise ValueError(f"num_classes must be 1 or more; got {num_classes}.")
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.reset()

    def reset(self) -> None:
        self.counts = torch.zeros(self.num_classes, self.num_classes, dtype=torch.int64)

    def update(self, preds: Ids, masks: Ids) -> None:
        """Add the pixels of preds and masks: class ids, integers of any type, of any shape as long as it is the same.

        Raises:
            TypeError: not integers (logits, probabilities), or neither tensor nor array.
            ValueError: shapes differ, or an id is neither a class nor, in masks, void. Nothing has been counted then.
        """
        preds, masks = as_ids(preds, "preds"), as_ids(masks, "masks")
        check_same_shape(preds, masks)
        if preds.device != masks.device:
            preds, masks = preds.cpu(), masks.cpu()

        # Ids that fit a byte, as nearly all do, are counted as they come, void and wrong ones included, and judged in
        # the small table: selecting the valid pixels first takes ten times as long as counting them.
        side = max(self.num_classes, _BYTE_IDS)
        if not (_all_within(preds, side) and _all_within(masks, side)):
            counted = masks != self.ignore_index
            preds, masks = preds[counted], masks[counted]
            self._refuse_other_ids(masks, "masks")
            self._refuse_other_ids(preds, "preds")
        pairs = torch.add(preds, masks, alpha=side).flatten()  # preds + side * masks
        table = torch.bincount(pairs, minlength=side * side).view(side, side).cpu()  # rows = truth
        if 0 <= self.ignore_index < side:
            table[self.ignore_index] = 0
        ids = table.nonzero()
        self._refuse_other_ids(ids[:, 0], "masks")
        self._refuse_other_ids(ids[:, 1], "preds")
        self.counts += table[: self.num_classes, : self.num_classes]

    def merge(self, other: ConfusionMatrix) -> None:
        """Add the counts of another matrix (another process, another part of the data set)."""
        if (other.num_classes, other.ignore_index) != (self.num_classes, self.ignore_index):
            raise ValueError(
                f"Only alike matrices merge; this one has num_classes={self.num_classes}, ignore_index="
                f"{self.ignore_index}, the other {other.num_classes} and {other.ignore_index}."
            )
        self.counts += other.counts

    def scores(self, class_names: Sequence[str] | None = None) -> SegmentationScores:
        """The scores of the counts so far. Without names the classes are called by their ids."""
        names = tuple(class_names) if class_names is not None else tuple(map(str, range(self.num_classes)))
        if len(names) != self.num_classes:
            raise ValueError(f"class_names must be {self.num_classes} names, one a class; got {len(names)}: {names}.")
        iou, dice = iou_per_class(self.counts), dice_per_class(self.counts)
        return SegmentationScores(
            class_names=names,
            iou=tuple(iou.tolist()),
            dice=tuple(dice.tolist()),
            mean_iou=iou.nanmean().item(),
            mean_dice=dice.nanmean().item(),
            pixel_accuracy=pixel_accuracy(self.counts),
            pixels=int(self.counts.sum()),
        )

    def _refuse_other_ids(self, ids: Tensor, name: str) -> None:
        wrong = ids[(ids < 0) | (ids >= self.num_classes)]
        if wrong.numel():
            bad = int(wrong[0])
            mend = f"Void? Pass ignore_index={bad}." if name == "masks" else "A prediction is never void."
            more = "" if bad < 0 else f" A class? Pass num_classes={bad + 1} or more."
            raise ValueError(
                f"{name} hold the id {bad}; the classes are 0..{self.num_classes - 1} and void, in masks, is "
                f"{self.ignore_index}. {mend}{more}"
            )


@dataclass(frozen=True)
class SegmentationScores:
    """Scores in [0, 1], NaN where there is nothing to score. `print` it for a table."""

    class_names: tuple[str, ...]
    iou: tuple[float, ...]
    """TP / (TP + FP + FN) of each class; NaN for a class in neither truth nor prediction."""
    dice: tuple[float, ...]
    """2 TP / (2 TP + FP + FN) of each class, of hard predictions; NaN as for iou."""
    mean_iou: float
    """Mean of iou over the classes that have one."""
    mean_dice: float
    """Mean of dice over the classes that have one."""
    pixel_accuracy: float
    """Share of the counted pixels that are right."""
    pixels: int
    """Number of pixels counted, void ones not among them."""

    def as_dict(self) -> dict:
        """Plain Python types: str, int, float, and lists of them."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def __str__(self) -> str:
        rows = [("class", "IoU", "Dice"), *zip(self.class_names, self.iou, self.dice, strict=True)]
        table = as_table([*rows, ("mean", self.mean_iou, self.mean_dice)])
        return f"{table}\npixel accuracy {as_text(self.pixel_accuracy)} over {self.pixels:,} pixels"


def iou_per_class(counts: Tensor | np.ndarray) -> Tensor:
    """IoU = TP / (TP + FP + FN) of each class, (C,) float64, from counts (C, C) with rows = truth. NaN where 0 / 0.

    >>> iou_per_class(torch.tensor([[2, 0, 0], [1, 1, 0], [0, 0, 0]]))
    tensor([0.6667, 0.5000,    nan], dtype=torch.float64)
    """
    true_positives, union = _overlap_and_union(counts)
    return true_positives / union


def dice_per_class(counts: Tensor | np.ndarray) -> Tensor:
    """Dice = 2 TP / (2 TP + FP + FN) of each class, (C,) float64, as `iou_per_class`. Dice = 2 IoU / (1 + IoU)."""
    true_positives, union = _overlap_and_union(counts)
    return 2 * true_positives / (true_positives + union)


def mean_iou(counts: Tensor | np.ndarray) -> float:
    """mIoU: the mean of `iou_per_class` over the classes that occur in truth or prediction. NaN if none does."""
    return iou_per_class(counts).nanmean().item()


def pixel_accuracy(counts: Tensor | np.ndarray) -> float:
    """Share of the pixels of counts (C, C) that are on the diagonal. NaN if there are no pixels."""
    counts = _as_counts(counts)
    return (counts.diagonal().sum() / counts.sum()).item()


def mean_iou_per_image(preds: Ids, masks: Ids, num_classes: int, ignore_index: int = 255) -> float:
    """The mean over images (N, H, W) of each image's own mIoU. It is not the data set's mIoU, and no substitute for it.

    A class that an image lacks is left out of that image, so a rare class weighs little and a single false pixel of it,
    in an image without it, costs that image a full class. Images that are all void are left out.

    >>> masks = torch.tensor([[[0, 1, 1, 1]], [[0, 0, 0, 1]]])     # (2, 1, 4)
    >>> preds = torch.tensor([[[0, 1, 1, 1]], [[0, 0, 0, 0]]])
    >>> mean_iou_per_image(preds, masks, num_classes=2)     # ((1 + 1) / 2 + (3/4 + 0) / 2) / 2
    0.6875
    >>> matrix = ConfusionMatrix(num_classes=2)
    >>> matrix.update(preds, masks)
    >>> mean_iou(matrix.counts)     # (4/5 + 3/4) / 2
    0.775
    """
    preds, masks = as_ids(preds, "preds"), as_ids(masks, "masks")
    check_same_shape(preds, masks)
    if masks.ndim != 3:
        raise ValueError(f"masks must have shape (N, H, W), one for each image; got {tuple(masks.shape)}.")
    each = []
    for image_preds, image_masks in zip(preds, masks, strict=True):
        matrix = ConfusionMatrix(num_classes, ignore_index)
        matrix.update(image_preds, image_masks)
        each.append(mean_iou(matrix.counts))
    return torch.tensor(each, dtype=torch.float64).nanmean().item()


def _all_within(ids: Tensor, side: int) -> bool:
    if ids.numel() == 0:
        return True
    lowest, highest = ids.aminmax()
    return lowest.item() >= 0 and highest.item() < side


def _as_counts(counts: Tensor | np.ndarray) -> Tensor:
    counts = torch.as_tensor(counts).cpu()
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(
            f"counts must be a confusion matrix (C, C), rows = truth; got shape {tuple(counts.shape)}. "
            "Class ids? Count them first, with ConfusionMatrix."
        )
    return counts.double()


def _overlap_and_union(counts: Tensor | np.ndarray) -> tuple[Tensor, Tensor]:
    """TP and TP + FP + FN of each class, (C,) float64, in which every count below 2⁵³ is exact."""
    counts = _as_counts(counts)
    true_positives = counts.diagonal()
    return true_positives, counts.sum(dim=0) + counts.sum(dim=1) - true_positives
