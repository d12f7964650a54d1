"""The drawn street scenes: the same to the bit everywhere, three maps that agree, and the difficulties that are promised."""

import hashlib
import time

import numpy as np
import pytest
import torch
from scipy.ndimage import label

from unet_lab.data import scenes
from unet_lab.data.scenes import (
    CLASS_NAMES,
    LEAST_VISIBLE,
    THINGS,
    draw_scene,
    draw_scenes,
    instances_from,
    load,
    panoptic_from,
    semantic_from,
    two_cars,
)

CAR = CLASS_NAMES.index("car")
THING_IDS = [CLASS_NAMES.index(name) for name in THINGS]
COUNT = 48


@pytest.fixture(scope="module")
def drawn():
    return [draw_scene(0, index) for index in range(COUNT)]


@pytest.fixture(scope="module")
def without_border():
    return [draw_scene(0, index, void_border=False) for index in range(COUNT)]


def digest(scene: scenes.Scene) -> str:
    parts = scene.image, scene.semantic, scene.instances.astype("<i4"), scene.panoptic.astype("<i4")
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()[:16]


def neighbours(array: np.ndarray) -> list[np.ndarray]:
    """The four neighbours of every pixel; −1 outside."""
    padded = np.pad(array.astype(np.int64), 1, constant_values=-1)
    return [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]


def touching(scene: scenes.Scene) -> bool:
    """Whether two cars of a scene without borders share an edge."""
    cars = np.where(scene.semantic == CAR, scene.instances, 0)
    return any(bool(((cars > 0) & (other > 0) & (cars != other)).any()) for other in neighbours(cars))


# Reproducible


@pytest.mark.parametrize(
    ("seed", "index", "size", "expected"),
    [
        (0, 0, (96, 128), "99547d46ba80b59a"),
        (0, 1, (96, 128), "5f3e4e28fcc461d0"),
        (7, 2_000_003, (96, 128), "cffa008c1b730945"),
        (0, 0, (61, 83), "e6cc103099ebd1d1"),
        (3, 10, (192, 256), "f860091016432cf4"),
    ],
)
def test_to_the_bit_as_ever(seed, index, size, expected):
    assert digest(draw_scene(seed, index, size)) == expected


def test_two_cars_to_the_bit_as_ever():
    assert digest(two_cars(0)) == "5a006bc9a4d23dac"


def test_a_scene_does_not_depend_on_what_was_drawn_before(drawn):
    backwards = [draw_scene(0, index) for index in (7, 3, 5)]
    batch = draw_scenes(5, seed=0, first=3)
    for index, alone in zip((7, 3, 5), backwards, strict=True):
        assert digest(alone) == digest(drawn[index])
        assert torch.equal(batch.images[index - 3], torch.from_numpy(alone.image).permute(2, 0, 1))
        assert torch.equal(batch.masks[index - 3], torch.from_numpy(alone.semantic))
        assert torch.equal(batch.instances[index - 3], torch.from_numpy(alone.instances))


def test_seed_and_index_are_not_exchangeable():
    assert len({digest(draw_scene(seed, index)) for seed in range(4) for index in range(4)}) == 16


def test_large_seeds_and_numpy_integers():
    scene = draw_scene(np.int64(2**32 - 1), np.uint32(2**32 - 1), (np.int64(32), 40))
    assert digest(scene) == digest(draw_scene(2**32 - 1, 2**32 - 1, (32, 40)))


def test_same_street_at_twice_the_size():
    agreements = []
    for index in range(12):
        small, large = (draw_scene(0, index, size, void_border=False).semantic for size in ((96, 128), (192, 256)))
        agreements.append((large[1::2, 1::2] == small).mean())
    assert min(agreements) > 0.9
    assert np.mean(agreements) > 0.96


# The maps


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (32, 200), (200, 32), (96, 128), (131, 97)])
@pytest.mark.parametrize("void_border", [True, False])
def test_any_size(size, void_border):
    for index in range(4):
        scene = draw_scene(1, index, size, void_border=void_border)
        assert scene.image.shape == (*size, 3)
        assert scene.image.dtype == scene.semantic.dtype == np.uint8
        assert scene.instances.dtype == scene.panoptic.dtype == np.int32
        assert scene.semantic.shape == scene.instances.shape == scene.panoptic.shape == size
        check_maps(scene)
    two_cars(0, size, void_border=void_border)


def check_maps(scene: scenes.Scene) -> None:
    assert np.array_equal(semantic_from(scene.panoptic), scene.semantic)
    assert np.array_equal(instances_from(scene.panoptic), scene.instances)
    assert np.array_equal(panoptic_from(scene.semantic, scene.instances), scene.panoptic)
    assert np.array_equal(scene.instances > 0, np.isin(scene.semantic, THING_IDS))
    assert np.array_equal(np.union1d([0], scene.instances), np.arange(scene.instances.max() + 1))
    for class_id in range(len(CLASS_NAMES)):
        numbers = np.unique(scene.panoptic[scene.semantic == class_id]) - class_id * 1000
        first = 1 if class_id in THING_IDS else 0
        assert numbers.tolist() == list(range(first, first + len(numbers)))
        assert class_id in THING_IDS or len(numbers) <= 1


def test_the_three_maps_agree(drawn, without_border):
    for scene in (*drawn, *without_border):
        check_maps(scene)


def test_each_instance_has_one_class_and_is_large_enough_to_see(drawn):
    for scene in drawn:
        for instance in range(1, scene.instances.max() + 1):
            pixels = scene.semantic[scene.instances == instance]
            assert len(pixels) >= LEAST_VISIBLE
            assert len(np.unique(pixels)) == 1


def test_of_two_cars_that_touch_the_nearer_has_the_higher_number(without_border):
    in_order = []
    for scene in without_border:
        cars = np.where(scene.semantic == CAR, scene.instances, 0)
        beside = [(cars > 0) & (other > cars) for other in neighbours(cars)]
        both = [np.stack([cars[at], other[at]], 1) for at, other in zip(beside, neighbours(cars), strict=True)]
        pairs = np.unique(np.concatenate(both), axis=0)
        feet = {car: np.flatnonzero((cars == car).any(1)).max() for car in np.unique(cars)}
        in_order += [feet[i] <= feet[j] for i, j in pairs]  # nearer = lower in the image
    assert len(in_order) > COUNT / 2
    assert np.mean(in_order) > 0.95


def test_void_is_one_pixel_wide_and_only_around_things(drawn, without_border):
    for scene, plain in zip(drawn, without_border, strict=True):
        void = scene.semantic == 255
        assert np.array_equal(scene.image, plain.image)
        assert 255 not in plain.semantic
        assert (scene.panoptic[void] == 255_000).all()
        for with_void, whole in ((scene.semantic, plain.semantic), (scene.instances, plain.instances)):
            assert np.array_equal(with_void[~void], whole[~void])
        # Outside: each void pixel has a thing at its side that it does not belong to, and the border ends there.
        beside = [(other > 0) & (other != plain.instances) for other in neighbours(plain.instances)]
        assert np.any(beside, axis=0)[void].all()
        # Nowhere do stuff and a thing, or two things, share an edge any more.
        inside = [(other > 0) & (other != scene.instances) for other in neighbours(scene.instances)]
        assert not (np.any(inside, axis=0) & ~void).any()


def test_every_part_belongs_to_its_object():
    for seed in range(6):
        scene = two_cars(6, (192, 256), seed)
        for car in (1, 2):
            mask = scene.instances == car
            assert label(mask)[1] == 1
            assert label(~mask)[1] <= 2  # no window or wheel is a hole; the ground under the car may be cut off


# What the scenes promise


def test_class_shares(drawn):
    counts = sum(np.bincount(scene.semantic.ravel(), minlength=256) for scene in drawn)
    shares = dict(zip((*CLASS_NAMES, "void"), [*counts[:7] / counts.sum(), counts[255] / counts.sum()], strict=True))
    bounds = {
        "sky": (0.10, 0.35), "building": (0.15, 0.40), "road": (0.15, 0.35), "grass": (0.06, 0.25),
        "tree": (0.04, 0.15), "car": (0.03, 0.12), "person": (0.003, 0.012), "void": (0.02, 0.07),
    }  # fmt: skip
    for name, (low, high) in bounds.items():
        assert low < shares[name] < high, f"{name}: {shares[name]:.4f}"
    assert max(np.mean(scene.semantic == 255) for scene in drawn) < 0.15


def test_every_class_is_in_most_scenes(drawn):
    for class_id, name in enumerate(CLASS_NAMES):
        assert np.mean([class_id in scene.semantic for scene in drawn]) > 0.8, name


def test_cars_touch_and_connected_components_miscount_them(without_border):
    assert np.mean([touching(scene) for scene in without_border]) > 0.5
    components = [label(scene.semantic == CAR)[1] for scene in without_border]
    cars = [len(np.unique(scene.instances[scene.semantic == CAR])) for scene in without_border]
    assert np.mean(np.array(components) != cars) > 0.4


def test_things_hide_things(without_border):
    """A tree, a person or a car shares an edge with another thing, as it would not if all stood apart."""
    hidden = 0
    for scene in without_border:
        things = scene.instances
        hidden += any(bool(((things > 0) & (other > 0) & (things != other)).any()) for other in neighbours(things))
    assert hidden > 0.8 * COUNT


def test_colour_alone_does_not_solve_it(drawn):
    """A table of 5 × 5 × 5 colours, each with its commonest class, stays below a mean IoU of 0.45."""

    def codes(scenes_):
        bins = np.stack([scene.image for scene in scenes_]).astype(np.int64) * 5 // 256
        return bins @ [25, 5, 1], np.stack([scene.semantic for scene in scenes_])

    (train, truth), (test, expected) = codes(drawn[:36]), codes(drawn[36:])
    counted = truth != 255
    table = np.bincount(train[counted] * 7 + truth[counted], minlength=125 * 7).reshape(125, 7).argmax(1)
    preds, counted = table[test], expected != 255
    matrix = np.bincount(expected[counted] * 7 + preds[counted], minlength=49).reshape(7, 7)
    iou = matrix.diagonal() / (matrix.sum(0) + matrix.sum(1) - matrix.diagonal())
    assert iou.mean() < 0.45


def test_fast_enough_to_draw_a_course_at_once(drawn):
    """Really several hundred scenes a second; the bound leaves room for a busy machine."""
    rates = []
    for _ in range(3):
        start = time.process_time()
        for index in range(20):
            draw_scene(0, index)
        rates.append(20 / (time.process_time() - start))
    assert max(rates) > 100


# Data sets


def test_draw_scenes_is_a_data_set():
    data = draw_scenes(3, seed=2, size=(40, 56), first=10)
    assert (len(data), data.in_channels, data.class_names, data.things) == (3, 3, CLASS_NAMES, THINGS)
    image, mask = data[0]
    assert image.shape == (3, 40, 56)
    assert mask.shape == (40, 56)
    assert data.masks.dtype == torch.uint8
    assert data.instances.dtype == torch.int32
    assert data.names == ["scene-2-10", "scene-2-11", "scene-2-12"]
    assert 255 in data.masks
    assert 255 not in draw_scenes(3, seed=2, size=(40, 56), first=10, void_border=False).masks


def test_splits_share_no_scene():
    splits = load(seed=3, size=(32, 40), train=12, val=12, test=12)
    assert [data.split for data in splits] == ["train", "val", "test"]
    images = [image.numpy().tobytes() for data in splits for image in data.images]
    assert len(set(images)) == 36
    names = [name for data in splits for name in data.names]
    assert len(set(names)) == 36


def test_default_splits_and_prefix():
    small, large = load(size=(32, 32), train=2, val=1, test=1), load(size=(32, 32), train=4, val=2, test=1)
    assert torch.equal(large.train.images[:2], small.train.images)
    assert torch.equal(large.val.masks[:1], small.val.masks)
    assert torch.equal(small.train.images, draw_scenes(2, size=(32, 32)).images)
    assert [len(data) for data in load(size=(32, 32))] == [192, 48, 48]


# Two cars


@pytest.mark.parametrize("gap", [-12, -5, -1, 0, 1, 2, 7])
@pytest.mark.parametrize(("size", "seed"), [((96, 128), 0), ((96, 128), 5), ((131, 97), 1), ((192, 256), 2)])
def test_two_cars_have_the_gap_that_was_asked_for(gap, size, seed):
    scene = two_cars(gap, size, seed)
    check_maps(scene)
    assert set(np.unique(scene.instances)) == {0, 1, 2}
    assert (scene.semantic[scene.instances > 0] == CAR).all()
    alone = two_cars(5, size, seed).instances == 1  # not hidden
    right, left = np.flatnonzero(alone.any(0)).max(), np.flatnonzero((scene.instances == 2).any(0)).min()
    assert left - right - 1 == gap
    assert label(scene.semantic == CAR)[1] == (2 if gap > 0 else 1)
    assert touching(scene) == (gap <= 0)


def test_nothing_but_the_nearer_car_moves_with_the_gap():
    near, far = two_cars(3), two_cars(14)
    moved = (near.instances == 2) | (far.instances == 2)
    assert np.array_equal(near.semantic[~moved], far.semantic[~moved])
    assert np.array_equal(near.instances == 1, far.instances == 1)
    assert np.array_equal(np.roll(near.instances == 2, 11, axis=1), far.instances == 2)
    changed = (near.image != far.image).any(2)
    columns, rows = np.flatnonzero(moved.any(0)), np.flatnonzero(moved.any(1))
    outside = changed.copy()
    outside[rows.min() - 1 : rows.max() + 4, columns.min() - 4 : columns.max() + 5] = False  # the shadow is a bit wider
    assert not outside.any()


def test_two_cars_with_void_border_are_parted():
    assert label(two_cars(0, void_border=True).semantic == CAR)[1] == 2


@pytest.mark.parametrize("gap", [-1000, 1000])
def test_two_cars_refuses_a_gap_that_does_not_fit(gap):
    with pytest.raises(ValueError, match=r"gap must be from -\d+ to \d+ pixels in a picture 128 wide; got -?1000\."):
        two_cars(gap)


@pytest.mark.parametrize("gap", [1.5, "2", True, None])
def test_two_cars_refuses_what_is_no_number_of_pixels(gap):
    with pytest.raises(ValueError, match="gap must be a whole number of pixels"):
        two_cars(gap)


# Conversions of any maps


def test_conversions_of_a_small_map():
    semantic = np.array([[2, 5, 5, 6], [255, 4, 5, 0]], np.uint8)
    instances = np.array([[0, 30, 2, 7], [0, 900, 30, 0]])
    panoptic = panoptic_from(semantic, instances)
    assert panoptic.tolist() == [[2000, 5002, 5001, 6001], [255000, 4001, 5002, 0]]
    assert np.array_equal(semantic_from(panoptic), semantic)
    assert instances_from(panoptic).tolist() == [[0, 3, 2, 4], [0, 1, 3, 0]]
    assert panoptic.dtype == instances_from(panoptic).dtype == np.int32
    assert semantic_from(panoptic).dtype == np.uint8


def test_a_thing_without_an_instance_is_number_zero_of_its_class():
    assert panoptic_from(np.array([[5, 5]]), np.array([[0, 1]])).tolist() == [[5000, 5001]]


def test_no_instance_at_all():
    assert panoptic_from(np.array([[2, 255]]), np.zeros((1, 2), int)).tolist() == [[2000, 255000]]
    assert instances_from(np.array([[2000, 255000]])).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("semantic", "instances", "message"),
    [
        (
            np.zeros((2, 3)),
            np.zeros((3, 2)),
            r"two maps of one shape \(H, W\); got semantic \(2, 3\) and instances \(3, 2\)",
        ),
        (np.array([[4, 5]]), np.array([[1, 1]]), r"instance 1 lies in classes \[4, 5\]"),
        (np.array([[255, 5]]), np.array([[7, 1]]), r"instance 7 lies in classes \[255\]"),
        (np.full((40, 40), 5), np.arange(1600).reshape(40, 40), "room for 999 instances of a class; class 5 has 1599"),
    ],
)
def test_panoptic_from_refuses(semantic, instances, message):
    with pytest.raises(ValueError, match=message):
        panoptic_from(semantic, instances)


# Bad input


@pytest.mark.parametrize("size", [(31, 64), (64, 31), 96, (96,), (96, 128, 3), (96.0, 128.0), "ab", None])
def test_size_is_checked(size):
    message = r"size must be \(height, width\) in pixels, each at least 32; got"
    for draw in (lambda: draw_scene(0, 0, size), lambda: draw_scenes(1, size=size), lambda: two_cars(0, size)):
        with pytest.raises(ValueError, match=message):
            draw()


@pytest.mark.parametrize("bad", [-1, 2**32, 0.5, "0", None, True])
def test_seed_index_and_first_are_checked(bad):
    with pytest.raises(ValueError, match="seed must be a whole number from 0 to 4,294,967,295; got"):
        draw_scene(bad, 0)
    with pytest.raises(ValueError, match="index must be a whole number from 0 to 4,294,967,295; got"):
        draw_scene(0, bad)
    with pytest.raises(ValueError, match="seed must be a whole number"):
        two_cars(0, seed=bad)
    with pytest.raises(ValueError, match="first must be a whole number"):
        draw_scenes(1, first=bad)


@pytest.mark.parametrize("bad", [0, -3, 2.0, "3", None, False])
def test_counts_are_checked(bad):
    with pytest.raises(ValueError, match="count must be a whole number from 1"):
        draw_scenes(bad)
    for split in ("train", "val", "test"):
        with pytest.raises(ValueError, match=f"{split} must be a whole number from 1 to 1,000,000; got"):
            load(**{split: bad})
