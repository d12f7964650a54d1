"""Lesson 5, mIoU: IoU from counts, the mean over a data set, and how sure it is."""

from __future__ import annotations

import numpy as np
import torch

from unet_lab.checks.compare import unfinished
from unet_lab.checks.exercise import Exercise, Mistake
from unet_lab.checks.parts.scores import (
    MEAN_MISTAKES,
    VOID,
    count_probes,
    dice,
    errors_alone,
    intersection_twice,
    iou,
    mean_over_present,
    parts,
    pixel_counts,
    precision,
    random_predictions,
    recall,
)

# iou-from-counts


def iou_from_counts(counts):
    from unet_lab.metrics import iou_per_class

    return iou_per_class(counts)


def _nan_where_not_in_truth(counts):
    return iou(counts).where(counts.sum(1) > 0, torch.nan)


def _one_against_rest_accuracy(counts):
    true_positives, truth, predicted = parts(counts)
    return 1 - (truth + predicted - 2 * true_positives) / counts.sum()


IOU_FROM_COUNTS = Exercise(
    key="iou-from-counts",
    task="IoU of each class, a float tensor (C,), from counts (C, C) int64, rows = truth; NaN for a class in neither.",
    reference=iou_from_counts,
    probes=count_probes,
    mistakes=(
        Mistake(
            "Dice",
            dice,
            "This is Dice, 2 TP / (2 TP + FP + FN); IoU counts the intersection once: TP / (TP + FP + FN).",
        ),
        Mistake(
            "recall",
            recall,
            "This divides by the row, the pixels of the class in the truth; the false alarms of the column are "
            "missing.",
        ),
        Mistake(
            "precision",
            precision,
            "This divides by the column, the predicted pixels; the missed pixels of the row are missing.",
        ),
        Mistake(
            "intersection counted twice",
            intersection_twice,
            "Row sum + column sum holds the diagonal twice; the union takes it away once.",
        ),
        Mistake(
            "intersection left out of the union",
            errors_alone,
            "You take the diagonal away twice, so only the errors are left; the union is row + column − diagonal.",
        ),
        Mistake(
            "absent as 0",
            lambda c: iou(c).nan_to_num(0.0),
            "A class in neither truth nor prediction gets 0, as if it had been missed; it has no IoU: NaN.",
        ),
        Mistake(
            "absent as 1",
            lambda c: iou(c).nan_to_num(1.0),
            "A class in neither truth nor prediction gets 1, as if it had been found; it has no IoU: NaN.",
        ),
        Mistake(
            "NaN where not in the truth",
            _nan_where_not_in_truth,
            "A class that is predicted but not in the truth is all false alarms: its IoU is 0, not NaN.",
        ),
        Mistake(
            "share of all pixels",
            lambda c: c.diagonal() / c.sum(),
            "You divide by all pixels; the union of a class holds only the pixels in its row or its column.",
        ),
        Mistake(
            "accuracy of each class",
            _one_against_rest_accuracy,
            "This is accuracy, class against rest, which counts the pixels that are rightly something else; IoU "
            "leaves those out.",
        ),
        Mistake(
            "whole division",
            lambda c: c.diagonal() // (c.sum(1) + c.sum(0) - c.diagonal()).clamp(min=1),
            "// drops the fraction, and nearly every IoU becomes 0; use /.",
        ),
        Mistake(
            "mean, not one a class",
            lambda c: iou(c).nanmean(),
            "This is the mean; return the IoU of each class, C numbers.",
        ),
    ),
    variants=(
        iou,
        lambda c: (c.diag() / (c.sum(0) + c.sum(1) - c.diag())).numpy(),
        lambda c: torch.stack([c[k, k].float() / (c[k].sum() + c[:, k].sum() - c[k, k]) for k in range(len(c))]),
        lambda c: iou(c.T).float(),
    ),
    hints=(
        "Where in the matrix are the pixels of class c in the truth, those predicted as c, and those that are both?",
        "The row sum, the column sum and the diagonal. The union holds the pixels in the row or the column, each once.",
        "union = counts.sum(1) + counts.sum(0) − counts.diagonal(); 0 / 0 is already NaN in PyTorch.",
    ),
)


# mean-iou


def mean_iou(preds, masks, num_classes):
    from unet_lab.metrics import ConfusionMatrix

    confusion = ConfusionMatrix(num_classes)
    confusion.update(preds, masks)
    return confusion.scores().mean_iou


def _score(of_counts):
    """A function of the learner's arguments from one of the counts."""
    return lambda preds, masks, num_classes: float(of_counts(pixel_counts(preds, masks, num_classes)))


def _with_void(preds, masks, num_classes):
    """IoU by comparing whole masks, without leaving void out."""
    pairs = [(preds == c, masks == c) for c in range(num_classes)]
    return torch.stack([(p & m).sum() / (p | m).sum() for p, m in pairs])


def _per_image(preds, masks, num_classes):
    scores = [mean_over_present(pixel_counts(p, m, num_classes)) for p, m in zip(preds, masks, strict=True)]
    return sum(scores) / len(scores)


def _void_a_class(preds, masks, num_classes):
    return mean_over_present(pixel_counts(preds, masks.clamp(max=num_classes), num_classes + 1))


def _void_background(preds, masks, num_classes):
    return mean_over_present(pixel_counts(preds, masks.where(masks != VOID, 0), num_classes))


def _in_a_loop(preds, masks, num_classes):
    counted, ious = masks != VOID, []
    for c in range(num_classes):
        p, m = (preds == c) & counted, (masks == c) & counted
        if (p | m).any():
            ious.append((p & m).sum() / (p | m).sum())
    return sum(ious) / len(ious)


def _mean_probes(rng):
    """The last two have a class in neither, and one that is predicted but not in the truth."""
    frequent = [0] * 6 + [1, 1, 2]
    return [
        (*random_predictions(rng, (1, 2, 4), [0, 1], [0, 1], void=0), 2),
        (*random_predictions(rng, (2, 8, 8), frequent, [0, 1, 2], void=0.2), 3),
        (*random_predictions(rng, (3, 8, 8), frequent, [0, 1, 2], void=0.1), 4),
        (*random_predictions(rng, (3, 8, 8), [0, 0, 0, 1], [0, 1, 3], void=0.2), 5),
    ]


MEAN_IOU = Exercise(
    key="mean-iou",
    task="mIoU of preds and masks, both (N, H, W) int64, void = 255: over all pixels, the mean over the present "
    "classes.",
    reference=mean_iou,
    probes=_mean_probes,
    mistakes=(
        Mistake(
            "void counted",
            lambda p, m, c: _with_void(p, m, c).nanmean(),
            "Predictions at void pixels are counted as false alarms; leave out the pixels where masks == 255.",
        ),
        Mistake(
            "void as background", _void_background, "Void pixels are scored as class 0; leave them out, right or wrong."
        ),
        Mistake(
            "void as a class",
            _void_a_class,
            "Void is counted as one more class, with an IoU of 0; it is no class: leave it out.",
        ),
        Mistake(
            "only classes of the truth",
            _score(lambda c: iou(c)[c.sum(1) > 0].mean()),
            "A class that is predicted but not in the truth has an IoU of 0, and belongs in the mean.",
        ),
        Mistake(
            "mean per image",
            _per_image,
            "This is the mean of each image's mIoU; sum the counts of all images, then take the IoU once.",
        ),
        *(Mistake(wrong.name, _score(wrong.answer), wrong.sentence) for wrong in MEAN_MISTAKES),
        Mistake(
            "recall",
            _score(lambda c: recall(c).nanmean()),
            "This is the mean recall; the union also holds the false alarms.",
        ),
        Mistake(
            "precision",
            _score(lambda c: precision(c).nanmean()),
            "This is the mean precision; the union also holds missed pixels.",
        ),
        Mistake(
            "one IoU a class",
            lambda p, m, c: iou(pixel_counts(p, m, c)),
            "This is the IoU of each class; their mean over the present classes is still to be taken.",
        ),
    ),
    variants=(
        _in_a_loop,
        _score(lambda c: iou(c).nanmean()),
        lambda p, m, c: iou(pixel_counts(p, m, c)).nanmean().float(),
    ),
    hints=(
        "Leave void out first: counted = masks != 255, then preds[counted] and masks[counted].",
        "Take one IoU for each class over all images together: intersection by union.",
        "A class whose union is 0 has no IoU: skip it, or let it be NaN and use .nanmean().",
    ),
)


# bootstrap-interval


def bootstrap_interval(per_image_counts, n_resamples, seed):
    return _interval(per_image_counts, 4 * n_resamples, seed)  # the more, the less of the difference is ours


def _resampled(counts, n_resamples, seed):
    """mIoU of n_resamples data sets, each of N images drawn with replacement."""
    n = len(counts)
    times_drawn = torch.from_numpy(np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), n_resamples))
    return iou(torch.einsum("rn,nij->rij", times_drawn, counts)).nanmean(-1).numpy()


def _interval(counts, n_resamples, seed, *, percent=95, scores=_resampled):
    edge = (100 - percent) / 2
    low, high = np.percentile(scores(counts, n_resamples, seed), [edge, 100 - edge])
    return float(low), float(high)


def _per_image_mean(counts, n_resamples, seed):
    each = iou(counts).nanmean(-1).numpy()
    return np.random.default_rng(seed).choice(each, (n_resamples, len(each))).mean(1)


def _resampled_pixels(counts, n_resamples, seed):
    total = counts.sum(0)
    shares = (total / total.sum()).flatten().double().numpy()
    drawn = np.random.default_rng(seed).multinomial(int(total.sum()), shares / shares.sum(), n_resamples)
    return iou(torch.from_numpy(drawn).view(n_resamples, *total.shape)).nanmean(-1).numpy()


def _without_replacement(counts, n_resamples, seed):
    return np.full(n_resamples, mean_over_present(counts.sum(0)))


def _image_scores(counts, n_resamples, seed):
    return iou(counts).nanmean(-1).numpy()


def _seed_ignored(counts, n_resamples, seed):
    chosen = torch.randint(len(counts), (n_resamples, len(counts)))  # the global generator
    return iou(counts[chosen].sum(1)).nanmean(-1).numpy()


def _with(**changes):
    return lambda counts, n_resamples, seed: _interval(counts, n_resamples, seed, **changes)


def _in_a_loop_with_torch(counts, n_resamples, seed):
    generator = torch.Generator().manual_seed(seed)
    scores = []
    for _ in range(n_resamples):
        chosen = torch.randint(len(counts), (len(counts),), generator=generator)
        scores.append(mean_over_present(counts[chosen].sum(0)))
    return np.quantile(scores, [0.025, 0.975])


def _interval_probes(rng):
    """Every image has every class. The large ones are easy, so that the mean over images differs.

    All have few pixels, so that an interval from resampled pixels has some width.
    """
    n = 40
    quality = torch.from_numpy(rng.permutation(np.linspace(0.15, 0.95, n))).view(n, 1, 1)
    noise = torch.from_numpy(rng.uniform(0.5, 1.5, (n, 3, 3)))
    shares = quality * torch.diag(torch.tensor([5.0, 2.0, 0.8])) + (1 - quality) * 0.7
    return [((noise * shares * quality**2 * 20).round().long() + 1, 5000, 1)]


def _repeated(function, counts, n_resamples, seed):
    interval = function(counts, n_resamples, seed)
    if unfinished(interval):
        return None
    again = [str(function(counts, 30, seed)) for _ in range(2)]
    return {"interval": interval, "one seed, one interval": str(again[0] == again[1])}


def _monte_carlo_tolerance(counts, n_resamples, seed):
    """A fifth of the score's standard deviation; an end from 5,000 resamples wanders by 0.04 of it."""
    low, high = _interval(counts, n_resamples, seed)
    return 0.2 * (high - low) / 3.92


BOOTSTRAP_INTERVAL = Exercise(
    key="bootstrap-interval",
    task="95 % interval (low, high) of the data set's mIoU: percentiles 2.5 and 97.5 over n_resamples draws of N "
    "images with replacement from per_image_counts (N, C, C); the same seed gives the same interval.",
    reference=bootstrap_interval,
    probes=_interval_probes,
    measure=_repeated,
    setting="5,000 resamples of 40 images with 3 classes",
    tolerance=_monte_carlo_tolerance,
    limit=30.0,
    mistakes=(
        Mistake(
            "mean of the images' mIoU",
            _with(scores=_per_image_mean),
            "Each resample averages the images' own mIoU; sum the counts of the drawn images, then score them once.",
        ),
        Mistake(
            "pixels resampled",
            _with(scores=_resampled_pixels),
            "Pixels of one image are not independent, so this interval is far too narrow; draw whole images.",
        ),
        Mistake(
            "drawn without replacement",
            _with(scores=_without_replacement),
            "Each resample has every image exactly once, so the score never changes; draw with replacement.",
        ),
        Mistake(
            "spread of single images",
            _with(scores=_image_scores),
            "These are percentiles of the images' scores, the spread of images; resample the data set to get that "
            "of its mIoU.",
        ),
        Mistake(
            "90 % interval",
            _with(percent=90),
            "These are the percentiles 5 and 95; a 95 % interval leaves 2.5 % on each side.",
        ),
        Mistake(
            "68 % interval",
            _with(percent=68.27),
            "This is one standard deviation on each side; a 95 % interval is wider.",
        ),
        Mistake("ends swapped", lambda c, n, s: _interval(c, n, s)[::-1], "Return the lower end first."),
        Mistake(
            "seed unused",
            _with(scores=_seed_ignored),
            "The interval is right but changes from call to call; draw from a generator that starts from the seed.",
        ),
    ),
    variants=(
        _in_a_loop_with_torch,
        lambda c, n, s: torch.tensor(_interval(c, n, s + 1)),
    ),
    hints=(
        "One resample is a data set of N images, some drawn twice and some never: N random indices between 0 and N − "
        "1.",
        "Its score: per_image_counts[indices].sum(0) is one (C, C) matrix, and that has one mIoU.",
        "Collect n_resamples scores, then np.percentile(scores, [2.5, 97.5]). Start one generator from the seed, "
        "before the loop.",
    ),
)

EXERCISES = (IOU_FROM_COUNTS, MEAN_IOU, BOOTSTRAP_INTERVAL)
