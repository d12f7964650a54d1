"""Segments: panoptic quality."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from unet_lab.metrics.ids import Ids, as_ids, as_table, check_same_shape

_INSTANCES = 1000  # panoptic id = class_id * 1000 + instance


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
        return as_table(rows)


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
    preds, truth = as_ids(preds, "preds"), as_ids(truth, "truth")
    check_same_shape(preds, truth, "truth")
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
