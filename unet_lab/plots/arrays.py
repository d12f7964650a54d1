"""What the pictures accept: tensors or arrays, checked and brought to one form."""

from __future__ import annotations

import numpy as np
from PIL import Image  # comes with matplotlib

from unet_lab import IGNORE_INDEX


def as_array(value) -> np.ndarray:
    """A torch tensor (any device, with or without gradient) or anything array-like, as a numpy array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # numpy has no such type
            value = value.float()
    return np.asarray(value)


def as_rgb(image, argument: str = "image") -> np.ndarray:
    """An image as float32 ``(H, W, 3)`` in [0, 1].

    Takes ``(H, W)``, ``(C, H, W)`` or ``(H, W, C)`` with 1 or 3 channels; floats in [0, 1] or whole numbers 0 … 255.
    """
    array = as_array(image)
    expected = f"{argument} must be (H, W), (C, H, W) or (H, W, C) with 1 or 3 channels"
    if array.ndim == 4:
        raise ValueError(f"{expected}; got {array.shape}. A batch? Pass one image of it, {argument}[0].")
    if array.ndim not in (2, 3) or array.size == 0:
        raise ValueError(f"{expected}; got {array.shape}.")
    if array.ndim == 3:
        first, last = array.shape[0] in (1, 3), array.shape[2] in (1, 3)
        if not first and not last:
            mend = "More channels? Pick one or three of them: image[:3]."
            raise ValueError(f"{expected}; got {array.shape}. {mend}")
        if first and last:
            raise ValueError(f"{expected}; {array.shape} could be channels first or last. Pass a wider image.")
        array = array if last else np.moveaxis(array, 0, 2)
    else:
        array = array[:, :, None]
    whole = np.issubdtype(array.dtype, np.integer)
    if not np.isfinite(array).all():
        raise ValueError(f"{argument} holds NaN or infinite values. Look at the step that made it.")
    low, high = array.min(), array.max()
    if whole and not 0 <= low <= high <= 255:
        mend = f"{array.dtype}? Turn it into floats and divide by its largest value."
        raise ValueError(f"{argument} of whole numbers must hold 0 … 255; got {low} … {high}. {mend}")
    if not whole and not -0.01 <= low <= high <= 1.01:  # resizing may overshoot a little
        mend = "Pass it before normalisation." if low < 0 else "Values up to 255? Divide by 255."
        raise ValueError(f"{argument} of floats must lie in [0, 1]; got {low:.3g} … {high:.3g}. {mend}")
    array = (array.astype(np.float32) / (255 if whole else 1)).clip(0, 1)
    return np.broadcast_to(array, (*array.shape[:2], 3))


def as_grey(image, argument: str = "image") -> np.ndarray:
    """An image's luma (ITU-R BT.601), smoothed and in 9 steps, float32 ``(H, W, 3)``: what colours are laid over.

    On grey, a colour can only mean a class. The image itself is beside it or known; smoothing keeps its forms and
    leaves the noise, which is most of a PNG's size.
    """
    luma = as_rgb(image, argument) @ np.array([0.299, 0.587, 0.114], np.float32)
    for _ in range(2):
        around = np.pad(luma, 1, mode="edge")
        around = around[:-2] + 2 * around[1:-1] + around[2:]
        luma = (around[:, :-2] + 2 * around[:, 1:-1] + around[:, 2:]) / 16
    return np.repeat((np.round(luma * 8) / 8)[:, :, None], 3, axis=2)


def few_colours(image: np.ndarray, count: int = 48) -> np.ndarray:
    """An RGB float image in its own `count` colours, for a PNG of half the size.

    Colours are weighed by the root of their area: by the area itself, a person in red would lose to shades of asphalt.
    """
    pixels = np.ascontiguousarray((image * 255).round().astype(np.uint8))
    flat = pixels.reshape(-1, 3)
    cells = (flat.astype(int) >> 4) @ np.array([256, 16, 1])
    areas = np.bincount(cells, minlength=4096)
    cell_ids = np.flatnonzero(areas)
    sums = np.stack([np.bincount(cells, flat[:, channel], minlength=4096) for channel in range(3)], axis=1)
    means = (sums[cell_ids] / areas[cell_ids, None]).round().astype(np.uint8)
    weighed = np.repeat(means, np.sqrt(areas[cell_ids]).round().astype(int), axis=0)
    palette = Image.fromarray(weighed[None]).quantize(count, method=Image.Quantize.MEDIANCUT, kmeans=3)
    chosen = Image.fromarray(pixels).quantize(palette=palette, dither=Image.Dither.NONE)
    return np.asarray(chosen.convert("RGB"), np.float32) / 255


def as_labels(labels, argument: str = "mask", *, shape: tuple[int, int] | None = None) -> np.ndarray:
    """A map of whole numbers as int64 ``(H, W)``; `shape` is what it must fit."""
    array = as_array(labels)
    if array.ndim == 3 and array.shape[0] == 1:
        raise ValueError(f"{argument} must be (H, W); got {array.shape}. Drop the first dimension: {argument}[0].")
    if array.ndim != 2 or array.size == 0:
        mend = " Logits? Take logits.argmax(dim=1), then one image of the batch." if array.ndim > 2 else ""
        raise ValueError(f"{argument} must be (H, W); got {array.shape}.{mend}")
    if array.dtype != bool and not np.issubdtype(array.dtype, np.integer):
        raise TypeError(
            f"{argument} must hold whole numbers (ids); got {array.dtype}. Logits or probs? Take the argmax."
        )
    if shape is not None and array.shape != shape:
        raise ValueError(
            f"{argument} has {array.shape[0]} × {array.shape[1]} pixels, expected {shape[0]} × {shape[1]} (H × W). "
            "Resized on one side only?"
        )
    return array.astype(np.int64)


def as_mask(mask, num_classes: int | None = None, argument: str = "mask", *, shape: tuple[int, int] | None = None):
    """A mask as int64 ``(H, W)`` whose ids are below `num_classes` or void."""
    array = as_labels(mask, argument, shape=shape)
    ids = np.unique(array)
    limit = IGNORE_INDEX if num_classes is None else num_classes
    wrong = ids[((ids < 0) | (ids >= limit)) & (ids != IGNORE_INDEX)]
    if len(wrong):
        raise ValueError(
            f"{argument} must hold class ids 0 … {limit - 1} or {IGNORE_INDEX} (void); got {wrong[:5].tolist()}. "
            "Does class_names (or colours) have every class? Is it an instance or panoptic map?"
        )
    return array
