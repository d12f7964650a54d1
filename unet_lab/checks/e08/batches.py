"""Exercise E08, task 4: `batches`, judged whatever order it draws."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from unet_lab.checks.exercise import Exercise, Mistake
from unet_lab.checks.parts.recognise import facts_about, recognisable
from unet_lab.checks.parts.scores import VOID


def batches(images, masks, batch_size, size):
    order = torch.randperm(len(images))
    for chosen in order.split(batch_size):
        pixels = images[chosen].float() / 255
        ids = masks[chosen][:, None].float()  # (N, 1, H, W)
        resized = F.interpolate(pixels, size=size, mode="bilinear", antialias=True)
        yield resized, F.interpolate(ids, size=size, mode="nearest-exact")[:, 0].long()


def _probes(rng):
    """At the same size, at half the size, and at a size that is larger one way and smaller the other."""
    return [
        (*recognisable(rng, 7, 6, 8), 3, (6, 8)),
        (*recognisable(rng, 8, 16, 24), 4, (8, 12)),
        (*recognisable(rng, 9, 10, 16), 4, (14, 11)),
    ]


# wrong ways


def _shuffled(n, batch_size):
    return torch.randperm(n).split(batch_size)


def _as_given(n, batch_size):
    return torch.arange(n).split(batch_size)


def _same_each_time(n, batch_size):
    return torch.randperm(n, generator=torch.Generator().manual_seed(0)).split(batch_size)


def _fixed_batches(n, batch_size):
    parts = _as_given(n, batch_size)
    return [parts[i] for i in torch.randperm(len(parts))]


def _with_replacement(n, batch_size):
    return torch.randint(n, (n,)).split(batch_size)


def _without_the_last(n, batch_size):
    return [part for part in _shuffled(n, batch_size) if len(part) == batch_size]


def _without_end(n, batch_size):
    while True:
        yield from _shuffled(n, batch_size)


def _pixels(images, size, mode="bilinear"):
    return F.interpolate(images.float() / 255, size=size, mode=mode)


def _ids(masks, size, mode="nearest"):
    return F.interpolate(masks[:, None].float(), size=size, mode=mode)[:, 0].long()


def _with(order=_shuffled, mask_order=None, image=_pixels, mask=_ids):
    """`batches` with something changed; the orders give one tensor of indices a batch."""

    def wrong(images, masks, batch_size, size):
        drawn = order(len(images), batch_size)
        targets = drawn if mask_order is None else mask_order(len(images), batch_size)
        for i, m in zip(drawn, targets, strict=False) if mask_order else ((i, i) for i in drawn):
            yield image(images[i], size), mask(masks[m], size)

    return wrong


def _masks_first(images, masks, batch_size, size):
    for x, y in batches(images, masks, batch_size, size):
        yield y, x


def _cropped(images, masks, batch_size, size):
    yield from batches(images[..., : size[0], : size[1]], masks[:, : size[0], : size[1]], batch_size, size)


def _gathered(images, masks, batch_size, size):
    """A list; all is resized first, with the other filters."""
    pixels = F.interpolate(images / 255, size=size, mode="bilinear", align_corners=False)
    ids = F.interpolate(masks[:, None].double(), size=size, mode="nearest").squeeze(1).long()
    order = torch.randperm(len(pixels)).tolist()
    starts = range(0, len(order), batch_size)
    return [(pixels[order[i : i + batch_size]], ids[order[i : i + batch_size]]) for i in starts]


def _from_a_loader(images, masks, batch_size, size):
    pairs = list(zip(images, masks, strict=True))
    for x, y in torch.utils.data.DataLoader(pairs, batch_size=batch_size, shuffle=True):
        yield _pixels(x, size), _ids(y, size, "nearest-exact")


BATCHES = Exercise(
    key="e08-batches",
    task="Images (N, 3, H, W) and masks (N, H, W), both uint8, in one random order, each once: batches of float32 "
    "images in [0, 1], resized bilinearly to size = (h, w), and int64 masks, resized by nearest.",
    reference=batches,
    probes=_probes,
    measure=facts_about,
    setting="Four passes over a few random images",
    mistakes=(
        Mistake(
            "masks shuffled apart from images",
            _with(mask_order=_shuffled),
            "Images and masks are shuffled each in its own order, so a mask comes with a stranger's image. Draw one "
            "order and use it for both.",
        ),
        Mistake(
            "only the images shuffled",
            _with(mask_order=_as_given),
            "The images are shuffled and the masks are not, so they no longer belong together. Use one order for both.",
        ),
        Mistake(
            "not shuffled",
            _with(_as_given),
            "The images come in the order given, the same in each epoch; draw a random order.",
        ),
        Mistake(
            "the same order in each pass",
            _with(_same_each_time),
            "Each call gives the same order; a fixed seed inside the function does that. Draw a new order each time.",
        ),
        Mistake(
            "the same images in each batch",
            _with(_fixed_batches),
            "The same images always share a batch; shuffle the images first, then cut the order into batches.",
        ),
        Mistake(
            "drawn with replacement",
            _with(_with_replacement),
            "Some images come twice and others never: random indices repeat. A random permutation has each index once.",
        ),
        Mistake(
            "last batch dropped",
            _with(_without_the_last),
            "The last images are missing when they don't fill a batch; a smaller last batch is right.",
        ),
        Mistake(
            "first batch only",
            _with(lambda n, batch_size: _shuffled(n, batch_size)[:1]),
            "Only one batch comes out. Does the function return inside its loop? A generator yields and goes on.",
        ),
        Mistake(
            "return in place of yield",
            lambda *arguments: next(batches(*arguments)),
            "The function returns one batch and ends there. A generator says yield in the place of return, and goes on "
            "with the next batch.",
        ),
        Mistake(
            "all in one batch",
            _with(lambda n, batch_size: [torch.randperm(n)]),
            "All images come in one batch; cut the order into pieces of batch_size.",
        ),
        Mistake(
            "one image a batch",
            _with(lambda n, batch_size: torch.randperm(n).split(1)),
            "Each batch holds one image; it should hold batch_size of them.",
        ),
        Mistake(
            "no end",
            _with(_without_end),
            "The batches never end; one call is one pass, in which each image comes once.",
        ),
        Mistake(
            "images in 0 to 255",
            _with(image=lambda x, size: _pixels(x, size) * 255),
            "The pixels are still between 0 and 255; divide them by 255.",
        ),
        Mistake(
            "images left as uint8",
            _with(image=lambda x, size: (_pixels(x, size) * 255).round().byte()),
            "The images are still uint8, and no convolution takes those; make them float32 between 0 and 1.",
        ),
        Mistake(
            "whole division",
            _with(image=lambda x, size: _pixels(x // 255, size)),
            "// drops the fraction, and every pixel becomes 0; use /.",
        ),
        Mistake(
            "divided by the largest value",
            _with(image=lambda x, size: _pixels(x, size) * 255 / x.max()),
            "You divide by the largest pixel that is there, so the brightness depends on the image; divide by 255.",
        ),
        Mistake(
            "images from -1 to 1",
            _with(image=lambda x, size: _pixels(x, size) * 2 - 1),
            "The images are shifted below 0; here they stay between 0 and 1: a division by 255 is all.",
        ),
        Mistake(
            "images in float64",
            _with(image=lambda x, size: _pixels(x, size).double()),
            "The images are float64, and the network's weights are float32; the two don't multiply. Use .float().",
        ),
        Mistake(
            "images resized by nearest",
            _with(image=lambda x, size: _pixels(x, size, "nearest")),
            "Nearest is for masks. It throws away most pixels of an image that shrinks; resize images bilinearly.",
        ),
        Mistake(
            "images resized bicubically",
            _with(image=lambda x, size: _pixels(x, size, "bicubic")),
            "Bicubic overshoots at edges, so pixels can leave the range from 0 to 1; the task asks for bilinear.",
        ),
        Mistake(
            "bilinear masks",
            _with(mask=lambda m, size: _ids(m, size, "bilinear")),
            "The masks are mixed bilinearly, which makes ids between the classes: halfway from sky to void is no "
            "class. Resize masks by nearest.",
        ),
        Mistake(
            "masks as float",
            _with(mask=lambda m, size: _ids(m, size).float()),
            "The masks are float; cross-entropy wants class ids as int64: .long().",
        ),
        Mistake(
            "masks left as uint8",
            _with(mask=lambda m, size: _ids(m, size).byte()),
            "The masks are still uint8; cross-entropy wants class ids as int64: .long().",
        ),
        Mistake(
            "masks divided by 255",
            _with(mask=lambda m, size: _ids(m // 255, size)),
            "The masks are divided by 255 like the images; a mask holds class ids, which are no brightness.",
        ),
        Mistake(
            "void becomes class 0",
            _with(mask=lambda m, size: _ids(m.where(m != VOID, 0), size)),
            "Void pixels come out as class 0 and would be learnt; leave their 255 for the loss to skip.",
        ),
        Mistake(
            "masks with a channel axis",
            _with(mask=lambda m, size: _ids(m, size)[:, None]),
            "The masks are (N, 1, h, w); interpolate needs that axis, the loss does not want it. Take it away again.",
        ),
        Mistake(
            "height and width swapped",
            _with(image=lambda x, s: _pixels(x, s[::-1]), mask=lambda m, s: _ids(m, s[::-1])),
            "Height and width are swapped: size is (h, w), as in PyTorch. Only PIL and OpenCV take (w, h).",
        ),
        Mistake(
            "only the images resized",
            _with(mask=lambda m, size: m.long()),
            "The masks keep their old size and no longer fit the images; resize both.",
        ),
        Mistake(
            "only the masks resized",
            _with(image=lambda x, size: x.float() / 255),
            "The images keep their old size and no longer fit the masks; resize both.",
        ),
        Mistake(
            "not resized",
            _with(image=lambda x, size: x.float() / 255, mask=lambda m, size: m.long()),
            "Images and masks keep their old size; resize both to size.",
        ),
        Mistake(
            "cropped",
            _cropped,
            "You cut a corner of that size out of each image; resize the whole image.",
        ),
        Mistake(
            "channels last",
            _with(image=lambda x, size: _pixels(x, size).permute(0, 2, 3, 1)),
            "The images are (N, h, w, 3), which is NumPy's and matplotlib's way; a network takes (N, 3, h, w).",
        ),
        Mistake(
            "masks before images",
            _masks_first,
            "Each batch is (masks, images); the loop that takes it expects (images, masks).",
        ),
    ),
    variants=(_gathered, _from_a_loader),
    hints=(
        "What must be the same for image and mask, and what must differ? The order and the size are the same; the "
        "filter of the resize is not.",
        "One permutation: order = torch.randperm(len(images)), cut into pieces of batch_size. "
        'F.interpolate(x, size=size, mode=...) takes float (N, C, H, W): "bilinear" for images, "nearest-exact" for '
        "masks, which need a channel axis for that moment.",
        "for chosen in order.split(batch_size): take images[chosen] and masks[chosen]; images to float and divided "
        "by 255, then resized; masks[chosen][:, None].float() resized, then [:, 0].long(); yield the two.",
    ),
)
