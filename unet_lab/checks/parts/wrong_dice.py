"""Dice losses for task 3 of E08: wrong ones with void and absent classes, and right ones written in other ways."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from unet_lab.checks.exercise import Mistake
from unet_lab.checks.parts.loss_terms import (
    PIXELS,
    VOID,
    all_classes,
    blanked_at_void,
    dice_with,
    in_truth,
    mean_of,
    one_hot,
    sums,
)


def _keep(values, masks):
    return values


def _blanked_logits(activation):
    """Void blanked out before the activation."""

    def loss(logits, masks):
        return dice_with(activation=activation, blank=_keep)(blanked_at_void(logits, masks), masks)

    return loss


def _void_as(which):
    """Masks with void as class 0, or as the last one."""
    return lambda masks, num_classes: masks.where(masks != VOID, 0 if which == 0 else num_classes - 1)


def _absent_losses(value):
    """The mean over all classes, with a loss of `value` for an absent one; 0 if nothing counts."""

    def total(losses, present):
        mean = losses.where(present, value).mean()
        return mean if present.any() else 0 * mean

    return total


def _every_class_nowhere(value):
    return lambda losses, present: losses.where(present, value).mean()


def when_nothing_counts(make, function=None):
    """Right, but for a batch in which everything is void: then `make(logits)`."""
    right = function or dice_with()

    def loss(logits, masks, *more):
        return make(logits) if (masks == VOID).all() else right(logits, masks, *more)

    return loss


def nan_gradient(logits, masks):
    """0/0 that is computed and then thrown away: behind the product with 0 its gradient is nan all the same."""
    truth, probs = one_hot(logits, masks), logits.softmax(1) * (masks != VOID)[:, None]
    intersection, total = sums(probs, truth)
    return mean_of(1 - 2 * intersection / total, _counted_classes(logits, masks))


def _counted_classes(logits, masks):
    """Classes in the truth or among the most probable ones, at pixels that are not void: a loop, for comparison."""
    counted = masks != VOID
    there = torch.cat([masks[counted], logits.argmax(dim=1)[counted]])
    return torch.tensor([bool((there == c).any()) for c in range(logits.shape[1])])


def _predicted_at_void_too(probs, truth, axes):
    return (truth + one_hot(probs, probs.argmax(dim=1))).sum(axes) > 0


DETACHED = Mistake(
    "no gradient",
    lambda x, m: dice_with()(x.detach(), m),
    "The value is right, but no gradient comes back from it: no .item(), float(), .detach() or no_grad() on the way.",
    others=(
        lambda x, m: dice_with()(x, m).item(),
        lambda x, m: torch.tensor(dice_with()(x, m).item(), requires_grad=True),
    ),
)

VOID_MISTAKES = (
    Mistake(
        "void counted",
        dice_with(blank=_keep),
        "The probabilities at void pixels are still in Σ p²; set them to 0 after the softmax, or leave these pixels out.",
        others=(dice_with(blank=_keep, present=_predicted_at_void_too),),
    ),
    Mistake(
        "void as class 0",
        dice_with(clean=_void_as(0)),
        "Void pixels are counted as class 0; they are of no class and have to be left out.",
    ),
    Mistake(
        "void as the last class",
        dice_with(clean=_void_as(-1)),
        "Void pixels are counted as the last class; they are of no class and have to be left out.",
    ),
    Mistake(
        "void blanked out before the softmax",
        _blanked_logits(lambda logits: logits.softmax(1)),
        "Logits of 0 still have a softmax, 1/C for each class: first the softmax, then leave void out.",
    ),
    Mistake(
        "void passed to one_hot",
        lambda x, m: dice_with()(x, m) + 0 * F.one_hot(m, x.shape[1]).sum(),
        "255 is no class, so F.one_hot cannot place it: put a class there first, and leave these pixels out of p and g.",
    ),
)

ABSENT_MISTAKES = (
    Mistake(
        "absent classes counted as wrong",
        dice_with(total=_absent_losses(1)),
        "A class that is neither in the masks nor predicted adds a loss of 1 (Dice 0); leave it out of the mean.",
        others=(
            dice_with(present=all_classes),
            dice_with(present=all_classes, ratio=lambda i, total: 2 * i / total.clamp(min=1e-7)),
            dice_with(total=_every_class_nowhere(1)),
            lambda x, m: dice_with(present=all_classes)(x, m).where((m != VOID).any(), 0 * x.sum()),
            dice_with(present=all_classes, smooth=1e-6),
        ),
    ),
    Mistake(
        "absent classes counted as right",
        dice_with(total=_every_class_nowhere(0)),
        "A class that is neither in the masks nor predicted adds a loss of 0 (Dice 1), which flatters; leave it out of the "
        "mean.",
    ),
    Mistake(
        "false alarms go free",
        dice_with(present=in_truth),
        "You leave out every class that no mask holds; one that is predicted there is a false alarm and has to count.",
    ),
    Mistake(
        "class counted for a prediction at void",
        dice_with(present=_predicted_at_void_too),
        "A class that is predicted at void pixels alone is not present: look for it among the counted pixels.",
    ),
)

NO_PATH = (
    "With nothing but void the value is right, but backward() raises: this 0 has no gradient path. One that is computed "
    "from the logits has it."
)

NOTHING_COUNTS_MISTAKES = (
    Mistake(
        "nan when everything is void",
        when_nothing_counts(lambda x: x.sum() * torch.nan),
        "With nothing but void the loss is 0/0 = nan, which would spoil every weight; it has to be 0 then.",
    ),
    Mistake(
        "1 when everything is void",
        when_nothing_counts(lambda x: 1 + 0 * x.sum()),
        "With nothing but void there is no mistake to pay for: the loss has to be 0 then, not 1.",
    ),
    Mistake(
        "no gradient path when everything is void",
        when_nothing_counts(lambda x: torch.tensor(0.0)),
        NO_PATH,
    ),
    Mistake(
        "nan in the gradient when everything is void",
        nan_gradient,
        "With nothing but void the value is right, but its gradient is nan: 0/0 is computed and thrown away. Change the "
        "denominator before you divide.",
    ),
)


def zero_of_its_own(logits):
    """A 0 on which backward() works, though it is computed from nothing."""
    return torch.tensor(0.0, requires_grad=True)


def dice_in_a_loop(logits, masks):
    probs, counted = F.softmax(logits, dim=1), masks != VOID
    predicted, losses = probs.argmax(dim=1), []
    for c in range(logits.shape[1]):
        p, g = probs[:, c][counted], (masks == c)[counted].float()
        if g.any() or (predicted[counted] == c).any():
            losses.append(1 - 2 * (p * g).sum() / (p.square().sum() + g.square().sum()))
    return torch.stack(losses).mean() if losses else logits.sum() * 0


def dice_by_einsum(logits, masks):
    p = logits.softmax(dim=1).movedim(1, -1)[masks != VOID]
    g = F.one_hot(masks[masks != VOID], logits.shape[1]).to(p.dtype)
    there = torch.zeros(logits.shape[1], dtype=torch.bool)
    there[masks[masks != VOID].unique()] = True
    there[p.argmax(dim=1).unique()] = True
    if not there.any():
        return 0.0 * logits.sum()
    dice = 2 * torch.einsum("nc,nc->c", p, g) / (torch.einsum("nc,nc->c", p, p) + g.sum(0))
    return 1 - dice[there].mean()


class DiceModule(nn.Module):
    """A loss as a module, with the Dice as a method of its own."""

    def dice(self, probs, truth):
        return (2 * (probs * truth).sum(PIXELS) + 1e-7) / ((probs**2 + truth**2).sum(PIXELS) + 1e-7)

    def forward(self, logits, masks):
        counted = (masks != VOID).unsqueeze(1)
        probs = logits.softmax(1) * counted
        truth = F.one_hot(masks.clamp(max=logits.shape[1] - 1), logits.shape[1]).permute(0, 3, 1, 2) * counted
        predicted = F.one_hot(logits.argmax(1), logits.shape[1]).permute(0, 3, 1, 2) * counted
        present = ((truth + predicted).sum(PIXELS) > 0).float()
        return ((1 - self.dice(probs, truth)) * present).sum() / present.sum().clamp(min=1)


def _from_package_module(logits, masks):
    from unet_lab.losses import DiceLoss

    return DiceLoss()(logits, masks)


DICE_VARIANTS = (
    dice_with(),
    dice_with(smooth=1e-7),
    dice_with(ratio=lambda intersection, total: 2 * intersection / (total + 1e-8)),
    lambda x, m: dice_with()(x.double(), m),
    lambda x, m: dice_with(activation=lambda logits: logits.log_softmax(1).exp())(x, m),
    dice_with(ratio=lambda intersection, total: intersection / (total / 2)),
    dice_in_a_loop,
    dice_by_einsum,
    when_nothing_counts(zero_of_its_own),
    DiceModule(),
    _from_package_module,
)
