"""E08, task 3: the Dice loss and its sum with cross-entropy, with void and with classes that are nowhere."""

from __future__ import annotations

import torch

from unet_lab.checks.exercise import Exercise
from unet_lab.checks.parts.loss_terms import DICE_MISTAKES, VOID, logits_and_masks, with_void
from unet_lab.checks.parts.wrong_combined import COMBINED_MISTAKES, COMBINED_VARIANTS
from unet_lab.checks.parts.wrong_dice import (
    ABSENT_MISTAKES,
    DETACHED,
    DICE_VARIANTS,
    NOTHING_COUNTS_MISTAKES,
    VOID_MISTAKES,
)

# e08-dice-loss


def dice_loss(logits, masks):
    from unet_lab.losses import dice_loss as package_dice_loss

    return package_dice_loss(logits, masks)


def _with_absent_classes(rng):
    """Of five classes, one is in the truth alone, one in the prediction alone, one nowhere but in void, one nowhere."""
    logits, masks = logits_and_masks(rng, 2, 2, 6, 7)
    others = torch.from_numpy(rng.normal(size=(2, 3, 6, 7))).float() - 9
    logits = torch.cat([logits, others], dim=1)
    masks = with_void(rng, masks, 0.2)
    masks[1, 5, 5:] = 2  # class 2: true, never predicted
    logits[0, 3, 2, 2:5] = 12  # class 3: predicted, never true
    masks[0, 2, 2:5] = 0
    masks[0, 4, :3] = VOID
    logits[0, 4, 4, :3] = 12  # class 4: predicted at void alone
    return logits, masks


def _only_background(rng):
    """Empty masks that are predicted as empty."""
    logits = torch.from_numpy(rng.normal(size=(2, 2, 3, 4))).float()
    logits[:, 0] += 6
    return logits, torch.zeros(2, 3, 4, dtype=torch.int64)


def _all_void(rng):
    return torch.from_numpy(rng.normal(size=(1, 3, 2, 4))).float(), torch.full((1, 2, 4), VOID)


def _dice_probes(rng):
    """From easy to hard: everything present, then void, then absent classes, then nothing that counts."""
    logits, masks = logits_and_masks(rng, 3, 4, 8, 6)
    return [
        logits_and_masks(rng, 1, 2, 1, 4),
        logits_and_masks(rng, 2, 3, 6, 8),
        (logits, with_void(rng, masks, 0.3)),
        _with_absent_classes(rng),
        _only_background(rng),
        _all_void(rng),
    ]


DICE_LOSS = Exercise(
    key="e08-dice-loss",
    task="Dice loss of logits (N, C, H, W) and masks (N, H, W) with void = 255: mean of 1 − 2 Σ p g / (Σ p² + Σ g²) over "
    "the classes that are in the masks or predicted; softmax first, then void is left out; 0 if nothing counts.",
    reference=dice_loss,
    probes=_dice_probes,
    staged=True,
    differentiable=True,
    mistakes=(*DICE_MISTAKES, *VOID_MISTAKES, *ABSENT_MISTAKES, *NOTHING_COUNTS_MISTAKES, DETACHED),
    variants=DICE_VARIANTS,
    hints=(
        "Begin as in lesson 3: p by softmax, g one-hot, one Dice a class. Then ask of every sum: is a void pixel in it? And "
        "of the mean: is a class in it that is nowhere?",
        "p and g get 0 at void pixels, after the softmax: multiply both by counted = (masks != 255). A class counts if "
        "Σ g > 0, or if it is the argmax of a counted pixel. The loss is the mean over these classes, and 0 with none.",
        "For one-hot, put class 0 at void first (masks.where(counted, 0)), then multiply by counted[:, None]. Sum over "
        "dim=(0, 2, 3). Make `present` of shape (C,), from Σ g > 0 or the sum of the one-hot argmax > 0. Divide by "
        "denominator.where(present, 1); then (losses * present).sum() / present.sum().clamp(min=1).",
    ),
)


# e08-combined-loss


def combined_loss(logits, masks, class_weights=None):
    from unet_lab.losses import CrossEntropyDiceLoss

    return CrossEntropyDiceLoss(class_weights)(logits, masks)


def _weights(rng, num_classes):
    return torch.from_numpy(rng.uniform(0.3, 3.0, num_classes)).float()


def _combined_probes(rng):
    easy = logits_and_masks(rng, 2, 3, 6, 8)
    logits, masks = logits_and_masks(rng, 3, 4, 8, 6)
    masks = with_void(rng, masks, 0.3)
    return [
        logits_and_masks(rng, 1, 2, 1, 4),
        easy,
        (*easy, _weights(rng, 3)),
        (logits, masks),
        (logits, masks, _weights(rng, 4)),
        (*_with_absent_classes(rng), _weights(rng, 5)),
        _all_void(rng),
        (*_all_void(rng), _weights(rng, 3)),
    ]


COMBINED_LOSS = Exercise(
    key="e08-combined-loss",
    task="combined_loss(logits, masks, class_weights=None): cross-entropy, weighted by class if weights (C,) are given, plus "
    "dice_loss; void left out of both; 0 if nothing counts.",
    reference=combined_loss,
    probes=_combined_probes,
    staged=True,
    differentiable=True,
    mistakes=COMBINED_MISTAKES,
    variants=COMBINED_VARIANTS,
    hints=(
        "Two losses, one plus sign. What does F.cross_entropy do when every pixel of a batch is void?",
        "Σ w_y (−log p_y) / Σ w_y over the counted pixels, plus the Dice loss. F.cross_entropy computes the first with "
        "weight=class_weights and ignore_index=255; only for a batch of nothing but void it gives nan.",
        "Call dice_loss(logits, masks) first: with nothing but void it is already the right 0, so return it as it is. "
        "Otherwise return it plus F.cross_entropy(logits, masks, weight=..., ignore_index=...).",
    ),
)

EXERCISES = (DICE_LOSS, COMBINED_LOSS)
