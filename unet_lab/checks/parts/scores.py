"""Counts and scores in a few lines, for the mistakes to vary; the references come from `unet_lab.metrics`."""

from __future__ import annotations

import numpy as np
import torch

from unet_lab.checks.exercise import Mistake

VOID = 255


def pixel_counts(preds, masks, num_classes):
    """(C, C) int64, rows = truth; void left out. preds and masks have any equal shape."""
    counted = masks != VOID
    pairs = masks[counted] * num_classes + preds[counted]
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)


def iou(counts):
    """(..., C) from counts (..., C, C); NaN for a class in neither truth nor prediction."""
    true_positives = counts.diagonal(dim1=-2, dim2=-1).double()
    return true_positives / (counts.sum(-1) + counts.sum(-2) - true_positives)


def mean_over_present(counts):
    """The mean IoU over the present classes, a float."""
    return iou(counts).nanmean().item()


def parts(counts):
    """True positives, pixels in the truth, pixels in the prediction: (C,) each."""
    return counts.diagonal().double(), counts.sum(1), counts.sum(0)


def dice(counts):
    true_positives, truth, predicted = parts(counts)
    return 2 * true_positives / (truth + predicted)


def recall(counts):
    true_positives, truth, _ = parts(counts)
    return true_positives / truth


def precision(counts):
    true_positives, _, predicted = parts(counts)
    return true_positives / predicted


def intersection_twice(counts):
    """IoU with a union that holds the intersection twice."""
    true_positives, truth, predicted = parts(counts)
    return true_positives / (truth + predicted)


def errors_alone(counts):
    """IoU with a union that lacks the intersection."""
    true_positives, truth, predicted = parts(counts)
    return true_positives / (truth + predicted - 2 * true_positives)


def one_for_all(counts):
    """One IoU: the classes' pixels are added up before the division."""
    true_positives, truth, predicted = parts(counts)
    return true_positives.sum() / (truth + predicted - true_positives).sum()


def weighted_by_frequency(counts):
    """The mean IoU, each class weighted by its pixels in the truth."""
    return (iou(counts).nan_to_num(0.0) * counts.sum(1)).sum() / counts.sum()


def random_counts(rng, num_classes, largest=40):
    """A matrix (C, C) of a fair prediction: the diagonal is larger than the rest."""
    counts = torch.from_numpy(rng.integers(1, largest, (num_classes, num_classes)))
    return counts + torch.diag(torch.from_numpy(rng.integers(largest, 3 * largest, num_classes)))


def count_probes(rng):
    """Matrices (C, C), in some of which a class is in neither, not in the truth, or never predicted."""
    small, full = random_counts(rng, 2, largest=9), random_counts(rng, 3)
    absent, not_in_truth, never_predicted = (random_counts(rng, n) for n in (4, 4, 5))
    absent[2], absent[:, 2] = 0, 0
    not_in_truth[1] = 0
    never_predicted[:, 3] = 0
    return [(counts,) for counts in (small, full, absent, not_in_truth, never_predicted)]


def random_predictions(rng, shape, truth_classes, predicted_classes, void, right=0.6):
    """Predictions and masks of one shape (N, ...): the images differ in how many pixels are right."""
    masks = rng.choice(truth_classes, shape)
    quality = np.linspace(right - 0.3, right + 0.3, shape[0]).reshape(-1, 1, 1)  # images of unequal difficulty
    preds = np.where(rng.random(shape) < quality, masks, rng.choice(predicted_classes, shape))
    masks[rng.random(shape) < void] = VOID
    return torch.from_numpy(preds), torch.from_numpy(masks)


MEAN_MISTAKES = (
    Mistake(
        "background left out",
        lambda c: iou(c)[1:].nanmean(),
        "Class 0 is missing from your mean; here the background is a class like the others.",
    ),
    Mistake(
        "absent as 0",
        lambda c: iou(c).nan_to_num(0.0).mean(),
        "A class in neither truth nor prediction pulls the mean down as a 0; leave it out of the mean.",
    ),
    Mistake(
        "absent as 1",
        lambda c: iou(c).nan_to_num(1.0).mean(),
        "A class in neither truth nor prediction lifts the mean as a 1; leave it out of the mean.",
    ),
    Mistake(
        "absent makes it NaN",
        lambda c: iou(c).mean(),
        "One class without pixels makes the whole mean NaN; leave NaN out: .nanmean().",
    ),
    Mistake(
        "pixel accuracy",
        lambda c: c.diagonal().sum() / c.sum(),
        "This is the share of right pixels, which large classes rule; take one IoU for each class and then their mean.",
    ),
    Mistake(
        "one IoU over all classes",
        one_for_all,
        "The classes' pixels are added up before the division, so large classes rule; take one IoU for each "
        "class, then the mean.",
    ),
    Mistake(
        "weighted by frequency",
        weighted_by_frequency,
        "The IoUs are weighted by the number of pixels; in mIoU each present class counts the same.",
    ),
    Mistake(
        "Dice",
        lambda c: dice(c).nanmean(),
        "This is the mean Dice, 2 TP / (2 TP + FP + FN); IoU is TP / (TP + FP + FN).",
    ),
)
"""Wrong means of the IoU; each answer is a function of counts (C, C)."""
