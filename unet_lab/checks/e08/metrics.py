"""Exercise E08, task 5: the confusion matrix, the mean IoU of its counts, and both over all batches."""

from __future__ import annotations

import numpy as np
import torch

from unet_lab.checks.e08.confusion import CONFUSION_MATRIX
from unet_lab.checks.exercise import Exercise, Mistake
from unet_lab.checks.parts.loops import after_validation, validation_probes
from unet_lab.checks.parts.scores import (
    MEAN_MISTAKES,
    VOID,
    count_probes,
    dice,
    errors_alone,
    intersection_twice,
    iou,
    mean_over_present,
    pixel_counts,
    precision,
    recall,
)
from unet_lab.checks.parts.wrong_loops import MIOU_MISTAKES, WRONG_DECISIONS, most_probable, scored_with

# e08-mean-iou


def mean_iou(counts):
    from unet_lab.metrics import mean_iou as package_mean_iou

    return package_mean_iou(counts)


def _torch_or_numpy(function, counts):
    """The learner's own matrix may be either, and a function for the one need not take the other."""
    try:
        return function(counts)
    except (AttributeError, TypeError) as error:
        try:
            return function(counts.numpy())
        except Exception:
            raise error from None


def _smoothed(counts):
    true_positives, union = counts.diagonal(), counts.sum(1) + counts.sum(0) - counts.diagonal()
    return ((true_positives + 1) / (union + 1)).mean()


def _whole_division(counts):
    return (counts.diagonal() // (counts.sum(1) + counts.sum(0) - counts.diagonal()).clamp(min=1)).double().mean()


def _of_classes_in(axis):
    return lambda counts: iou(counts)[counts.sum(axis) > 0].mean()


def _accuracy_of_each_class(counts):
    wrong = counts.sum(1) + counts.sum(0) - 2 * counts.diagonal()
    return (1 - wrong / counts.sum()).mean()


def _in_a_loop(counts):
    scores = []
    for c in range(len(counts)):
        union = counts[c].sum() + counts[:, c].sum() - counts[c, c]
        if union > 0:
            scores.append(float(counts[c, c]) / float(union))
    return sum(scores) / len(scores)


def _with_numpy_alone(counts):
    counts = counts.astype(np.float64)
    true_positives = np.diag(counts)
    with np.errstate(invalid="ignore"):
        return np.nanmean(true_positives / (counts.sum(axis=0) + counts.sum(axis=1) - true_positives))


MEAN_IOU = Exercise(
    key="e08-mean-iou",
    task="The mean over the classes of TP / (TP + FP + FN), from counts (C, C); a class in neither truth nor "
    "prediction is left out.",
    reference=mean_iou,
    probes=count_probes,
    measure=_torch_or_numpy,
    mistakes=(
        *MEAN_MISTAKES,
        Mistake(
            "row sums alone",
            lambda c: recall(c).nanmean(),
            "You divide by the row sum alone; the union is row + column − diagonal.",
        ),
        Mistake(
            "column sums alone",
            lambda c: precision(c).nanmean(),
            "You divide by the column sum alone; the union is row + column − diagonal.",
        ),
        Mistake(
            "intersection counted twice",
            lambda c: intersection_twice(c).nanmean(),
            "Row sum + column sum holds the diagonal twice; the union takes it away once.",
        ),
        Mistake(
            "intersection left out of the union",
            lambda c: errors_alone(c).nanmean(),
            "You take the diagonal away twice, so only the errors are left; the union is row + column − diagonal.",
        ),
        Mistake(
            "classes with an empty row left out",
            _of_classes_in(1),
            "A class that only one of truth and prediction has is all errors: its IoU is 0 and belongs in the mean.",
            others=(_of_classes_in(0),),
        ),
        Mistake(
            "divided by all pixels",
            lambda c: (c.diagonal() / c.sum()).mean(),
            "You divide by all pixels; the union of a class holds only the pixels in its row or its column.",
        ),
        Mistake(
            "accuracy of each class",
            _accuracy_of_each_class,
            "This is accuracy, class against rest, which counts the pixels that are rightly something else; IoU "
            "leaves those out.",
        ),
        Mistake(
            "smoothing of 1",
            _smoothed,
            "A 1 is added above and below; it lifts small classes, and an absent one to 1. Leave it out.",
        ),
        Mistake(
            "sum of the IoU",
            lambda c: iou(c).nansum(),
            "The IoU are added up and not divided; the mean divides by the number of present classes.",
        ),
        Mistake(
            "whole division",
            _whole_division,
            "// drops the fraction, and nearly every IoU becomes 0; use /.",
        ),
        Mistake(
            "in percent",
            lambda c: 100 * mean_over_present(c),
            "This is in percent; mIoU is a number between 0 and 1.",
        ),
        Mistake(
            "one IoU a class",
            iou,
            "This is the IoU of each class; their mean over the present classes is still to be taken.",
        ),
    ),
    variants=(_in_a_loop, _with_numpy_alone, lambda c: iou(c.T).float().nanmean()),
    hints=(
        "Where in the matrix are the pixels that are right, those of a class in the truth, and those predicted as it?",
        "The diagonal, the row sums and the column sums. IoU = diagonal / (row + column − diagonal), one number a class.",
        "union = counts.sum(1) + counts.sum(0) − counts.diagonal(). In PyTorch 0 / 0 is NaN, and .nanmean() leaves NaN "
        "out; .item() makes it a float.",
    ),
)


# e08-evaluate


def evaluate(model, batches, num_classes):
    from unet_lab.metrics import ConfusionMatrix

    matrix = ConfusionMatrix(num_classes)
    model.eval()
    with torch.no_grad():
        for images, masks in batches:
            matrix.update(model(images).argmax(dim=1), masks)
    return matrix.scores().mean_iou


def _watched(function, images, masks, sizes):
    def evaluation(model, batches):
        return function(model, batches, images.shape[1])

    return after_validation(evaluation, images, masks, sizes, "mIoU")


def _of_all(change):
    """A score over all batches: `change` makes a number of the counts."""
    return lambda preds, masks, n: change(pixel_counts(torch.cat(preds), torch.cat(masks), n))


def _void_as_background(preds, masks, num_classes):
    masks = torch.cat(masks)
    return mean_over_present(pixel_counts(torch.cat(preds), masks.where(masks != VOID, 0), num_classes))


def _sum_over_batches(preds, masks, num_classes):
    return sum(mean_over_present(pixel_counts(p, m, num_classes)) for p, m in zip(preds, masks, strict=True))


def _frozen(model, batches, num_classes):
    model.requires_grad_(False)
    return evaluate(model, batches, num_classes)


def _decided(decide):
    return scored_with(decide=decide)


@torch.inference_mode()
def _summed(model, batches, num_classes):
    """Counts in NumPy, prediction by rows, added up batch by batch; probabilities before argmax."""
    was_training = model.training
    model.eval()
    total = np.zeros((num_classes, num_classes))
    for images, masks in batches:
        preds = torch.softmax(model(images), dim=1).argmax(dim=1)
        counts = pixel_counts(preds, masks, num_classes).T.numpy()
        total += counts
    model.train(was_training)
    return _with_numpy_alone(total)


EVALUATE = Exercise(
    key="e08-evaluate",
    task="mIoU of one confusion matrix over batches, a generator of (images, masks); evaluation mode, no graph.",
    reference=evaluate,
    probes=validation_probes,
    measure=_watched,
    setting="A few batches through a small network that came in training mode",
    mistakes=(
        *MIOU_MISTAKES,
        Mistake(
            "sum over batches",
            scored_with(score=_sum_over_batches),
            "The mIoU of the batches are added up; add up their counts, then score once.",
        ),
        Mistake(
            "void as class 0",
            scored_with(score=_void_as_background),
            "Void pixels are scored as class 0; leave them out, right or wrong.",
        ),
        *(Mistake(wrong.name, _decided(wrong.answer), wrong.sentence) for wrong in WRONG_DECISIONS),
        Mistake(
            "threshold at one half",
            _decided(lambda logits: (logits.softmax(1) > 0.5).long().argmax(1)),
            "With more than two classes the most probable one can be below 0.5; take argmax, without a threshold.",
        ),
        Mistake(
            "least probable class",
            _decided(lambda logits: logits.argmin(1)),
            "This is the class with the smallest logit; the prediction is the one with the largest: argmax.",
        ),
        Mistake(
            "parameters frozen",
            _frozen,
            "requires_grad is still off afterwards, so the next epoch can't train; torch.no_grad() ends by itself.",
        ),
        Mistake(
            "Dice",
            scored_with(score=_of_all(lambda counts: dice(counts).nanmean())),
            "This is the mean Dice, 2 TP / (2 TP + FP + FN); IoU is TP / (TP + FP + FN).",
        ),
        Mistake(
            "background left out",
            scored_with(score=_of_all(lambda counts: iou(counts)[1:].nanmean())),
            "Class 0 is missing from your mean; here the background is a class like the others.",
        ),
        Mistake(
            "in percent",
            scored_with(score=_of_all(lambda counts: 100 * mean_over_present(counts))),
            "This is in percent; mIoU is a number between 0 and 1.",
        ),
        Mistake(
            "one IoU a class",
            scored_with(score=_of_all(iou)),
            "This is the IoU of each class; return their mean.",
        ),
        Mistake(
            "returns the matrix",
            scored_with(score=_of_all(torch.clone)),
            "This is the confusion matrix; return its mean IoU.",
        ),
    ),
    variants=(_summed, _decided(most_probable)),
    hints=(
        "Where does the loop over batches end: after the counts or after the score? mIoU of a part is not a part of mIoU.",
        "One matrix for all: start with zeros, and add confusion_matrix(preds, masks, num_classes) of each batch. Then "
        "mean_iou once.",
        "model.eval(); counts = 0; with torch.no_grad(): for images, masks in batches: preds = the class with the "
        "largest logit, dim=1; counts = counts + ...; after the loop, mean_iou(counts).",
    ),
)

EXERCISES = (CONFUSION_MATRIX, MEAN_IOU, EVALUATE)
