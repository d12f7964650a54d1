"""Dice and cross-entropy with each of their steps open to change: the wrong losses of lesson 3 and of E08.

Unchanged, `dice_with()` is the package's `dice_loss`; its tests compare the two.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from unet_lab.checks.exercise import Mistake

VOID = 255
PIXELS = (0, 2, 3)
"""Images, rows and columns of (N, C, H, W): what the sums of one class run over."""


def softmax(logits):
    return logits.softmax(dim=1)


def one_hot(logits, masks):
    """(N, C, H, W) in the dtype of the logits; all 0 at void."""
    classes = torch.arange(logits.shape[1]).view(1, -1, 1, 1)
    return (masks[:, None] == classes).to(logits.dtype)


def blanked_at_void(values, masks):
    """(N, C, H, W) with 0 at void."""
    return values.where((masks != VOID)[:, None], 0)


def sums(probs, truth, *, axes=PIXELS, power=2):
    """Σ p g and Σ p² + Σ g²."""
    return (probs * truth).sum(axes), (probs**power).sum(axes) + (truth**power).sum(axes)


def classes_present(probs, truth, axes=PIXELS):
    """Whether a class is in the truth or in the prediction, at a pixel that is not void."""
    counted = truth.sum(dim=1, keepdim=True) > 0
    predicted = one_hot(probs, probs.argmax(dim=1)) * counted
    return (truth + predicted).sum(axes) > 0


def in_truth(probs, truth, axes=PIXELS):
    return truth.sum(axes) > 0


def all_classes(probs, truth, axes=PIXELS):
    return torch.ones_like(truth.sum(axes), dtype=torch.bool)


def coefficient(intersection, total):
    return 2 * intersection / total


def mean_of(losses, present):
    """The mean over the present classes; 0 if there is none."""
    return losses.where(present, 0).sum() / present.sum().clamp(min=1)


def dice_with(
    *,
    activation=softmax,
    blank=blanked_at_void,
    axes=PIXELS,
    power=2,
    ratio=coefficient,
    smooth=0.0,
    present=classes_present,
    loss=lambda dice: 1 - dice,
    total=mean_of,
    clean=lambda masks, num_classes: masks,
):
    """A Dice loss with some steps changed.

    clean       masks, num_classes -> masks, before anything else
    activation  logits -> probabilities
    blank       probabilities, masks -> probabilities, 0 where nothing counts
    axes, power what is summed, and to which power in the denominator
    ratio       intersection, denominator -> the Dice of each class; `smooth` is added to both, twice above
    present     which classes count
    loss, total Dice of each class -> loss of each, -> one number
    """

    def dice_loss(logits, masks):
        masks = clean(masks, logits.shape[1])
        truth = one_hot(logits, masks)
        probs = activation(logits)
        intersection, denominator = sums(blank(probs, masks), truth, axes=axes, power=power)
        counts = present(probs, truth, axes)
        dice = ratio(intersection + smooth / 2, (denominator + smooth).where(counts, 1))
        return total(loss(dice), counts)

    return dice_loss


def _hard(logits):
    return one_hot(logits, logits.argmax(dim=1))


def _jaccard(intersection, total):
    return intersection / (total - intersection)


def _only(*classes):
    """The mean over some classes, and what counts among them."""
    return lambda losses, present: mean_of(losses[slice(*classes)], present[slice(*classes)])


def _sum_of(losses, present):
    return losses.where(present, 0).sum()


def _one_minus_sum(losses, present):
    return 1 - (1 - losses).where(present, 0).sum()


def _with_presence_of_batch(probs, truth, axes):
    return classes_present(probs, truth).expand(len(probs), -1)


def _without_factor(intersection, total):
    return intersection / total


def _smoothed_below(logits, masks):
    """With 1 added to the denominator alone."""
    return dice_with(ratio=lambda intersection, total: 2 * intersection / (total + 1))(logits, masks)


DICE_MISTAKES = (
    Mistake(
        "plain denominators",
        dice_with(power=1),
        "Your denominator is Σ p + Σ g; in this course it is Σ p² + Σ g²: square the probabilities before you sum them.",
    ),
    Mistake(
        "coefficient, not loss",
        dice_with(loss=lambda dice: dice),
        "This is the Dice coefficient, which grows with a better prediction; the loss is 1 − Dice.",
    ),
    Mistake(
        "minus Dice",
        dice_with(loss=lambda dice: -dice),
        "−Dice trains as well as 1 − Dice, but the loss of a perfect prediction should be 0: add the 1.",
    ),
    Mistake(
        "factor 2 missing",
        dice_with(ratio=_without_factor),
        "The numerator is 2 Σ p g; without the 2 a perfect prediction would still cost 0.5.",
    ),
    Mistake(
        "IoU",
        dice_with(ratio=_jaccard),
        "Your denominator takes the intersection away, as IoU does; Dice divides 2 Σ p g by Σ p² + Σ g².",
    ),
    Mistake(
        "no softmax",
        dice_with(activation=lambda logits: logits),
        "p has to be a probability: apply softmax to the logits over dim=1 first.",
    ),
    Mistake(
        "softmax twice",
        dice_with(activation=lambda logits: logits.softmax(1).softmax(1)),
        "Softmax is applied twice, which flattens the probabilities; once is right.",
    ),
    Mistake(
        "sigmoid in place of softmax",
        dice_with(activation=torch.sigmoid),
        "A pixel belongs to exactly one class, so its probabilities come from softmax over the classes, not from sigmoid.",
    ),
    Mistake(
        "softmax along the width",
        dice_with(activation=lambda logits: logits.softmax(-1)),
        "This softmax runs over the last axis, the columns; the classes are on axis 1: dim=1.",
    ),
    Mistake(
        "softmax along the batch",
        dice_with(activation=lambda logits: logits.softmax(0)),
        "This softmax runs over the images; the classes are on axis 1: dim=1.",
    ),
    Mistake(
        "log-softmax",
        dice_with(activation=lambda logits: logits.log_softmax(1)),
        "log_softmax gives log p; Dice needs p itself, softmax.",
    ),
    Mistake(
        "one sum over all classes",
        dice_with(axes=(0, 1, 2, 3)),
        "The classes are summed together, so large classes drown small ones; take one Dice a class and then the mean.",
    ),
    Mistake(
        "mean per image",
        dice_with(axes=(2, 3)),
        "You take one Dice an image; here the sums of a class run over all images of the batch, axes 0, 2 and 3.",
        others=(
            dice_with(axes=(2, 3), present=_with_presence_of_batch),
            dice_with(axes=(2, 3), present=all_classes),
        ),
    ),
    Mistake(
        "one Dice an image over all classes",
        dice_with(axes=(1, 2, 3)),
        "The sums should run over images, rows and columns (axes 0, 2, 3) and leave the classes apart; yours leave the images.",
    ),
    Mistake(
        "argmax",
        dice_with(activation=_hard),
        "argmax makes hard decisions, through which no gradient flows; use the probabilities.",
    ),
    Mistake(
        "background left out",
        dice_with(total=_only(1, None)),
        "Class 0 is missing from your mean; here the background is a class like the others.",
    ),
    Mistake(
        "background alone",
        dice_with(total=_only(0, 1)),
        "This is the loss of class 0; take the mean over all classes.",
    ),
    Mistake(
        "sum over classes",
        dice_with(total=_sum_of),
        "You add the losses of the classes; take their mean, so that the loss stays between 0 and 1.",
    ),
    Mistake(
        "1 minus a sum",
        dice_with(total=_one_minus_sum),
        "You add the Dice of the classes before you subtract; take their mean.",
    ),
    Mistake(
        "too much smoothing",
        dice_with(smooth=1.0),
        "A smoothing term of this size moves the loss of small objects; leave it out, or make it tiny (1e-7).",
        others=(dice_with(smooth=0.1), dice_with(smooth=10.0), dice_with(smooth=2.0), _smoothed_below),
    ),
    Mistake(
        "one loss a class",
        dice_with(total=lambda losses, present: losses),
        "This is one loss for each class; the mean over the classes is still to be taken.",
    ),
)
"""What goes wrong with Dice even where there is no void and every class occurs."""


def pixel_losses(logits, masks):
    """Cross-entropy (N, H, W), 0 at void."""
    return F.cross_entropy(logits, masks, ignore_index=VOID, reduction="none")


def logits_and_masks(rng, n, num_classes, h, w):
    """Every class occurs; classes are unequally frequent, and logits lean towards the truth, more in some images."""
    frequency = rng.dirichlet(torch.arange(1, num_classes + 1).numpy() * 2.0)
    masks = rng.choice(num_classes, size=n * h * w, p=frequency)
    masks[rng.permutation(n * h * w)[:num_classes]] = range(num_classes)
    masks = torch.from_numpy(masks).reshape(n, h, w)
    logits = torch.from_numpy(rng.normal(size=(n, num_classes, h, w))).float()
    lean = torch.linspace(0.3, 2.5, n).view(-1, 1, 1, 1)
    return logits + lean * one_hot(logits, masks), masks


def with_void(rng, masks, share):
    """Some pixels become void: one at least, never all of an image, more in some images."""
    void = torch.from_numpy(rng.random(masks.shape)) < share * torch.linspace(0.3, 1.7, len(masks)).view(-1, 1, 1)
    void[0, 0, 0], void[:, 0, 1] = True, False
    return masks.where(~void, VOID)
