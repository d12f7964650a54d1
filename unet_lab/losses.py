"""Losses for segmentation: cross-entropy, Dice, their sum, and focal.

Each takes `logits` (N, C, H, W), straight from the network, and `masks` (N, H, W), class ids. The softmax is inside and
comes first; void pixels (`ignore_index`) are left out after it. One logit channel (C = 1) means two classes, background
0 and foreground 1, with sigmoid in place of softmax. Half-precision logits are raised to float32 before anything is
summed, with or without autocast: in float16 the sum of 512 x 512 ones is inf, in bfloat16 256 + 1 is 256.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def dice_loss(logits: Tensor, masks: Tensor, *, include_background: bool = True, ignore_index: int = 255) -> Tensor:
    """Soft Dice loss, a scalar in [0, 1]: `1 - 2 Σ p g / (Σ p² + Σ g²)`, averaged over the classes.

    p is the predicted probability of the class and g its truth (1 or 0). The sums run over every pixel of the batch
    that is not void: one number a class for the whole batch, not one an image. A class counts in the mean if it is
    present, that is, if some pixel that is not void has it as its truth or as its most probable class. With no class
    present (everything void) the loss is 0 and so is its gradient. No smoothing term.

    Args:
        logits: (N, C, H, W), floating point. C = 1 gives the Dice of the foreground alone.
        masks: (N, H, W), int64, ids 0..C-1 (0 and 1 if C = 1) or `ignore_index`.
        include_background: False leaves class 0 out of the mean.
        ignore_index: the id of void pixels.

    Raises:
        TypeError: logits are not floating point, or masks not int64.
        ValueError: the shapes don't fit each other, or masks hold an id that is neither a class nor void.

    Source: Milletari, Navab and Ahmadi 2016, "V-Net", section 3.

    By hand: an object of 4 pixels in a 4 x 4 image. The network finds 3 of them and raises one false alarm; it says
    p = 0.8 where it sees the object, p = 0.2 elsewhere.

    >>> import math
    >>> masks = torch.tensor([[[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]])
    >>> seen = torch.tensor([[[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]])
    >>> object_logits = math.log(4) * (2 * seen - 1)     # (1, 4, 4); sigmoid(log 4) = 4 / (4 + 1) = 0.8

    Σ p g = 3 · 0.8 + 1 · 0.2 = 2.6,  Σ p² = 4 · 0.64 + 12 · 0.04 = 3.04,  Σ g² = 4,  loss = 1 - 5.2 / 7.04 = 0.261:

    >>> round(dice_loss(object_logits[:, None], masks).item(), 3)     # one logit, (1, 1, 4, 4)
    0.261

    With one logit a class, the background has a Dice too: Σ p g = 11 · 0.8 + 1 · 0.2 = 9,
    Σ p² = 12 · 0.64 + 4 · 0.04 = 7.84,  Σ g² = 12,  loss = 1 - 18 / 19.84 = 0.093. The mean of 0.261 and 0.093:

    >>> logits = torch.stack([torch.zeros(1, 4, 4), object_logits], dim=1)     # (1, 2, 4, 4)
    >>> round(dice_loss(logits, masks).item(), 3)
    0.177
    """
    _validate(logits, masks, ignore_index)
    return _dice_loss(logits, masks, include_background, ignore_index)


def dice_loss_from_probs(
    probs: Tensor, masks: Tensor, *, include_background: bool = True, ignore_index: int = 255
) -> Tensor:
    """`dice_loss` of probabilities (N, C, H, W): nothing is applied to them. Raises ValueError if they leave [0, 1].

    >>> probs = torch.tensor([[[[0.8, 0.2]]]])     # (1, 1, 1, 2): the foreground's
    >>> round(dice_loss_from_probs(probs, torch.tensor([[[1, 0]]])).item(), 4)     # 1 - 2 · 0.8 / (0.64 + 0.04 + 1)
    0.0476
    """
    _validate(probs, masks, ignore_index, name="probs")
    low, high = (bound.item() for bound in probs.detach().aminmax()) if probs.numel() else (0.0, 1.0)
    if not (low >= 0 and high <= 1.001):  # a float16 or bfloat16 softmax may round to just above 1
        raise ValueError(
            f"probs must lie in [0, 1]; got values from {low:.4g} to {high:.4g}. Logits? Call dice_loss, which applies "
            "the softmax."
        )
    include_background = include_background and probs.shape[1] > 1
    probs = _at_least_float32(probs)
    if probs.shape[1] == 1:
        probs = torch.cat([1 - probs, probs], dim=1)  # (N, 2, H, W)
    return _mean_dice_loss(probs, masks, include_background, ignore_index)


def cross_entropy(
    logits: Tensor, masks: Tensor, *, class_weights: Tensor | Sequence[float] | None = None, ignore_index: int = 255
) -> Tensor:
    """Cross-entropy, a scalar in nats: `Σ w_y · (-log p_y) / Σ w_y` over the pixels that are not void.

    y is a pixel's class. It is the number that `torch.nn.functional.cross_entropy` gives, with two additions: if
    nothing counts (everything void) it is 0 with a gradient of 0, where torch gives nan; and one logit channel is
    binary cross-entropy.

    Args:
        logits, masks, ignore_index: as in `dice_loss`, which see for what is raised.
        class_weights: (C,), or (background, foreground) if C = 1. None weighs all classes alike.

    >>> logits = torch.tensor([[[[0.0, 0.0]], [[0.0, 1.0986]]]])     # (1, 2, 1, 2); 1.0986 = log 3
    >>> masks = torch.tensor([[[0, 1]]])
    >>> round(cross_entropy(logits, masks).item(), 3)     # (log 2 + log 4/3) / 2
    0.49
    >>> round(cross_entropy(logits, masks, class_weights=[1, 3]).item(), 3)     # (log 2 + 3 log 4/3) / 4
    0.389
    """
    _validate(logits, masks, ignore_index)
    return _cross_entropy(logits, masks, class_weights, ignore_index)


def focal_loss(
    logits: Tensor,
    masks: Tensor,
    *,
    gamma: float = 2.0,
    class_weights: Tensor | Sequence[float] | None = None,
    ignore_index: int = 255,
) -> Tensor:
    """Focal loss, a scalar: cross-entropy with each pixel's term multiplied by `(1 - p_y) ** gamma`.

    A pixel that is already right (p_y near 1) hardly speaks any more. gamma = 0 is `cross_entropy`, and the mean is
    taken as there: over the pixels that are not void, by their class weights. (Lin et al. divide by the number of
    objects.)

    Args:
        logits, masks, class_weights, ignore_index: as in `cross_entropy`.
        gamma: 0 or more.

    Raises:
        ValueError: gamma is negative; and as in `dice_loss`.

    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", equation 5, with class_weights as alpha.

    >>> logits = torch.tensor([[[[0.0, 2.1972]]]])     # (1, 1, 1, 2): p = 0.5 and p = 0.9
    >>> round(focal_loss(logits, torch.tensor([[[1, 1]]])).item(), 4)     # (0.5² log 2 + 0.1² log 10/9) / 2
    0.0872
    """
    if gamma < 0:
        raise ValueError(f"gamma must be 0 or more; got {gamma}. 0 is plain cross-entropy, 2 the paper's choice.")
    _validate(logits, masks, ignore_index)
    losses = _pixel_cross_entropy(logits, masks, ignore_index)  # (N, H, W), -log p_y
    one_minus_p = -torch.expm1(-losses)
    # At exactly 0 the power's derivative is infinite for gamma < 1, and infinity times 0 is nan.
    one_minus_p = one_minus_p.clamp(min=torch.finfo(losses.dtype).tiny)
    return _mean_over_counted(one_minus_p**gamma * losses, logits, masks, class_weights, ignore_index)


def class_weights(pixel_counts: Tensor | Sequence[int], power: float = 1.0) -> Tensor:
    """Weights (C,) float32, larger for rarer classes: `w_c = (mean count of the present classes / n_c) ** power`.

    power = 1 is inverse frequency, 0.5 its square root, 0 no weighting. A class with no pixel gets 0.

    Args:
        pixel_counts: (C,), the number of pixels n_c of each class in the training set.
        power: how far to go towards inverse frequency.

    Raises:
        ValueError: not one row of counts, a negative count, or no pixel at all.

    >>> class_weights([900, 100, 0])     # mean of 900 and 100 = 500
    tensor([0.5556, 5.0000, 0.0000])
    >>> class_weights([900, 100, 0], power=0.5)
    tensor([0.7454, 2.2361, 0.0000])
    """
    counts = torch.as_tensor(pixel_counts, dtype=torch.float64)
    if counts.ndim != 1 or not (counts >= 0).all():
        came = counts.tolist() if counts.ndim == 1 else f"shape {tuple(counts.shape)}"
        raise ValueError(
            f"pixel_counts must be one count of 0 or more for each class, shape (C,); got {came}. "
            "Masks? Count them: masks[masks != 255].bincount(minlength=num_classes)."
        )
    present = counts > 0
    if not present.any():
        raise ValueError("pixel_counts are all 0: no class has a pixel. Are all masks void, or is the data set empty?")
    weights = (counts[present].mean() / counts) ** power
    return weights.masked_fill(~present, 0).float()


class DiceLoss(nn.Module):
    """`dice_loss` as a module."""

    def __init__(self, include_background: bool = True, ignore_index: int = 255) -> None:
        super().__init__()
        self.include_background = include_background
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        return dice_loss(logits, masks, include_background=self.include_background, ignore_index=self.ignore_index)


class CrossEntropyDiceLoss(nn.Module):
    """`ce_weight · cross_entropy + dice_weight · dice_loss`.

    class_weights (C,) go to the cross-entropy alone: Dice already gives each class one voice. They move with the module
    (`.to(device)`).
    """

    def __init__(
        self,
        class_weights: Tensor | Sequence[float] | None = None,
        ce_weight: float = 1.0,
        dice_weight: float = 1.0,
        ignore_index: int = 255,
    ) -> None:
        super().__init__()
        weights = None if class_weights is None else torch.as_tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights)
        self.ce_weight = ce_weight
        self.dice_weight = dice_weight
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        _validate(logits, masks, self.ignore_index)
        ce = _cross_entropy(logits, masks, self.class_weights, self.ignore_index)
        dice = _dice_loss(logits, masks, include_background=True, ignore_index=self.ignore_index)
        return self.ce_weight * ce + self.dice_weight * dice


def _dice_loss(logits: Tensor, masks: Tensor, include_background: bool, ignore_index: int) -> Tensor:
    include_background = include_background and logits.shape[1] > 1
    probs = _as_two_or_more(_at_least_float32(logits)).softmax(dim=1)  # (N, C, H, W)
    return _mean_dice_loss(probs, masks, include_background, ignore_index)


def _mean_dice_loss(probs: Tensor, masks: Tensor, include_background: bool, ignore_index: int) -> Tensor:
    classes = torch.arange(probs.shape[1], device=probs.device).view(1, -1, 1, 1)  # (1, C, 1, 1)
    counted = (masks != ignore_index).unsqueeze(1)  # (N, 1, H, W)
    truth = (masks.unsqueeze(1) == classes) & counted  # (N, C, H, W)
    top = probs.max(dim=1, keepdim=True).indices  # (N, 1, H, W); argmax over this axis takes 6 times as long on a CPU
    predicted = (top == classes) & counted  # (N, C, H, W)
    probs = probs.where(counted, 0)

    pixels = (0, 2, 3)
    intersection = (probs * truth).sum(pixels)  # (C,)
    denominator = probs.square().sum(pixels) + truth.sum(pixels)  # (C,); g² = g
    present = (truth | predicted).any(dim=pixels)  # (C,)
    if not include_background:
        present = present & (classes.flatten() > 0)

    # An absent class is given 0/1 in place of a possible 0/0, whose nan would spoil the gradient of the others.
    losses = 1 - 2 * intersection / denominator.where(present, 1)
    return losses.where(present, 0).sum() / present.sum().clamp(min=1)


def _cross_entropy(
    logits: Tensor, masks: Tensor, class_weights: Tensor | Sequence[float] | None, ignore_index: int
) -> Tensor:
    losses = _pixel_cross_entropy(logits, masks, ignore_index)
    return _mean_over_counted(losses, logits, masks, class_weights, ignore_index)


def _pixel_cross_entropy(logits: Tensor, masks: Tensor, ignore_index: int) -> Tensor:
    """(N, H, W), unweighted; 0 at void pixels."""
    logits = _as_two_or_more(_at_least_float32(logits))
    return F.cross_entropy(logits, masks, ignore_index=ignore_index, reduction="none")


def _mean_over_counted(
    losses: Tensor, logits: Tensor, masks: Tensor, class_weights: Tensor | Sequence[float] | None, ignore_index: int
) -> Tensor:
    """Mean of losses (N, H, W) over the pixels that are not void, weighted by the weight of their class."""
    weights = masks != ignore_index  # (N, H, W)
    if class_weights is not None:
        class_weights = torch.as_tensor(class_weights, dtype=losses.dtype, device=losses.device)
        num_classes = max(logits.shape[1], 2)
        if class_weights.shape != (num_classes,):
            raise ValueError(
                f"class_weights must have shape ({num_classes},) for logits {tuple(logits.shape)}; "
                f"got {tuple(class_weights.shape)}. One weight for each class, the background's first."
            )
        weights = class_weights[masks.where(weights, 0)] * weights
    total = weights.sum()
    return (losses * weights).sum() / total.masked_fill(total == 0, 1)  # 0/1 where nothing counts


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _as_two_or_more(logits: Tensor) -> Tensor:
    """One logit z as the pair (0, z), whose softmax is (1 - sigmoid(z), sigmoid(z)); others unchanged."""
    return torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits


def _validate(logits: Tensor, masks: Tensor, ignore_index: int, name: str = "logits") -> None:
    if not logits.is_floating_point():
        raise TypeError(f"{name} must be floating point; got {logits.dtype}. Swapped? {name} come first, then masks.")
    if logits.ndim != 4:
        mend = f" One image? Add the batch axis: {name}[None]." if logits.ndim == 3 else ""
        raise ValueError(f"{name} must have shape (N, C, H, W); got {tuple(logits.shape)}.{mend}")

    num_images, channels, *size = logits.shape
    if masks.shape != (num_images, *size):
        if masks.shape == logits.shape and channels > 1:
            mend = " One-hot masks? Take masks.argmax(dim=1)."
        elif masks.ndim == 4:
            mend = " Drop the channel axis: masks[:, 0]."
        elif masks.ndim == 2:
            mend = " One mask? Add the batch axis: masks[None]."
        else:
            mend = " Resize and crop images and masks together."
        raise ValueError(
            f"masks must have shape (N, H, W) = {(num_images, *size)} for {name} {tuple(logits.shape)}; "
            f"got {tuple(masks.shape)}.{mend}"
        )
    if masks.dtype != torch.int64:
        raise TypeError(f"masks must hold class ids as torch.int64; got {masks.dtype}. Use masks.long().")

    if masks.numel() == 0 or torch.compiler.is_compiling():  # a look at the values would break the compiled graph
        return
    num_classes = max(channels, 2)
    lowest, highest = (bound.item() for bound in masks.where(masks != ignore_index, 0).aminmax())
    if lowest < 0 or highest >= num_classes:
        wrong = lowest if lowest < 0 else highest
        more = "" if wrong < 0 else f" A class? The network needs num_classes={wrong + 1} or more."
        raise ValueError(
            f"masks hold the id {wrong}; for {name} {tuple(logits.shape)} the classes are 0..{num_classes - 1} and "
            f"void is {ignore_index}. Void? Pass ignore_index={wrong}.{more}"
        )
