"""Metrics for segmentation: counts first, then pure functions of the counts.

`ConfusionMatrix` counts pixels over a whole data set, in int64; IoU, Dice and accuracy are read off the counts at the
end. `panoptic_quality` counts segments. Everything takes class ids or panoptic ids, never logits, as torch tensors on
any device or as numpy arrays. A class that occurs in neither truth nor prediction has no score: NaN, left out of the
mean.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

Ids = Tensor | np.ndarray

_BYTE_IDS = 256
_INSTANCES = 1000  # panoptic id = class_id * 1000 + instance


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
        preds, masks = _as_ids(preds, "preds"), _as_ids(masks, "masks")
        _check_same_shape(preds, masks)
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
        table = _table([*rows, ("mean", self.mean_iou, self.mean_dice)])
        return f"{table}\npixel accuracy {_number(self.pixel_accuracy)} over {self.pixels:,} pixels"


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
    preds, masks = _as_ids(preds, "preds"), _as_ids(masks, "masks")
    _check_same_shape(preds, masks)
    if masks.ndim != 3:
        raise ValueError(f"masks must have shape (N, H, W), one for each image; got {tuple(masks.shape)}.")
    each = []
    for image_preds, image_masks in zip(preds, masks, strict=True):
        matrix = ConfusionMatrix(num_classes, ignore_index)
        matrix.update(image_preds, image_masks)
        each.append(mean_iou(matrix.counts))
    return torch.tensor(each, dtype=torch.float64).nanmean().item()


@dataclass(frozen=True)
class ClassPanopticQuality:
    """Panoptic quality of one class over the data set; counts are numbers of segments."""

    class_id: int
    name: str
    pq: float
    """sq * rq; NaN for a class with no segment at all, as sq and rq."""
    sq: float
    """Segmentation quality: the mean IoU of the matched segments; 0 if none is matched."""
    rq: float
    """Recognition quality: TP / (TP + FP / 2 + FN / 2)."""
    true_positives: int
    false_positives: int
    false_negatives: int


@dataclass(frozen=True)
class PanopticQuality:
    """Panoptic quality in [0, 1]. `print` it for a table."""

    pq: float
    """Mean of the classes' pq, over the classes that occur; NaN if none does."""
    sq: float
    """Mean of the classes' sq. (pq is not sq * rq here: a mean of products is not the product of means.)"""
    rq: float
    """Mean of the classes' rq."""
    per_class: tuple[ClassPanopticQuality, ...]
    """One entry for each of class_names, or, without names, for each class that occurs."""
    pq_things: float | None = None
    """pq over the thing classes alone; None unless things was given."""
    pq_stuff: float | None = None
    """pq over the other classes; None unless things was given."""

    def as_dict(self) -> dict:
        """Plain Python types: str, int, float, None, dict and list."""
        return {**asdict(self), "per_class": [asdict(entry) for entry in self.per_class]}

    def __str__(self) -> str:
        rows = [("class", "PQ", "SQ", "RQ", "TP", "FP", "FN")]
        for entry in self.per_class:
            counts = entry.true_positives, entry.false_positives, entry.false_negatives
            rows.append((entry.name, entry.pq, entry.sq, entry.rq, *counts))
        rows.append(("mean", self.pq, self.sq, self.rq, "", "", ""))
        if self.pq_things is not None:
            rows.append(("things", self.pq_things, "", "", "", "", ""))
            rows.append(("stuff", self.pq_stuff, "", "", "", "", ""))
        return _table(rows)


def panoptic_quality(
    preds: Ids,
    truth: Ids,
    *,
    class_names: Sequence[str] | None = None,
    void_class: int = 255,
    things: Collection[int | str] | None = None,
) -> PanopticQuality:
    """Panoptic quality of panoptic maps (H, W) or (N, H, W) with ids `class_id * 1000 + instance`.

    In each image, a predicted and a true segment of the same class match if their IoU is above 0.5, which no two
    predictions can reach on one true segment. Matches (TP), unmatched predictions (FP) and unmatched truths (FN) are
    added up over all images, and for each class PQ = (Σ IoU of the matches) / (TP + FP / 2 + FN / 2). Pixels that are
    void in the truth count in no IoU, and an unmatched prediction with more than half of its pixels there is no FP.
    Pixels predicted void belong to no predicted segment.

    Args:
        preds, truth: integers of the same shape.
        class_names: names of classes 0, 1, ...; without them, classes are called by their ids.
        void_class: the class of void pixels, whatever their instance number.
        things: ids, or names, of the classes with instances. With it the result has pq_things and pq_stuff, and
            instance numbers of the other classes (stuff) are disregarded: all of a stuff class is one segment.

    Raises:
        TypeError: not integers.
        ValueError: shapes differ, a negative id, or a class that class_names lacks.

    Source: Kirillov et al. 2019, "Panoptic Segmentation", section 4.

    A row of 10 pixels: sky (class 0), then two cars (class 1). The prediction finds the first car, at IoU 3/4, and
    takes half of the second for sky, which leaves it at IoU 2/4: not above 0.5, no match. It says sky on 5 pixels, of
    which 2 are right: IoU 2/5, no match either.

    >>> truth = torch.tensor([[0, 0, 1001, 1001, 1001, 1001, 1002, 1002, 1002, 1002]])
    >>> preds = torch.tensor([[0, 0, 0, 1001, 1001, 1001, 1002, 1002, 0, 0]])
    >>> print(panoptic_quality(preds, truth, class_names=("sky", "car")))
    class     PQ     SQ     RQ     TP     FP     FN
    sky    0.000  0.000  0.000      0      1      1
    car    0.375  0.750  0.500      1      1      1
    mean   0.188  0.375  0.250
    """
    preds, truth = _as_ids(preds, "preds"), _as_ids(truth, "truth")
    _check_same_shape(preds, truth, "truth")
    if truth.ndim not in (2, 3):
        raise ValueError(f"truth must have shape (H, W) or (N, H, W); got {tuple(truth.shape)}.")
    preds, truth = (ids.cpu().numpy() for ids in (preds, truth))
    if truth.ndim == 2:
        preds, truth = preds[None], truth[None]  # (1, H, W)

    classes = sorted(
        _classes_in(preds, "preds", class_names, void_class) | _classes_in(truth, "truth", class_names, void_class)
    )
    num_classes = max(classes, default=-1) + 1
    if class_names is not None:
        num_classes = len(class_names)
        classes = range(num_classes)
    if things is not None:
        things = _as_class_ids(things, class_names)
        preds, truth = (_one_segment_for_stuff(ids, things) for ids in (preds, truth))

    iou_sums = np.zeros(num_classes)
    segments = np.zeros((num_classes, 3), dtype=np.int64)  # TP, FP, FN
    for image_preds, image_truth in zip(preds, truth, strict=True):
        image_iou_sums, image_segments = _match_segments(image_preds, image_truth, void_class, num_classes)
        iou_sums += image_iou_sums
        segments += image_segments

    per_class = []
    for c in classes:
        tp, fp, fn = segments[c].tolist()
        sq, rq = math.nan, math.nan
        if tp + fp + fn > 0:
            sq = iou_sums[c].item() / max(tp, 1)
            rq = tp / (tp + fp / 2 + fn / 2)
        name = class_names[c] if class_names is not None else str(c)
        per_class.append(ClassPanopticQuality(c, name, sq * rq, sq, rq, tp, fp, fn))

    def mean(field: str, among: Collection[int] = classes) -> float:
        values = [getattr(entry, field) for entry in per_class if entry.class_id in among]
        return torch.tensor(values, dtype=torch.float64).nanmean().item()

    result = PanopticQuality(mean("pq"), mean("sq"), mean("rq"), tuple(per_class))
    if things is not None:
        result = replace(result, pq_things=mean("pq", things), pq_stuff=mean("pq", set(classes) - things))
    return result


def _match_segments(
    preds: np.ndarray, truth: np.ndarray, void_class: int, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """One image (H, W): the sum of matched IoUs, (C,), and the numbers of TP, FP and FN segments, (C, 3)."""
    side = 1 + max(preds.max(initial=0), truth.max(initial=0))
    pairs, overlap = np.unique(truth * side + preds, return_counts=True)  # one entry for each two segments that overlap
    true_ids, t = np.unique(pairs // side, return_inverse=True)  # t, p: which two segments an entry is about
    pred_ids, p = np.unique(pairs % side, return_inverse=True)
    true_class, pred_class = true_ids // _INSTANCES, pred_ids // _INSTANCES
    true_area, pred_area = np.bincount(t, overlap), np.bincount(p, overlap)
    pred_void_area = np.bincount(p, overlap * (true_class[t] == void_class))

    same_class = (true_class[t] == pred_class[p]) & (true_class[t] != void_class)
    t, p, overlap = t[same_class], p[same_class], overlap[same_class]
    union = true_area[t] + pred_area[p] - pred_void_area[p] - overlap
    match = 2 * overlap > union  # IoU > 0.5, in whole numbers
    t, p, iou = t[match], p[match], overlap[match] / union[match]

    missed = true_class != void_class
    missed[t] = False
    false_alarm = (pred_class != void_class) & (2 * pred_void_area <= pred_area)
    false_alarm[p] = False

    iou_sums = np.bincount(true_class[t], iou, minlength=num_classes)
    segments = true_class[t], pred_class[false_alarm], true_class[missed]
    return iou_sums, np.stack([np.bincount(classes, minlength=num_classes) for classes in segments], axis=1)


def _one_segment_for_stuff(ids: np.ndarray, things: set[int]) -> np.ndarray:
    classes = ids // _INSTANCES
    return np.where(np.isin(classes, list(things)), ids, classes * _INSTANCES)


def _classes_in(ids: np.ndarray, name: str, class_names: Sequence[str] | None, void_class: int) -> set[int]:
    """The classes of panoptic ids, void left out."""
    if ids.min(initial=0) < 0:
        raise ValueError(f"{name} hold the id {ids.min()}; a panoptic id is class_id * 1000 + instance, 0 or more.")
    classes = set(np.unique(ids // _INSTANCES).tolist()) - {void_class}
    if class_names is not None and max(classes, default=0) >= len(class_names):
        bad = max(classes)
        raise ValueError(
            f"{name} hold the class {bad} (ids {bad * _INSTANCES} and up); class_names has 0..{len(class_names) - 1} "
            f"and void_class is {void_class}. Void? Pass void_class={bad}."
        )
    return classes


def _as_class_ids(things: Collection[int | str], class_names: Sequence[str] | None) -> set[int]:
    names = list(class_names or ())
    for thing in things:
        known = thing in names if isinstance(thing, str) else class_names is None or 0 <= thing < len(names)
        if not known:
            raise ValueError(f"things has {thing!r}, which is no class of class_names={names}.")
    return {names.index(thing) if isinstance(thing, str) else thing for thing in things}


def _as_ids(ids: Ids, name: str) -> Tensor:
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


def _check_same_shape(preds: Tensor, masks: Tensor, name: str = "masks") -> None:
    if preds.shape != masks.shape:
        mend = " Logits? Argmax first: preds.argmax(1)." if preds.ndim == masks.ndim + 1 else ""
        raise ValueError(
            f"preds and {name} must have the same shape; got {tuple(preds.shape)} and {tuple(masks.shape)}.{mend}"
        )


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


def _number(value: float | int | str) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.3f}"
    return str(value)


def _table(rows: Sequence[Sequence[float | int | str]]) -> str:
    """Lines with the first column aligned left and the others right."""
    width = max(len(row[0]) for row in rows)
    return "\n".join(
        (f"{row[0]:<{width}}" + "".join(f"{_number(cell):>7}" for cell in row[1:])).rstrip() for row in rows
    )
