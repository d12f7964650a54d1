"""Lesson 1, the kinds of segmentation: counting objects, decoding panoptic ids, one-hot masks."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from unet_lab.checks.exercise import Exercise, Mistake

SKY, ROAD, CAR, PERSON = range(4)
VOID = 255


# count-things


def count_things(instances, semantic, class_id):
    ids = np.unique(instances[semantic == class_id])
    return int((ids > 0).sum())


def _connected_components(instances, semantic, class_id):
    left = {tuple(pixel) for pixel in np.argwhere(semantic == class_id).tolist()}
    count = 0
    while left:
        count += 1
        front = [left.pop()]
        while front:
            y, x = front.pop()
            touching = {(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)} & left
            left -= touching
            front.extend(touching)
    return count


def _street(rng, num_cars, crowd):
    """Sky above a band: cars that touch, a car cut in two by a person, perhaps car pixels without an instance.

    Objects span the band's height, so that components of 4 and of 8 neighbours are the same.
    """
    ids = rng.choice(np.arange(1, 60), num_cars + 2, replace=False).tolist()
    *cars, hidden, person = ids
    pieces = [(ROAD, 0), *[(CAR, i) for i in cars], (ROAD, 0)]
    pieces += [(CAR, hidden), (PERSON, person), (CAR, hidden), (ROAD, 0)]
    if crowd:
        pieces += [(CAR, 0), (ROAD, 0)]
    widths = rng.integers(1, 4, len(pieces))
    height = int(rng.integers(2, 4))
    semantic, instances = (np.tile(np.repeat(row, widths), (height, 1)) for row in zip(*pieces, strict=True))
    sky = np.zeros((2, semantic.shape[1]))
    return np.vstack([sky, instances]).astype(np.int32), np.vstack([sky + SKY, semantic]).astype(np.uint8)


def _count_probes(rng):
    first, second = sorted(rng.choice(np.arange(2, 60), 2, replace=False).tolist())
    tiny = np.array([[0, second, first, 0]], np.int32), np.array([[ROAD, CAR, CAR, ROAD]], np.uint8)
    street, crowded = _street(rng, 4, crowd=False), _street(rng, 5, crowd=True)
    return [(*tiny, CAR), (*street, CAR), (*street, PERSON), (*crowded, CAR), (*crowded, SKY)]


COUNT_THINGS = Exercise(
    key="count-things",
    task="Count the objects of one class: instances (H, W) int32 with 0 = none, semantic (H, W) class ids, both NumPy.",
    reference=count_things,
    probes=_count_probes,
    mistakes=(
        Mistake(
            "counts 0 as an object",
            lambda i, s, c: len(np.unique(i[s == c])),
            'Instance 0 means "no object", so it has to be left out of the count.',
        ),
        Mistake(
            "always subtracts one",
            lambda i, s, c: len(np.unique(i[s == c])) - 1,
            "Subtracting 1 for instance 0 is right only where 0 occurs in the class; leave out the 0 itself instead.",
        ),
        Mistake(
            "connected components",
            _connected_components,
            "This counts regions of the semantic mask: objects that touch become one, and an object cut in two by "
            "another becomes two. The instance ids know better.",
        ),
        Mistake(
            "counts all classes",
            lambda i, s, c: len(np.unique(i[i > 0])),
            "This counts the objects of every class; look only where semantic == class_id.",
        ),
        Mistake(
            "largest id of the class",
            lambda i, s, c: int(i[s == c].max(initial=0)),
            "An id is a name, not a rank: the ids of a class need not be 1, 2, 3.",
        ),
        Mistake(
            "largest id of the image",
            lambda i, s, c: int(i.max()),
            "The largest id says neither how many objects there are nor of which class; count the different ids of "
            "the class.",
        ),
        Mistake(
            "counts pixels",
            lambda i, s, c: int((s == c).sum()),
            "This is the number of pixels of the class, which is its area; count different ids, not pixels.",
        ),
        Mistake(
            "counts pixels of objects",
            lambda i, s, c: int(((s == c) & (i > 0)).sum()),
            "This is the number of pixels that belong to an object; count different ids, not pixels.",
        ),
    ),
    variants=(
        lambda i, s, c: len(set(i[s == c].tolist()) - {0}),
        lambda i, s, c: np.count_nonzero(np.unique(np.where(s == c, i, 0))),
        lambda i, s, c: sum(bool(((i == k) & (s == c)).any()) for k in range(1, int(i.max()) + 1)),
        lambda i, s, c: torch.unique(torch.from_numpy(i)[torch.from_numpy(s) == c]).count_nonzero(),
    ),
    hints=(
        "Which pixels belong to the class? semantic == class_id is a mask that can index instances.",
        "Among the instance ids under that mask, each object has one: np.unique lists the different ids.",
        "One of the different ids may be 0, and 0 is not an object: count the ids greater than 0.",
    ),
)


# panoptic-decode


def decode_panoptic(panoptic):
    return panoptic // 1000, panoptic % 1000


def _panoptic_probes(rng):
    def draw(shape):
        classes = rng.integers(0, 7, shape)
        instances = rng.integers(0, 1000, shape)
        void = rng.random(shape) < 0.15
        return np.where(void, VOID * 1000, classes * 1000 + instances).astype(np.int32)

    tiny = np.array([[SKY, CAR * 1000 + rng.integers(501, 1000), VOID * 1000]], np.int32)
    return [(tiny,), (draw((4, 5)),), (draw((16, 12)),)]


PANOPTIC_DECODE = Exercise(
    key="panoptic-decode",
    task="Split a panoptic map (H, W) int32, class · 1000 + instance, into (class_ids, instance_ids).",
    reference=decode_panoptic,
    probes=_panoptic_probes,
    integers=True,
    mistakes=(
        Mistake(
            "division and remainder swapped",
            lambda p: (p % 1000, p // 1000),
            "The whole thousands are the class and the remainder is the instance; you return them the other way round.",
        ),
        Mistake(
            "factor 100",
            lambda p: (p // 100, p % 100),
            "The id is class · 1000 + instance: the factor is 1000, not 100.",
        ),
        Mistake(
            "factor 256",
            lambda p: (p // 256, p % 256),
            "256 belongs to the colour coding of COCO's files; here the id is class · 1000 + instance.",
        ),
        Mistake(
            "true division",
            lambda p: (p / 1000, p % 1000),
            "p / 1000 has a fraction, 5.003; whole thousands are p // 1000.",
        ),
        Mistake(
            "rounds to the nearest class",
            lambda p: (np.round(p / 1000).astype(int), p % 1000),
            "Rounding makes instance 501 and above a pixel of the next class; whole thousands are p // 1000.",
        ),
        Mistake(
            "whole id as instance",
            lambda p: (p // 1000, p),
            "The instance is what is left when the class's thousands are taken away: the remainder of 1000.",
        ),
        Mistake(
            "subtracts the class, not its thousands",
            lambda p: (p // 1000, p - p // 1000),
            "The class is in the id 1000 times over: subtract class · 1000, or take the remainder.",
        ),
        Mistake(
            "instances in uint8",
            lambda p: (p // 1000, (p % 1000).astype(np.uint8)),
            "uint8 ends at 255 and instance 300 turns into 44; keep int32, or another type that reaches 999.",
        ),
        Mistake(
            "classes alone", lambda p: p // 1000, "Return two maps, class_ids and instance_ids, separated by a comma."
        ),
    ),
    variants=(
        lambda p: np.divmod(p, 1000),
        lambda p: ((p // 1000).astype(np.uint8), p - p // 1000 * 1000),
        lambda p: [np.floor(p / 1000).astype(np.int64), p % 1000],
        lambda p: (torch.from_numpy(p) // 1000, torch.from_numpy(p) % 1000),
    ),
    hints=(
        "Take 5003 by hand: class 5, instance 3. Which two operations on 5003 and 1000 give 5 and 3?",
        "Whole division gives the thousands, the remainder gives the rest: // and %.",
        "Both work on the whole array at once; return the class map first.",
    ),
)


# one-hot


def one_hot(masks, num_classes):
    return masks[:, None] == torch.arange(num_classes).view(1, -1, 1, 1)


def _channels_last(masks, num_classes):
    return one_hot(masks, num_classes).permute(0, 2, 3, 1)


def _scattered(masks, num_classes):
    channels = torch.zeros(len(masks), num_classes, *masks.shape[1:])
    return channels.scatter_(1, masks.clamp(max=num_classes - 1)[:, None], 1) * (masks != VOID)[:, None]


def _one_hot_probes(rng):
    def draw(n, h, w, num_classes, void):
        masks = torch.from_numpy(rng.integers(0, num_classes, (n, h, w)))
        masks[torch.from_numpy(rng.random((n, h, w)) < void)] = VOID
        if void:
            masks[0, 0, 0] = VOID
        return masks, num_classes

    return [draw(1, 1, 2, 3, void=0), draw(1, 2, 3, 4, void=0.3), draw(2, 3, 5, 4, void=0), draw(3, 6, 4, 5, void=0.2)]


ONE_HOT = Exercise(
    key="one-hot",
    task="Turn masks (N, H, W) int64 with void = 255 into one-hot (N, num_classes, H, W), all zero at void.",
    reference=one_hot,
    probes=_one_hot_probes,
    mistakes=(
        Mistake(
            "channels last",
            _channels_last,
            "The classes are your last axis, (N, H, W, C); PyTorch wants them second: .permute(0, 3, 1, 2).",
        ),
        Mistake(
            "F.one_hot as it comes",
            lambda m, c: F.one_hot(m, c),
            "F.one_hot puts the classes last, (N, H, W, C), and refuses void's 255: mend the order of the axes, "
            "then void.",
        ),
        Mistake(
            "void raises",
            lambda m, c: F.one_hot(m, c).permute(0, 3, 1, 2),
            "255 is no class, and indexing with it fails; give void some valid id first and set its pixels to zero "
            "afterwards.",
        ),
        Mistake(
            "void becomes the last class",
            lambda m, c: one_hot(m.clamp(max=c - 1), c),
            "Void pixels are counted as the last class; they have to be zero in every channel.",
        ),
        Mistake(
            "void becomes class 0",
            lambda m, c: one_hot(m.where(m != VOID, 0), c),
            "Void pixels are counted as class 0, the background; they have to be zero in every channel.",
        ),
        Mistake(
            "void has its own channel",
            lambda m, c: one_hot(m.clamp(max=c), c + 1),
            "There is one channel too many, for void; drop it, so that num_classes channels remain.",
        ),
        Mistake(
            "one in every channel at void",
            lambda m, c: one_hot(m, c) | (m == VOID)[:, None],
            "Void pixels belong to every class at once; they have to be zero in every channel.",
        ),
        Mistake(
            "images and classes swapped",
            lambda m, c: one_hot(m, c).transpose(0, 1),
            "Your axes are (C, N, H, W); the image comes first: stack the classes along dim=1.",
        ),
        Mistake(
            "height and width swapped",
            lambda m, c: one_hot(m, c).transpose(2, 3),
            "Your axes are (N, C, W, H); .permute(0, 3, 1, 2) keeps the height before the width.",
        ),
    ),
    variants=(
        lambda m, c: torch.stack([m == k for k in range(c)], dim=1).float(),
        lambda m, c: F.one_hot(m.where(m != VOID, c), c + 1)[..., :c].permute(0, 3, 1, 2),
        _scattered,
        lambda m, c: np.stack([(m.numpy() == k) for k in range(c)], axis=1),
    ),
    hints=(
        "Channel c answers one question a pixel: is this pixel's id c? 255 answers no to all of them.",
        "masks == c is one channel, (N, H, W); do that for each c in range(num_classes).",
        "torch.stack(channels, dim=1) puts the new axis second.",
    ),
)

EXERCISES = (COUNT_THINGS, PANOPTIC_DECODE, ONE_HOT)
