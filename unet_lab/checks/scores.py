"""Counts and scores in a few lines, for the mistakes to vary; the references come from `unet_lab.metrics`."""

from __future__ import annotations

import torch

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
