"""Street scenes, drawn: the course's default data set. Any size, any number, by seed, offline, with exact truth.

One drawing gives everything. The painter's algorithm fills a map that says, for every sample, which part of what it
shows (a wheel of the third car). The image looks the part's colour up there; the semantic, instance and panoptic maps
look up what the part belongs to. A window belongs to its house or its car, and all maps agree by construction.

The three maps hold, pixel by pixel:

* ``semantic``: the class id, 255 = void;
* ``instances``: 1…N number the things of the scene, class by class (trees, then cars, then persons), the furthest of a
  class first; 0 = stuff or void;
* ``panoptic`` = class · 1000 + number within the class (1, 2, …, the furthest first); class · 1000 for stuff;
  255000 = void.

`panoptic_from`, `semantic_from` and `instances_from` turn each into the others without loss.

Every scene has a random stream of its own, from the seed and its index: it is the same drawn alone or in a batch, in any
order. Integer random numbers (`drawing.chance`) and arithmetic that IEEE 754 fixes (`drawing.camera`) make images and
maps identical on every platform and in every numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from unet_lab import IGNORE_INDEX
from unet_lab.data.dataset import SegmentationDataset, Splits
from unet_lab.data.drawing.camera import SUPERSAMPLING, Street
from unet_lab.data.drawing.chance import Chance
from unet_lab.data.drawing.colours import PALE_CARS, STRONG_CARS
from unet_lab.data.drawing.street import (
    CLASS_NAMES,
    FIRST_THING,
    THINGS,
    VOID_OWNER,
    Thing,
    View,
    background,
    car_across,
    car_paints,
    street_things,
)

LABEL_DIVISOR = 1000
"""panoptic = class · 1000 + instance, as in Cityscapes."""

SMALLEST = 32
"""Least height and width of a scene, pixels."""

LEAST_VISIBLE = 10
"""A thing of which fewer pixels would show within its border is left out of the scene."""

LARGEST_SPLIT = 1_000_000
FIRST_OF_SPLIT = {"train": 0, "val": LARGEST_SPLIT, "test": 2 * LARGEST_SPLIT}
"""The splits are ranges of scene indices that cannot meet."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A street and the truth about it.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        semantic: uint8 (H, W), class ids, 255 = void.
        instances: int32 (H, W), 1…N number the things, 0 = none.
        panoptic: int32 (H, W), class · 1000 + number within the class; 255000 = void.
    """

    image: np.ndarray
    semantic: np.ndarray
    instances: np.ndarray
    panoptic: np.ndarray


def draw_scene(seed: int, index: int, size: tuple[int, int] = (96, 128), *, void_border: bool = True) -> Scene:
    """Scene number `index` of `seed`.

    At another size of the same proportions it is the same street, seen with more or fewer pixels. A thing that would
    show fewer than `LEAST_VISIBLE` pixels is left out.

    Args:
        seed: which world, 0 … 2³²−1.
        index: which scene of it, 0 … 2³²−1.
        size: (height, width), at least 32 each.
        void_border: mark as void the pixels just outside each thing, one pixel wide, as PASCAL VOC does: those of the
            ground behind it or of a thing that it partly hides. Without it every pixel has a class.

    Raises:
        ValueError: a seed, an index or a size out of range.
    """
    _check_number("seed", seed, 0, 2**32 - 1)
    _check_number("index", index, 0, 2**32 - 1)
    size = _check_size(size)
    chance = Chance(seed, index)
    view = background(chance, size)
    return _finish(view, street_things(chance, view), chance, void_border)


def draw_scenes(
    count: int, seed: int = 0, size: tuple[int, int] = (96, 128), first: int = 0, *, void_border: bool = True
) -> SegmentationDataset:
    """Scenes `first` … `first` + `count` − 1 of `seed` as a data set, with instances.

    `load` takes its splits from the indices 0, 1,000,000 and 2,000,000 on: choose `first` ≥ 3,000,000 for scenes that
    are in none of them.

    Args:
        count: how many.
        seed: which world, 0 … 2³²−1.
        size: (height, width), at least 32 each.
        first: index of the first scene.
        void_border: as in `draw_scene`.

    Raises:
        ValueError: a count below 1, or what `draw_scene` refuses.
    """
    return _data_set(count, seed, size, first, void_border, "all")


def load(
    seed: int = 0,
    size: tuple[int, int] = (96, 128),
    train: int = 192,
    val: int = 48,
    test: int = 48,
    *,
    void_border: bool = True,
) -> Splits:
    """Training, validation and test scenes that never share a scene, whatever their numbers.

    They are the scenes of `seed` from index 0, 1,000,000 and 2,000,000 on; a longer split begins with the shorter one.

    Raises:
        ValueError: a split below 1 or above 1,000,000 scenes, or what `draw_scene` refuses.
    """
    counts = {"train": train, "val": val, "test": test}
    for split, count in counts.items():
        _check_number(split, count, 1, LARGEST_SPLIT)
    return Splits(
        **{split: _data_set(counts[split], seed, size, FIRST_OF_SPLIT[split], void_border, split) for split in counts}
    )


def two_cars(gap: int, size: tuple[int, int] = (96, 128), seed: int = 0, *, void_border: bool = False) -> Scene:
    """Two cars seen from the side, `gap` pixels apart: at 0 they touch, below 0 the nearer one hides some of the other.

    The further car, at the left, is instance 1 and stays where it is; the nearer one is instance 2 and moves with the
    gap, with its shadow. They are the only things, and all else is the same for every gap.

    Args:
        gap: columns of pixels between the two cars; shadows don't count.
        size: (height, width), at least 32 each.
        seed: which street, 0 … 2³²−1.
        void_border: as in `draw_scene`. Off, because a border would part cars that touch.

    Raises:
        ValueError: a gap with which the nearer car would leave the picture or hide half of the other; a seed or a size
            out of range.
    """
    _check_number("seed", seed, 0, 2**32 - 1)
    size = _check_size(size)
    if isinstance(gap, bool) or not isinstance(gap, (int, np.integer)):
        raise ValueError(f"gap must be a whole number of pixels; got {gap!r}.")
    chance = Chance(seed, 13)  # a fine day at seed 0
    samples = 0.32 * min(size[1], size[0] * 4 / 3) * SUPERSAMPLING  # of a car: a third of the picture
    z = Street.distance(size, samples / 4.4)
    view = background(chance, size, crossing=(z - 1.5, z + 5.0))
    return _finish(view, _pair_of_cars(chance, view, z, int(gap)), chance, void_border)


def panoptic_from(semantic: np.ndarray, instances: np.ndarray) -> np.ndarray:
    """The panoptic map that a semantic and an instance map make: class · 1000 + number within the class.

    The things of a class are numbered 1, 2, … in the order of their instance ids. Works on any maps, not only on scenes.

    Args:
        semantic: integer (H, W), class ids, 255 = void.
        instances: integer (H, W), 0 = none; an id belongs to one class.

    Returns:
        int32 (H, W); class · 1000 where there is no instance, 255000 in void.

    Raises:
        ValueError: maps of different shapes, an instance of two classes or on void, more than 999 instances of a class.

    >>> panoptic_from(np.array([[2, 5, 5, 6]]), np.array([[0, 1, 2, 3]]))
    array([[2000, 5001, 5002, 6001]], dtype=int32)
    """
    semantic, instances = np.asarray(semantic), np.asarray(instances)
    if semantic.shape != instances.shape:
        raise ValueError(
            f"panoptic_from expects two maps of one shape (H, W); got semantic {semantic.shape} and instances "
            f"{instances.shape}."
        )
    semantic = semantic.astype(np.int32)
    pairs = np.unique(np.stack([semantic[instances > 0], instances[instances > 0]], axis=1), axis=0)
    classes, ids = pairs[:, 0], pairs[:, 1]
    for instance in ids:
        owners = classes[ids == instance]
        if len(owners) > 1 or owners[0] == IGNORE_INDEX:
            raise ValueError(
                f"panoptic_from expects each instance in one class and none on void; instance {instance} lies in "
                f"classes {owners.tolist()}. Are the two maps of the same image?"
            )
    panoptic = semantic * LABEL_DIVISOR
    for class_id in np.unique(classes):
        of_class = ids[classes == class_id]
        if len(of_class) >= LABEL_DIVISOR:
            raise ValueError(
                f"panoptic_from has room for {LABEL_DIVISOR - 1} instances of a class; class {class_id} has {len(of_class)}."
            )
        for number, instance in enumerate(of_class, 1):
            panoptic[instances == instance] += number
    return panoptic


def semantic_from(panoptic: np.ndarray) -> np.ndarray:
    """The class ids in a panoptic map, uint8 (H, W); 255 = void.

    >>> semantic_from(np.array([[2000, 5001, 5002, 255000]]))
    array([[  2,   5,   5, 255]], dtype=uint8)
    """
    return (np.asarray(panoptic) // LABEL_DIVISOR).astype(np.uint8)


def instances_from(panoptic: np.ndarray) -> np.ndarray:
    """The things of a panoptic map, numbered 1…N in the order of their panoptic ids; int32 (H, W), 0 = none.

    >>> instances_from(np.array([[2000, 5001, 5002, 4001]]))
    array([[0, 2, 3, 1]], dtype=int32)
    """
    panoptic = np.asarray(panoptic)
    things = np.unique(panoptic[panoptic % LABEL_DIVISOR > 0])
    return np.where(panoptic % LABEL_DIVISOR > 0, np.searchsorted(things, panoptic) + 1, 0).astype(np.int32)


def _check_number(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number from {low:,} to {high:,}; got {value!r}.")


def _check_size(size: Sequence[int]) -> tuple[int, int]:
    whole = isinstance(size, Sequence) and all(isinstance(n, (int, np.integer)) for n in size)
    if not whole or len(size) != 2 or min(size) < SMALLEST:
        raise ValueError(
            f"size must be (height, width) in pixels, each at least {SMALLEST}; got {size!r}. The default is (96, 128)."
        )
    return int(size[0]), int(size[1])


def _data_set(
    count: int, seed: int, size: tuple[int, int], first: int, void_border: bool, split: str
) -> SegmentationDataset:
    _check_number("count", count, 1, 2**32)
    _check_number("first", first, 0, 2**32 - count)
    height, width = size = _check_size(size)
    images = torch.empty((count, 3, height, width), dtype=torch.uint8)
    masks = torch.empty((count, height, width), dtype=torch.uint8)
    instances = torch.empty((count, height, width), dtype=torch.int32)
    for i in range(count):
        scene = draw_scene(seed, first + i, size, void_border=void_border)
        images[i] = torch.from_numpy(scene.image).permute(2, 0, 1)
        masks[i] = torch.from_numpy(scene.semantic)
        instances[i] = torch.from_numpy(scene.instances)
    names = [f"scene-{seed}-{first + i}" for i in range(count)]
    return SegmentationDataset(
        images, masks, CLASS_NAMES, name="scenes", split=split, instances=instances, things=THINGS, names=names
    )


def _finish(view: View, things: list[Thing], chance: Chance, void_border: bool) -> Scene:
    """Draw the things, from far to near, into the street, and read image and truth off the map of parts."""
    street = view.street
    for thing in things:
        street.shadow(*thing.shadow)
    behind = street.parts.copy()
    for number, thing in enumerate(things):
        thing.draw(FIRST_THING + number)
    owners, border, shown = _ownership(street, len(things))
    hardly = np.flatnonzero(shown < LEAST_VISIBLE)
    if hardly.size:
        street.cover(FIRST_THING + hardly, behind)
        owners, border, shown = _ownership(street, len(things))
    if void_border:
        owners[border] = VOID_OWNER
    owners = owners.astype(np.intp)
    semantic, instances, panoptic = _truth(things, shown)
    return Scene(_image(view, chance), semantic.take(owners), instances.take(owners), panoptic.take(owners))


def _ownership(street: Street, things: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Owners (H, W), which pixels lie just outside a thing, and how many pixels of each thing do not."""
    owners = street.owner_map()
    # Things count up from far to near: where a neighbour has a higher number, a nearer thing ends just beside this pixel.
    nearness = np.maximum(owners, np.uint8(FIRST_THING - 1))
    highest = nearness.copy()
    np.maximum(highest[1:], nearness[:-1], out=highest[1:])
    np.maximum(highest[:-1], nearness[1:], out=highest[:-1])
    np.maximum(highest[:, 1:], nearness[:, :-1], out=highest[:, 1:])
    np.maximum(highest[:, :-1], nearness[:, 1:], out=highest[:, :-1])
    border = highest > nearness
    inside = np.where(border, np.uint8(0), owners).ravel()
    return owners, border, np.bincount(inside, minlength=FIRST_THING + things)[FIRST_THING:]


def _truth(things: list[Thing], shown: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each owner is in the semantic, the instance and the panoptic map."""
    semantic = np.arange(FIRST_THING + len(things)).astype(np.uint8)
    semantic[VOID_OWNER] = IGNORE_INDEX
    semantic[FIRST_THING:] = [thing.class_id for thing in things]
    instances = np.zeros(len(semantic), np.int32)
    panoptic = semantic.astype(np.int32) * LABEL_DIVISOR
    number = 0
    for name in THINGS:
        class_id = CLASS_NAMES.index(name)
        members = [i for i, thing in enumerate(things) if thing.class_id == class_id and shown[i]]
        for within_class, i in enumerate(members, 1):
            number += 1
            instances[FIRST_THING + i] = number
            panoptic[FIRST_THING + i] += within_class
    return semantic, instances, panoptic


def _image(view: View, chance: Chance) -> np.ndarray:
    """uint8 (H, W, 3): the street in its light, with the grain of its surfaces and the noise of the sensor."""
    street = view.street
    height, width = street.height // SUPERSAMPLING, street.width // SUPERSAMPLING
    exposure, tilt, strength = chance.between(0.86, 1.1), chance.between(-20, 20), chance.whole(5, 12)
    noise = chance.noise(3, height, width)
    grain = (
        chance.noise(height // 2 + 1, width // 2 + 1).repeat(2, 0).repeat(2, 1)
    )  # blobs of two pixels, then smoother
    grain = grain[:height] + grain[1 : height + 1]
    grain = (((grain[:, :width] + grain[:, 1 : width + 1]) >> 1) + noise[0]) >> 1
    light = [channel * exposure for channel in view.weather.light]
    image = street.render(light, view.weather.skyline, grain)
    slope = (np.arange(width) * (2 * tilt / width) - tilt).astype(np.int16)
    image += (image * slope) >> 7  # the light changes a little from side to side
    noise *= np.int16(strength)
    noise >>= 7
    image += noise
    np.minimum(np.maximum(image, 0, out=image), 255, out=image)
    return np.ascontiguousarray(image.astype(np.uint8).transpose(1, 2, 0))


def _pair_of_cars(chance: Chance, view: View, z: float, gap: int) -> list[Thing]:
    """The two cars of `two_cars`: the nearer one is drawn apart and moved by whole pixels."""
    street = view.street
    width = street.width // SUPERSAMPLING
    metre = street.focal / z  # samples
    left = (0.15 * street.width - street.vanishing) / metre
    paints = [car_paints(chance, view, z, colours) for colours in (PALE_CARS, STRONG_CARS)]
    models = [chance.whole(0, 2), chance.whole(0, 2)]  # a van would hide too much
    # Flat, since a far side seen past the bumper would part the cars at a gap of 0.
    further = car_across(view, paints[0], left, z + 0.25, models[0], mirrored=False, flat=True)
    nearer = car_across(view, paints[1], left, z, models[1], mirrored=True, flat=True)

    def alone(thing: Thing, owner: int) -> np.ndarray:
        whole, street.parts = street.parts, np.zeros_like(street.parts)
        thing.draw(owner)
        parts, street.parts = street.parts, whole
        return parts

    def columns(thing: Thing) -> tuple[int, int]:
        used = np.flatnonzero(alone(thing, FIRST_THING)[1::2, 1::2].any(0))
        return int(used[0]), int(used[-1]) + 1

    (start, end), (near_start, near_end) = columns(further), columns(nearer)
    least, most = -(end - start) // 2, width - 2 - end - (near_end - near_start)
    if not least <= gap <= most:
        raise ValueError(f"gap must be from {least} to {most} pixels in a picture {width} wide; got {gap}.")
    shift = (end + gap - near_start) * SUPERSAMPLING

    def draw(owner: int) -> None:
        parts = np.roll(alone(nearer, owner), shift, axis=1)
        np.copyto(street.parts, parts, where=parts != 0)

    x, *rest = nearer.shadow
    return [further, Thing(nearer.z, nearer.class_id, draw, (x + shift / metre, *rest))]
