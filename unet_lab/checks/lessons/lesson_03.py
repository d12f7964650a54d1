"""Lesson 3, losses: Dice written out, the weight that balances cross-entropy, cross-entropy without void."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from unet_lab.checks.exercise import Exercise, Mistake
from unet_lab.checks.parts.loss_terms import DICE_MISTAKES, VOID, dice_with, logits_and_masks, pixel_losses, with_void

# dice-loss


def dice_loss(logits, masks):
    from unet_lab.losses import dice_loss as package_dice_loss

    return package_dice_loss(logits, masks)


def _dice_in_a_loop(logits, masks):
    probs = torch.softmax(logits, dim=1)
    losses = []
    for c in range(logits.shape[1]):
        p, g = probs[:, c], (masks == c).float()
        losses.append(1 - 2 * (p * g).sum() / (p.square().sum() + g.sum()))
    return torch.stack(losses).mean()


def _loss_probes(rng):
    return [logits_and_masks(rng, *shape) for shape in ((1, 2, 1, 4), (2, 2, 6, 8), (3, 3, 8, 6), (2, 5, 12, 10))]


DICE_LOSS = Exercise(
    key="dice-loss",
    task="Dice loss of logits (N, C, H, W) and masks (N, H, W) int64 without void, every class present: "
    "mean over classes of 1 − 2 Σ p g / (Σ p² + Σ g²), softmax first, sums over all pixels of the batch.",
    reference=dice_loss,
    probes=_loss_probes,
    differentiable=True,
    mistakes=DICE_MISTAKES,
    variants=(
        _dice_in_a_loop,
        dice_with(),
        dice_with(smooth=1e-6),
        lambda x, m: dice_with()(x.double(), m),
    ),
    hints=(
        "Two tensors of the same shape (N, C, H, W) are needed: the probabilities p, and the one-hot truth g.",
        "p = logits.softmax(dim=1). Summing over dim=(0, 2, 3) leaves one number a class.",
        "2 * (p * g).sum(dim) / ((p**2).sum(dim) + (g**2).sum(dim)) is the Dice of each class; the loss is 1 minus the "
        "mean.",
    ),
)


# balanced-weight


def balanced_weight(n_foreground, n_background):
    return n_background / n_foreground


def _pixel_count_probes(rng):
    return [(42, 4054), (int(rng.integers(50, 60)), int(rng.integers(70, 99))), (900, int(rng.integers(100, 250)))]


BALANCED_WEIGHT = Exercise(
    key="balanced-weight",
    task="The weight w on the foreground's cross-entropy (the background's is 1) with which the best constant p is "
    "0.5.",
    reference=balanced_weight,
    probes=_pixel_count_probes,
    mistakes=(
        Mistake(
            "upside down",
            lambda f, b: f / b,
            "This makes the rare class weaker still: it is the background that has the most voices.",
        ),
        Mistake(
            "all pixels by foreground",
            lambda f, b: (f + b) / f,
            "The foreground is balanced against the background, not against all pixels: f · w = b.",
        ),
        Mistake(
            "half of all pixels by foreground",
            lambda f, b: (f + b) / (2 * f),
            "This is the weight for the case that the background gets all / (2 · background) as well; here its "
            "weight is 1.",
        ),
        Mistake(
            "share of the background",
            lambda f, b: b / (f + b),
            "This is the background's share of the pixels; solve f · w = b · 1.",
        ),
        Mistake(
            "share of the foreground",
            lambda f, b: f / (f + b),
            "This is the foreground's share, the best constant p without a weight; solve f · w = b · 1.",
        ),
        Mistake(
            "square root",
            lambda f, b: math.sqrt(b / f),
            "The root balances only half-way (on a log scale); solve f · w = b · 1.",
        ),
        Mistake("whole division", lambda f, b: b // f, "// drops the fraction; a weight may have one."),
        Mistake(
            "difference",
            lambda f, b: b - f,
            "Voices are balanced by a factor, not by a difference: solve f · w = b · 1.",
        ),
        Mistake(
            "the background's count",
            lambda f, b: b,
            "w = b would leave the foreground f times too loud: solve f · w = b · 1.",
        ),
    ),
    variants=(
        lambda f, b: torch.tensor(b) / torch.tensor(f),
        lambda f, b: (1 / f) / (1 / b),
        lambda f, b: round(b / f, 4),
    ),
    hints=(
        "Balance the voices: at p = 0.5 each pixel pulls equally hard, so how many pixels pull each way?",
        "For 42 and 4,054 pixels: 42 · w = 4,054 · 1.",
        "Solve n_foreground · w = n_background for w.",
    ),
)


# masked-cross-entropy


def masked_cross_entropy(logits, masks):
    from unet_lab.losses import cross_entropy

    return cross_entropy(logits, masks)


def _by_hand(logits, masks):
    counted = masks != VOID
    log_probs = logits.log_softmax(1).gather(1, masks.where(counted, 0)[:, None])[:, 0]
    return -log_probs[counted].mean()


def _void_multiplied_out_first(logits, masks):
    counted = masks != VOID
    return F.cross_entropy(logits * counted[:, None], masks * counted)


def _mean_per_image(logits, masks):
    losses, counted = pixel_losses(logits, masks), masks != VOID
    return (losses.sum((1, 2)) / counted.sum((1, 2))).mean()


def _masked_probes(rng):
    probes = [logits_and_masks(rng, 1, 2, 1, 4)]  # one without void, where every other mistake shows
    for shape, share in (((1, 2, 2, 4), 0.2), ((3, 3, 8, 6), 0.15), ((2, 5, 12, 10), 0.3)):
        logits, masks = logits_and_masks(rng, *shape)
        probes.append((logits, with_void(rng, masks, share)))
    return probes


MASKED_CROSS_ENTROPY = Exercise(
    key="masked-cross-entropy",
    task="Mean cross-entropy of logits (N, C, H, W) over the pixels of masks (N, H, W) int64 that are not void (255).",
    reference=masked_cross_entropy,
    probes=_masked_probes,
    differentiable=True,
    mistakes=(
        Mistake(
            "mean over void too",
            lambda x, m: pixel_losses(x, m).mean(),
            "The sum is right, but you divide by all pixels; void pixels must not count in the mean either.",
        ),
        Mistake(
            "void clipped to class 0",
            lambda x, m: F.cross_entropy(x, m.where(m != VOID, 0)),
            "Void pixels are trained as class 0, the background; they have to be left out.",
        ),
        Mistake(
            "void clipped to the last class",
            lambda x, m: F.cross_entropy(x, m.clamp(max=x.shape[1] - 1)),
            "Void pixels are trained as the last class; they have to be left out.",
        ),
        Mistake(
            "void multiplied out before the softmax",
            _void_multiplied_out_first,
            "Logits of 0 still have a softmax, 1/C for each class, so void still costs log C; leave pixels out "
            "after the softmax.",
        ),
        Mistake(
            "void passed to the loss",
            lambda x, m: F.cross_entropy(x, m),
            "255 is no class, so the loss cannot look it up; leave void out with ignore_index=255 or with a mask.",
        ),
        Mistake(
            "sum",
            lambda x, m: pixel_losses(x, m).sum(),
            "This is the sum; divide by the number of pixels that are not void.",
        ),
        Mistake(
            "mean per image",
            _mean_per_image,
            "You average each image and then the images, so pixels of an image with much void weigh more; take one "
            "mean over all.",
        ),
        Mistake(
            "sum by images",
            lambda x, m: pixel_losses(x, m).sum() / len(x),
            "You divide by the number of images; divide by the number of pixels that are not void.",
        ),
        Mistake(
            "softmax before the loss",
            lambda x, m: F.cross_entropy(x.softmax(1), m, ignore_index=VOID),
            "F.cross_entropy applies softmax itself; give it the logits.",
        ),
        Mistake(
            "no logarithm",
            lambda x, m: F.nll_loss(x.softmax(1), m, ignore_index=VOID),
            "This is −p of the true class; cross-entropy is −log p.",
        ),
        Mistake(
            "no softmax",
            lambda x, m: F.nll_loss(x, m, ignore_index=VOID),
            "F.nll_loss expects log-probabilities: give it logits.log_softmax(dim=1).",
        ),
        Mistake(
            "no minus sign",
            lambda x, m: F.nll_loss(-x.log_softmax(1), m, ignore_index=VOID),
            "log p is negative; the loss is −log p.",
        ),
        Mistake(
            "binary logarithm",
            lambda x, m: F.cross_entropy(x, m, ignore_index=VOID) / math.log(2),
            "This is in bits, with log2; the field uses the natural logarithm.",
        ),
        Mistake(
            "losses not averaged",
            pixel_losses,
            "This is one loss for each pixel; take their mean over the pixels that count.",
        ),
    ),
    variants=(
        _by_hand,
        lambda x, m: F.cross_entropy(x, m, ignore_index=VOID),
        lambda x, m: pixel_losses(x, m)[m != VOID].mean(),
        lambda x, m: F.cross_entropy(x.movedim(1, -1)[m != VOID], m[m != VOID]),
    ),
    hints=(
        "Get one loss for each pixel first, then decide which pixels count.",
        "masks != 255 is a mask of the pixels that count; its sum is what to divide by.",
        'F.cross_entropy has two arguments that help: reduction="none" keeps one loss a pixel, ignore_index=255 '
        "gives 0 at void.",
    ),
)

EXERCISES = (DICE_LOSS, BALANCED_WEIGHT, MASKED_CROSS_ENTROPY)
