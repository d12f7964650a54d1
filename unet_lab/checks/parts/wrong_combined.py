"""Sums of cross-entropy and Dice for task 3 of E08: wrong ones, and right ones written in other ways."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from unet_lab.checks.exercise import Mistake
from unet_lab.checks.parts.loss_terms import DICE_MISTAKES, VOID, dice_with, pixel_losses
from unet_lab.checks.parts.wrong_dice import (
    ABSENT_MISTAKES,
    NO_PATH,
    VOID_MISTAKES,
    DiceModule,
    dice_by_einsum,
    dice_in_a_loop,
    nan_gradient,
    when_nothing_counts,
    zero_of_its_own,
)


def _mean(losses, weights, counted):
    """Weighted mean, and 0 where nothing counts."""
    total = weights.sum()
    return (losses * weights).sum() / total.masked_fill(total == 0, 1)


def _sum_of_pixels(losses, weights, counted):
    return (losses * weights).sum()


def _by_all_pixels(losses, weights, counted):
    return (losses * weights).sum() / (weights + ~counted).sum()


def _not_normalised(losses, weights, counted):
    return (losses * weights).sum() / counted.sum().clamp(min=1)


def _by_number_of_images(losses, weights, counted):
    return (losses * weights).sum() / len(losses)


def _mean_per_image(losses, weights, counted):
    return ((losses * weights).sum((1, 2)) / weights.sum((1, 2)).clamp(min=1e-9)).mean()


def _cross_entropy_with(
    *, before=lambda logits: logits, mean=_mean, clean=lambda masks: masks, weighted=True, log=None
):
    """Cross-entropy with some steps changed."""

    def cross_entropy(logits, masks, class_weights=None):
        masks, logits = clean(masks), before(logits)
        counted = masks != VOID
        losses = pixel_losses(logits, masks) if log is None else log(logits, masks)
        weights = counted.to(logits.dtype)
        if weighted and class_weights is not None:
            weights = weights * class_weights.to(logits.dtype)[masks.where(counted, 0)]
        return mean(losses, weights, counted)

    return cross_entropy


def _torch_cross_entropy(logits, masks, class_weights=None):
    return F.cross_entropy(logits, masks, weight=class_weights, ignore_index=VOID)


def _sum_with(ce=None, dice=None, put_together=lambda ce, dice: ce + dice):
    """The combined loss with another cross-entropy, another Dice loss, or another way to put them together."""
    ce, dice = ce or _cross_entropy_with(), dice or dice_with()

    def combined(logits, masks, class_weights=None):
        return put_together(ce(logits, masks, class_weights), dice(logits, masks))

    return combined


def _weighted_dice(logits, masks, class_weights=None):
    """The weights in the mean of Dice as well."""
    if class_weights is None:
        return _sum_with()(logits, masks)

    def mean(losses, present):
        weights = class_weights * present
        return (losses * weights).sum() / weights.sum().clamp(min=1e-9)

    return _sum_with(dice=dice_with(total=mean))(logits, masks, class_weights)


def _without_log(logits, masks):
    return F.nll_loss(logits.softmax(1), masks, ignore_index=VOID, reduction="none")


def _log_in_bits(logits, masks):
    return pixel_losses(logits, masks) / torch.log(torch.tensor(2.0))


_WRONG_DICE = tuple(
    _sum_with(dice=answer)
    for mistake in (*DICE_MISTAKES, *VOID_MISTAKES, *ABSENT_MISTAKES)
    for answer in mistake.answers
    if mistake.name not in ("one loss a class", "void passed to one_hot")
)

COMBINED_MISTAKES = (
    Mistake(
        "Dice missing",
        lambda x, m, w=None: _cross_entropy_with()(x, m, w),
        "This is the cross-entropy alone; add dice_loss(logits, masks).",
        others=(_torch_cross_entropy,),
    ),
    Mistake(
        "cross-entropy missing",
        lambda x, m, w=None: dice_with()(x, m),
        "This is the Dice loss alone; add the cross-entropy.",
    ),
    Mistake(
        "class weights ignored",
        _sum_with(ce=_cross_entropy_with(weighted=False)),
        "class_weights change nothing in your loss; they belong into the cross-entropy.",
    ),
    Mistake(
        "weights not normalised",
        _sum_with(ce=_cross_entropy_with(mean=_not_normalised)),
        "You divide the weighted sum by the number of pixels; a weighted mean is divided by the sum of the pixels' weights.",
    ),
    Mistake(
        "class weights on Dice too",
        _weighted_dice,
        "The weights belong to the cross-entropy alone: Dice already gives each class one voice.",
    ),
    Mistake(
        "mean over void too",
        _sum_with(ce=_cross_entropy_with(mean=_by_all_pixels)),
        "The cross-entropy is divided by all pixels; void pixels must not count in the mean either.",
        others=(
            _sum_with(ce=lambda x, m, w=None: F.cross_entropy(x, m, w, ignore_index=VOID, reduction="none").mean()),
        ),
    ),
    Mistake(
        "void clipped to class 0",
        _sum_with(ce=_cross_entropy_with(clean=lambda masks: masks.where(masks != VOID, 0))),
        "In the cross-entropy void pixels are trained as class 0; they have to be left out.",
    ),
    Mistake(
        "void passed to the cross-entropy",
        _sum_with(ce=lambda x, m, w=None: F.cross_entropy(x, m, weight=w)),
        "255 is no class, so the cross-entropy cannot look it up; leave void out with ignore_index=255.",
    ),
    Mistake(
        "sum over pixels",
        _sum_with(ce=_cross_entropy_with(mean=_sum_of_pixels)),
        "The cross-entropy is a sum here, so it drowns the Dice loss; take the mean over the pixels that count.",
        others=(_sum_with(ce=_cross_entropy_with(mean=_by_number_of_images)),),
    ),
    Mistake(
        "cross-entropy as a mean per image",
        _sum_with(ce=_cross_entropy_with(mean=_mean_per_image)),
        "You average each image and then the images; take one mean over all counted pixels of the batch.",
    ),
    Mistake(
        "softmax before the cross-entropy",
        _sum_with(ce=_cross_entropy_with(before=lambda logits: logits.softmax(1))),
        "F.cross_entropy applies softmax itself; give it the logits.",
    ),
    Mistake(
        "softmax before both",
        lambda x, m, w=None: _sum_with()(x.softmax(1), m, w),
        "Both losses apply softmax themselves; give them the logits.",
    ),
    Mistake(
        "no logarithm",
        _sum_with(ce=_cross_entropy_with(log=_without_log)),
        "This takes −p of the true class; cross-entropy is −log p.",
    ),
    Mistake(
        "binary logarithm",
        _sum_with(ce=_cross_entropy_with(log=_log_in_bits)),
        "This is in bits, with log2; the field uses the natural logarithm.",
    ),
    Mistake(
        "mean of the two",
        _sum_with(put_together=lambda ce, dice: (ce + dice) / 2),
        "You take the mean of the two losses; the combined loss is their sum.",
    ),
    Mistake(
        "difference of the two",
        _sum_with(put_together=lambda ce, dice: ce - dice),
        "You subtract the Dice loss, so training would make it grow; add it.",
    ),
    Mistake(
        "product of the two",
        _sum_with(put_together=lambda ce, dice: ce * dice),
        "You multiply the two losses; the combined loss is their sum.",
    ),
    Mistake(
        "Dice loss wrong",
        _WRONG_DICE[0],
        "The cross-entropy is right, the Dice loss that you add is not: see what its own check, e08-dice-loss, says.",
        others=_WRONG_DICE[1:],
    ),
    Mistake(
        "nan when everything is void",
        _sum_with(ce=_torch_cross_entropy),
        "With nothing but void F.cross_entropy is 0/0 = nan, which would spoil every weight; the loss has to be 0 then.",
        others=(when_nothing_counts(lambda x: x.sum() * torch.nan, _sum_with()),),
    ),
    Mistake(
        "no gradient path when everything is void",
        when_nothing_counts(lambda x: torch.tensor(0.0), _sum_with()),
        NO_PATH,
    ),
    Mistake(
        "nan in the gradient when everything is void",
        _sum_with(dice=nan_gradient),
        "With nothing but void the value is right, but its gradient is nan: nan is computed and thrown away. Don't divide "
        "by 0 in the first place.",
    ),
    Mistake(
        "one part without gradient",
        _sum_with(put_together=lambda ce, dice: ce + dice.detach()),
        "The value is right, but one of its two parts gives no gradient: no .item(), float() or .detach() on either.",
        others=(_sum_with(put_together=lambda ce, dice: ce.detach() + dice),),
    ),
)


def _by_hand(logits, masks, class_weights=None):
    counted = masks != VOID
    if not counted.any():
        return (logits * 0).sum()
    log_probs = logits.log_softmax(1).movedim(1, -1)[counted]
    truth = masks[counted]
    weights = torch.ones(logits.shape[1]) if class_weights is None else class_weights / class_weights.sum()
    losses = -log_probs[range(len(truth)), truth]
    return (weights[truth] * losses).sum() / weights[truth].sum() + dice_in_a_loop(logits, masks)


class _TwoModules(nn.Module):
    """Modules for both parts."""

    def __init__(self):
        super().__init__()
        self.dice = DiceModule()

    def forward(self, logits, masks, class_weights=None):
        if (masks == VOID).all():
            return self.dice(logits, masks)
        return nn.CrossEntropyLoss(class_weights, ignore_index=VOID)(logits, masks) + self.dice(logits, masks)


def _guarded(logits, masks, class_weights=None):
    ce = _torch_cross_entropy(logits, masks, class_weights) if (masks != VOID).any() else 0
    return dice_with()(logits, masks) + ce


COMBINED_VARIANTS = (
    _sum_with(),
    _by_hand,
    _TwoModules(),
    _guarded,
    lambda x, m, class_weights=None: _sum_with()(x.double(), m, class_weights),
    _sum_with(dice=dice_by_einsum),
    when_nothing_counts(zero_of_its_own, _sum_with()),
    lambda x, m, class_weights=None: torch.nan_to_num(_torch_cross_entropy(x, m, class_weights)) + dice_in_a_loop(x, m),
    _sum_with(ce=_cross_entropy_with(mean=lambda losses, w, counted: (losses * w).sum() / (w.sum() + 1e-8))),
)
