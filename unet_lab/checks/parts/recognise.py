"""Probe images that are known again in whatever batch they come out, and what became of them, in words.

The colour of an image is its own, and so are the two ids in its mask, so that both are recognised after any resize,
crop or change of scale. The words are the same for every order, for both ways to pick the nearest pixel and for every
bilinear filter, with antialiasing or without it.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
import torch.nn.functional as F

from unet_lab.checks.compare import to_data, type_in_words, unfinished
from unet_lab.checks.parts.scores import VOID

PASSES = 4
PIXEL_TOLERANCE = 1.2 / 255  # a resize of uint8 pixels rounds them


def recognisable(rng, n, h, w):
    """uint8 images (n, 3, h, w), each a hue of its own under a grey texture, and masks with the ids 2i, 2i + 1 and void."""
    hues = 2 * np.pi * np.arange(n)[:, None] / n + 2 * np.pi * np.arange(3) / 3
    images = 128 + 50 * np.cos(hues)[..., None, None] + rng.integers(-45, 46, (n, 1, h, w))
    masks = 2 * np.arange(n)[:, None, None] + rng.integers(0, 2, (n, h, w))
    masks[rng.random(masks.shape) < 0.06] = VOID
    masks[:, h // 2, w // 2] = VOID
    return torch.from_numpy(images.round().astype(np.uint8)), torch.from_numpy(masks.astype(np.uint8))


def _image_of(pixels, n):
    """Which probe image this is, by its hue; -1 where there is none to see."""
    channels = next((axis for axis, length in enumerate(pixels.shape) if length == 3), None)
    if pixels.ndim != 3 or channels is None:
        return -1
    means = np.moveaxis(pixels, channels, 0).reshape(3, -1).mean(1)
    colour = (means * np.exp(2j * np.pi * np.arange(3) / 3)).sum()
    return round(-np.angle(colour) / (2 * np.pi) * n) % n if abs(colour) > 1e-6 else -1


def _mask_of(ids, n):
    """Which probe image this mask is of, by the most frequent pair of ids; -1 where it has none of them."""
    own = ids[(ids >= 0) & (ids < 2 * n)]
    return int(np.bincount((own // 2).astype(int)).argmax()) if own.size else -1


class _Filters:
    """What each probe image and mask may look like at the new size, by the name of the filter."""

    def __init__(self, images, masks, size):
        pixels, ids = images.float() / 255, masks[:, None].float()

        def resized(maps, mode, **options):
            return F.interpolate(maps, size=size, mode=mode, **options).numpy()

        smooth = ({"antialias": False}, {"antialias": True}, {"align_corners": True})
        nearest = ("nearest", "nearest-exact")
        self.images = {
            "bilinear": [resized(pixels, "bilinear", **options) for options in smooth],
            "nearest": [resized(pixels, mode) for mode in nearest],
            "bicubic": [resized(pixels, "bicubic", **options) for options in smooth],
        }
        rows, columns = (
            np.rint(np.linspace(0, a - 1, b)).astype(int) for a, b in zip(masks.shape[1:], size, strict=True)
        )
        picked = [resized(ids, mode)[:, 0] for mode in nearest]
        picked.append(ids[:, 0, rows][:, :, columns].numpy())  # corners on corners, as SciPy's zoom does
        self.masks = {"nearest": picked, "nearest, void became 0": [np.where(mask == VOID, 0, mask) for mask in picked]}
        self.sources = masks.numpy()

    def of_image(self, index, image):
        return self._name(self.images, index, image, PIXEL_TOLERANCE)

    def of_mask(self, index, mask):
        name = self._name(self.masks, index, mask, 0)
        foreign = name == "something else" and not np.isin(mask, self.sources[index]).all()
        return "ids that are not in the mask" if foreign else name

    @staticmethod
    def _name(filters, index, got, tolerance):
        for name, results in filters.items():
            if any(np.abs(got - result[index]).max() <= tolerance for result in results):
                return name
        return "something else"


# what came out, in words

SCALES = {"pixel / 255": 1.0, "0 to 255": 255.0, "all 0": 0.0}


def _scale(image, source):
    """The range that the pixels of one image are in."""
    if image.min() < -0.3:
        return "some are negative"
    ratio = float(image.mean() * 255 / source.mean())
    near = (name for name, scale in SCALES.items() if abs(ratio - scale) <= max(0.08 * scale, 1e-3))
    return next(near, "brighter than pixel / 255" if 1 < ratio < 1.7 else "another range")


def _in_one_word(words):
    """What holds for every image."""
    words = set(words)
    return words.pop() if len(words) == 1 else "different from image to image" if words else "not compared"


def _dtype(array):
    name = str(array.dtype).removeprefix("torch.")
    return name if isinstance(array, torch.Tensor) else f"NumPy {name}"


def _seen(orders, n):
    if any(-1 in order for order in orders):
        return "not recognisable"
    times = np.array([np.bincount(order, minlength=n) for order in orders])
    words = [word for word, found in (("some twice", times.max() > 1), ("some never", times.min() == 0)) if found]
    return ", ".join(words) or "each once"


def _kind_of_order(orders, batch_sizes):
    """`orders` is one list of image numbers a pass."""
    if all(order == sorted(order) for order in orders):
        return "as given"
    if all(order == orders[0] for order in orders):
        return "the same in each pass"
    if len(batch_sizes) > 1:
        parts = [torch.tensor(order).split(batch_sizes) for order in orders if len(order) == sum(batch_sizes)]
        together = {frozenset(frozenset(part.tolist()) for part in of_pass) for of_pass in parts}
        if len(together) == 1:
            return "the same images in each batch"
    return "new in each pass"


def _kind_of_pairs(image_orders, mask_orders):
    if image_orders == mask_orders:
        return "of their images"
    return "as given" if all(order == sorted(order) for order in mask_orders) else "of other images"


FACTS = (
    "each batch", "images in each batch", "shape of the first images", "shape of the first masks",
    "dtype of the images", "dtype of the masks", "pixels", "images in one pass", "masks", "order of the images",
    "images resized", "masks resized",
)  # fmt: skip


RETURNED = "returned, not yielded"


def facts_about(function, images, masks, batch_size, size):
    """What `PASSES` passes of `function` over the images give, in words; None for a stub."""
    given = [function(images, masks, batch_size, size) for _ in range(PASSES)]
    if unfinished(given):
        return None
    found = dict.fromkeys(FACTS, "not compared")
    if all(map(_is_pair, given)):
        return found | {"each batch": RETURNED}
    passes = [list(itertools.islice(iter(of_pass), len(images) + 1)) for of_pass in given]
    if unfinished(passes):
        return None
    items = list(itertools.chain(*passes))
    if not items or not all(_is_pair(item) for item in items):
        found["each batch"] = _in_one_word(map(type_in_words, map(to_data, items))) if items else "nothing at all"
        return found
    found |= _outside(passes[0], items, len(images))
    if all(part.ndim > 1 for item in items for part in item):
        found |= _inside(passes, images, masks, size)
    return found


def _is_pair(item):
    arrays = (torch.Tensor, np.ndarray)
    return isinstance(item, (tuple, list)) and len(item) == 2 and all(isinstance(part, arrays) for part in item)


def _outside(first_pass, items, n):
    sizes = [len(images) if images.ndim else 0 for images, _ in first_pass]
    return {
        "each batch": "images and masks",
        "images in each batch": "there is no end" if len(sizes) > n else ", ".join(map(str, sizes)),
        "shape of the first images": str(tuple(first_pass[0][0].shape)),
        "shape of the first masks": str(tuple(first_pass[0][1].shape)),
        "dtype of the images": _in_one_word(_dtype(images) for images, _ in items),
        "dtype of the masks": _in_one_word(_dtype(masks) for _, masks in items),
    }


def _inside(passes, images, masks, size):
    n, filters, sources = len(images), _Filters(images, masks, size), images.numpy()
    drawn, targets = (
        [[x for item in of_pass for x in to_data(item[part]).astype(float)] for of_pass in passes] for part in (0, 1)
    )
    image_orders = [[_image_of(image, n) for image in of_pass] for of_pass in drawn]
    mask_orders = [[_mask_of(mask, n) for mask in of_pass] for of_pass in targets]
    found = {
        "images in one pass": _seen(image_orders, n),
        "order of the images": _kind_of_order(image_orders, [len(item[0]) for item in passes[0]]),
        "masks": _kind_of_pairs(image_orders, mask_orders),
    }
    order, mask_order, drawn, targets = image_orders[0], mask_orders[0], drawn[0], targets[0]  # one pass is enough here
    if -1 not in order:
        found["pixels"] = _in_one_word(_scale(image, sources[i]) for i, image in zip(order, drawn, strict=True))
        scale = SCALES.get(found["pixels"], 1.0) or 1.0
        if all(image.shape == (3, *size) for image in drawn):
            found["images resized"] = _in_one_word(map(filters.of_image, order, (image / scale for image in drawn)))
    if -1 not in mask_order and all(mask.shape == tuple(size) for mask in targets):
        found["masks resized"] = _in_one_word(map(filters.of_mask, mask_order, targets))
    return found
