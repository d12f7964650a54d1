"""Exercise E08, task 5: the confusion matrix, judged whichever way round it is."""

from __future__ import annotations

import numpy as np
import torch

from unet_lab.checks.compare import is_numbers, to_data, unfinished
from unet_lab.checks.exercise import Exercise, Mistake
from unet_lab.checks.parts.scores import VOID, pixel_counts, random_predictions


def confusion_matrix(preds, masks, num_classes):
    from unet_lab.metrics import ConfusionMatrix

    matrix = ConfusionMatrix(num_classes)
    matrix.update(preds, masks)
    return matrix.counts


def _matrix_probes(rng):
    """The second has every class, the third lacks the last one, the fourth has cells with more than 255 pixels."""
    preds, masks = random_predictions(rng, (2, 8, 8), range(4), range(4), void=0.2)
    preds[0, 0, :4] = masks[0, 0, :4] = torch.arange(4)
    many = [0] * 12 + list(range(20))
    return [
        (*random_predictions(rng, (1, 2, 4), [0, 1], [0, 1], void=0), 2),
        (preds, masks, 4),
        (*random_predictions(rng, (3, 8, 8), range(4), range(4), void=0.1), 5),
        (*random_predictions(rng, (2, 64, 64), many, many, void=0.1), 20),
    ]


def _either_way_round(function, preds, masks, num_classes):
    """The counts with the rows as truth, if they are nearer to that than the transposed ones."""
    counts = function(preds, masks, num_classes)
    if unfinished(counts):
        return None
    if isinstance(counts, (list, tuple)) and len({np.shape(row) for row in counts}) == 1:
        counts = np.array(counts)
    counts = to_data(counts)
    stored = "integers"
    if is_numbers(counts) and counts.shape == (num_classes, num_classes):
        right = pixel_counts(preds, masks, num_classes).numpy()
        counts = min((counts, counts.T), key=lambda matrix: np.abs(matrix.astype(float) - right).sum())
        if counts.dtype in (np.float16, np.float32) and (counts == counts.round()).all():
            stored = str(counts.dtype)
    return {"counts": counts, "stored as": stored}


def _told_if_transposed(function, preds, masks, num_classes):
    counts = np.asarray(to_data(function(preds, masks, num_classes)))
    right = pixel_counts(preds, masks, num_classes).numpy()
    if (counts == right).all():
        return ""
    return "Yours has the prediction in the rows: IoU is the same, but say so when you show it."


def _counted_pairs(preds, masks, num_classes, pairs=lambda p, m, n: m * n + p):
    counted = masks != VOID
    table = torch.bincount(pairs(preds[counted], masks[counted], num_classes), minlength=num_classes**2)
    return table.view(num_classes, num_classes)


def _without_minlength(preds, masks, num_classes):
    counted = masks != VOID
    return torch.bincount(masks[counted] * num_classes + preds[counted]).view(num_classes, num_classes)


def _classes_of_the_data(preds, masks, num_classes):
    return pixel_counts(preds, masks, int(max(preds.max(), masks[masks != VOID].max())) + 1)


def _with_void(preds, masks, num_classes):
    return torch.bincount((masks * num_classes + preds).flatten(), minlength=num_classes**2).view(
        num_classes, num_classes
    )


def _each_pair_once(preds, masks, num_classes):
    return (pixel_counts(preds, masks, num_classes) > 0).long()


def _masks_changed(change):
    """Counts of the masks after `change(preds, masks, num_classes)`."""
    return lambda p, m, n: pixel_counts(p, change(p, m, n), n)


def _counts_changed(change):
    return lambda p, m, n: change(pixel_counts(p, m, n))


def _transposed(wrong):
    """The same mistake of a learner whose rows are the predictions."""

    def other_way_round(preds, masks, num_classes):
        counts = wrong(preds, masks, num_classes)
        return counts.mT if counts.ndim > 1 else counts

    return other_way_round


def _mistake(name, answer, sentence, *others):
    return Mistake(name, answer, sentence, (*others, *map(_transposed, (answer, *others))))


def _in_loops(preds, masks, num_classes):
    counts = [[0] * num_classes for _ in range(num_classes)]
    for p, m in zip(preds.flatten().tolist(), masks.flatten().tolist(), strict=True):
        if m != 255:
            counts[m][p] += 1
    return counts


def _by_one_hot(preds, masks, num_classes):
    counted = masks != VOID
    classes = torch.arange(num_classes)
    predicted, true = ((ids[counted][:, None] == classes).double() for ids in (preds, masks))
    return predicted.T @ true  # transposed


CONFUSION_MATRIX = Exercise(
    key="e08-confusion-matrix",
    task="Counts (C, C) of (true class, predicted class) over preds and masks (N, H, W) int64; void (255) is left out.",
    reference=confusion_matrix,
    probes=_matrix_probes,
    measure=_either_way_round,
    remark=_told_if_transposed,
    mistakes=(
        _mistake(
            "8-bit counts",
            _counts_changed(torch.Tensor.byte),
            "The counts are kept in 8 bits, so 256 pixels become 0; count in int64.",
        ),
        _mistake(
            "8-bit pairs",
            lambda p, m, n: _counted_pairs(p, m, n, lambda p, m, n: (m * n + p).byte()),
            "The number of a pair of classes is computed in 8 bits, where 19 · 20 + 3 becomes 127; make the ids int64 first.",
        ),
        _mistake(
            "counts in float32",
            _counts_changed(torch.Tensor.float),
            "float32 can't count past 16,777,216: adding 1 changes nothing there. Keep counts in int64.",
        ),
        _mistake(
            "void left in",
            _with_void,
            "Void is still in the masks: 255 is no row of the matrix. Take only the pixels with masks != 255.",
        ),
        _mistake(
            "void as class 0",
            _masks_changed(lambda p, m, n: m.where(m != VOID, 0)),
            "Void pixels are counted as class 0; leave them out.",
        ),
        _mistake(
            "void as the last class",
            _masks_changed(lambda p, m, n: m.clamp(max=n - 1)),
            "Void pixels are counted as the last class; leave them out.",
        ),
        _mistake(
            "void wrapped into a class",
            _masks_changed(lambda p, m, n: m % n),
            "255 is wrapped around to one of the classes, and its pixels are counted there; leave void out.",
        ),
        _mistake(
            "void counted as right",
            _masks_changed(lambda p, m, n: m.where(m != VOID, p)),
            "Void pixels are counted on the diagonal, as if they were right; leave them out, right or wrong.",
        ),
        _mistake(
            "void as a class of its own",
            lambda p, m, n: pixel_counts(p, m.clamp(max=n), n + 1),
            "Void has a row of its own; it is no class: the matrix is (num_classes, num_classes), and void is left out.",
        ),
        _mistake(
            "class 0 left out",
            _masks_changed(lambda p, m, n: m.where(m != 0, VOID)),
            "The pixels of class 0 are missing. It is a class like the others; only 255 is left out.",
        ),
        _mistake(
            "only the diagonal",
            _counts_changed(lambda counts: counts.diagonal().diag()),
            "Only the right pixels are counted; the errors belong into the other cells.",
        ),
        _mistake(
            "diagonal as a vector",
            _counts_changed(torch.diagonal),
            "These are the right pixels of each class; the matrix counts every pair of true and predicted class.",
        ),
        _mistake(
            "only the errors",
            _counts_changed(lambda counts: counts - counts.diagonal().diag()),
            "The diagonal is empty: the right pixels are counted too.",
        ),
        _mistake(
            "first image only",
            lambda p, m, n: pixel_counts(p[:1], m[:1], n),
            "Only the first image is counted; count the pixels of all.",
        ),
        _mistake(
            "one matrix an image",
            lambda p, m, n: torch.stack([pixel_counts(*pair, n) for pair in zip(p, m, strict=True)]),
            "There is one matrix for each image; add them up to one.",
        ),
        _mistake(
            "each pair counted once",
            _each_pair_once,
            "A pair that occurs many times is counted once: counts[masks, preds] += 1 adds to each cell once only.",
        ),
        _mistake(
            "pairs that are mixed up",
            lambda p, m, n: _counted_pairs(p, m, n, lambda p, m, n: m + p),
            "masks + preds gives several pairs the same number; masks * num_classes + preds gives each its own.",
        ),
        _mistake(
            "no minlength",
            _without_minlength,
            "bincount ends at the largest number that occurs, so a missing class makes it too short; give it minlength.",
        ),
        _mistake(
            "classes taken from the data",
            _classes_of_the_data,
            "The matrix is as large as the largest id that occurs; it always has num_classes rows and columns.",
        ),
        _mistake(
            "not a matrix",
            _counts_changed(torch.flatten),
            "The counts are right but in one row; reshape them to (num_classes, num_classes).",
        ),
        _mistake(
            "normalised by rows",
            _counts_changed(lambda counts: (counts / counts.sum(1, keepdim=True)).nan_to_num(0.0)),
            "Each row sums to 1; return the counts themselves. Only counts of several batches can be added up.",
            _counts_changed(lambda counts: counts / counts.sum(1, keepdim=True)),
        ),
        _mistake(
            "normalised by all pixels",
            _counts_changed(lambda counts: counts / counts.sum()),
            "The matrix sums to 1; return the counts themselves. Only counts of several batches can be added up.",
        ),
    ),
    variants=(_in_loops, _by_one_hot, _counted_pairs),
    hints=(
        "Leave void out first. Then each pixel is a pair (true class, predicted class), and you count pairs.",
        "A pair gets one number: masks * num_classes + preds, from 0 to C² − 1. torch.bincount counts how often each "
        "number occurs.",
        "counted = masks != 255; pairs = the formula for masks[counted] and preds[counted]; torch.bincount(pairs, "
        "minlength=...) and then .reshape(num_classes, num_classes).",
    ),
)
