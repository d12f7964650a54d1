"""The flat pictures of which the street scenes are made: cars, persons, trees, clouds and the walls of houses.

A texture is a uint16 map of codes, row 0 at the top: 0 is clear, each other code a part with a paint of its own. Most are
drawn once and kept; they are shared, so nobody may write into them.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np


def _grid(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = shape
    return (np.arange(columns) + 0.5) / columns, ((np.arange(rows) + 0.5) / rows)[:, None]


def _polygon(texture: np.ndarray, code: int, points: list[tuple[float, float]]) -> None:
    """Fill a polygon; points are (x, y) as shares of the texture, y downwards. Even-odd rule."""
    x, y = _grid(texture.shape)
    inside = np.zeros(texture.shape, bool)
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        if y0 != y1:
            crosses = (y0 > y) != (y1 > y)
            inside ^= crosses & (x < x0 + (y - y0) * ((x1 - x0) / (y1 - y0)))
    texture[inside] = code


def _ellipse(texture: np.ndarray, code: int, x: float, y: float, radius_x: float, radius_y: float) -> None:
    across, down = _grid(texture.shape)
    across, down = (across - x) / radius_x, (down - y) / radius_y
    texture[across * across + down * down <= 1] = code


BODY, GLASS, TYRE, HUB, TRIM, FRONT_LAMP, REAR_LAMP, BODY_LOW, ROOF = range(1, 10)
"""Codes of a car's textures."""


class CarModel(NamedTuple):
    """Shape of a car, metres, the rear at 0 of its length.

    `profile` runs over the top from the rear bumper to the front one: (along, height, what lies between it and the next).
    """

    length: float
    width: float
    height: float
    profile: tuple[tuple[float, float, int], ...]


CAR_MODELS = (
    CarModel(4.4, 1.75, 1.45, (
        (0.0, 0.98, BODY), (0.6, 1.02, GLASS), (1.2, 1.42, ROOF), (2.5, 1.45, GLASS), (3.25, 1.0, BODY), (4.4, 0.78, 0),
    )),
    CarModel(3.8, 1.7, 1.5, (
        (0.0, 1.0, GLASS), (0.4, 1.45, ROOF), (2.2, 1.5, GLASS), (2.95, 1.02, BODY), (3.8, 0.8, 0),
    )),
    CarModel(4.6, 1.85, 1.75, (
        (0.0, 1.1, GLASS), (0.25, 1.7, ROOF), (2.8, 1.75, GLASS), (3.4, 1.12, BODY), (4.6, 0.95, 0),
    )),
    CarModel(5.2, 1.95, 2.2, (
        (0.0, 1.2, BODY), (0.08, 2.15, ROOF), (3.9, 2.2, GLASS), (4.6, 1.2, BODY), (5.2, 1.0, 0),
    )),
)  # fmt: skip
"""Saloon, hatchback, off-roader, van."""


@cache
def car_tops(model: int, rear: bool) -> tuple[tuple[float, float, int, int], ...]:
    """The profile that `Street.tops` wants, the near end being the rear one or the front one."""
    car = CAR_MODELS[model]
    points = [(along, height) for along, height, _ in car.profile]
    codes = [code for _, _, code in car.profile[:-1]]
    if not rear:
        points, codes = [(car.length - along, height) for along, height in points[::-1]], codes[::-1]
    around = [BODY if code == GLASS else code for code in codes]
    return tuple((*point, a, c) for point, a, c in zip(points, [*around, 0], [*codes, 0], strict=True))


@cache
def car_side(model: int, mirrored: bool = False) -> np.ndarray:
    """The side of a car, 64×160, from the rear at the left (mirrored: from the front) and from the ground to its roof."""
    car = CAR_MODELS[model]
    texture = np.zeros((64, 160), np.uint16)

    def at(along: float, height: float) -> tuple[float, float]:
        return along / car.length, 1 - height / car.height

    outline = [(0.0, 0.28), *((a, h) for a, h, _ in car.profile), (car.length, 0.28)]
    _polygon(texture, BODY, [at(*point) for point in outline])
    texture[(texture == BODY) & (_grid(texture.shape)[1] > 1 - 0.5 / car.height)] = BODY_LOW
    is_van = model == 3
    belt = car.profile[0][1] + (0.2 if is_van else 0.04)
    cabin = [point for point in car.profile if point[1] > belt]
    roof_start, roof_end = cabin[0][0], cabin[-1][0]
    windscreen = next(point for point in car.profile if point[0] > roof_end)
    screen_low = roof_end + (windscreen[0] - roof_end) * 0.9
    rear_low = max(roof_start - 0.42, 0.22)
    roof = car.height - 0.14
    pillars = (0.04, 0.5, 0.54, 0.96)
    for start, end in ((0, 1), (2, 3)):
        if is_van and start == 0:
            continue  # a van has a window for the driver alone
        corners = []
        for pillar, height in ((start, belt), (start, roof), (end, roof), (end, belt)):
            low, high = (rear_low, screen_low) if height == belt else (roof_start + 0.1, roof_end)
            corners.append(at(low + (high - low) * (0.68 if is_van and pillar == 2 else pillars[pillar]), height))
        _polygon(texture, GLASS, corners)
    for along in (0.19 * car.length, 0.81 * car.length):
        for code, radius in ((TRIM, 0.40), (TYRE, 0.34), (HUB, 0.19)):
            centre = at(along, 0.34)
            _ellipse(texture, code, *centre, radius / car.length, radius / car.height)
    for code, along in ((REAR_LAMP, 0.0), (FRONT_LAMP, car.length - 0.3)):
        lamp = [at(along, 0.62), at(along, 0.78), at(along + 0.3, 0.78), at(along + 0.3, 0.62)]
        _polygon(texture, code, lamp)
    return np.ascontiguousarray(texture[:, ::-1]) if mirrored else texture


@cache
def car_flank(model: int, mirrored: bool) -> np.ndarray:
    """`car_side` with the clear rows that `Street.side` wants."""
    return np.pad(car_side(model, mirrored), ((1, 1), (0, 0)))


@cache
def car_end(model: int, rear: bool) -> np.ndarray:
    """The end of a car up to where its hood or boot begins, 40×64, from the ground up."""
    texture = np.full((40, 64), BODY, np.uint16)
    texture[30:] = 0
    texture[26:36, 5:59] = TRIM
    texture[29:, 5:15] = texture[29:, 49:59] = TYRE
    texture[:2, :3] = texture[:2, -3:] = 0
    lamp = REAR_LAMP if rear else FRONT_LAMP
    texture[9:17, 2:14] = texture[9:17, 50:62] = lamp
    if rear:
        texture[17:23, 24:40] = HUB  # the number plate
        if model == 3:
            texture[2:9, 8:56] = GLASS
    else:
        texture[11:18, 18:46] = TRIM  # the grille
    return texture


@cache
def car_silhouette(model: int, mirrored: bool) -> np.ndarray:
    """The far side of a car that is seen from its side: only what shows above the near one, without wheels."""
    texture = car_side(model, mirrored).copy()
    texture[44:] = 0
    texture[texture != 0] = ROOF
    return texture


SKIN, HAIR, TOP, LEGS, SHOES = range(1, 6)
"""Codes of a person's textures."""


@cache
def person(pose: int) -> np.ndarray:
    """Somebody, 96×40: 0 standing, 1 and 2 walking to the right and to the left, 3 in a long coat."""
    texture = np.zeros((96, 40), np.uint16)
    spread = (0.0, 0.24, 0.24, 0.0)[pose]
    for direction in (-1, 1):
        hip, foot = 0.5 + direction * 0.1, 0.5 + direction * (0.13 + spread)
        _polygon(texture, LEGS, [(hip - 0.13, 0.5), (hip + 0.13, 0.5), (foot + 0.1, 0.95), (foot - 0.1, 0.95)])
        _polygon(texture, SHOES, [(foot - 0.11, 0.94), (foot + 0.16, 0.94), (foot + 0.16, 1.0), (foot - 0.11, 1.0)])
        hand = 0.5 + direction * (0.33 + spread * 0.6)
        shoulder = 0.5 + direction * 0.24
        arm = [(shoulder - 0.09, 0.19), (shoulder + 0.09, 0.19), (hand + 0.08, 0.5), (hand - 0.08, 0.5)]
        _polygon(texture, TOP, arm)
        _ellipse(texture, SKIN, hand, 0.52, 0.09, 0.03)
    hem = 0.74 if pose == 3 else 0.53
    flare = 0.36 if pose == 3 else 0.24
    trunk = [(0.22, 0.19), (0.35, 0.165), (0.65, 0.165), (0.78, 0.19), (0.5 + flare, hem), (0.5 - flare, hem)]
    _polygon(texture, TOP, trunk)
    _polygon(texture, SKIN, [(0.43, 0.12), (0.57, 0.12), (0.57, 0.18), (0.43, 0.18)])
    _ellipse(texture, HAIR, 0.5, 0.072, 0.2, 0.072)
    _ellipse(texture, SKIN, 0.52, 0.09, 0.16, 0.062)
    return np.ascontiguousarray(texture[:, ::-1]) if pose == 2 else texture


TRUNK, LEAF_DARK, LEAF, LEAF_LIGHT = range(1, 5)
"""Codes of a tree's textures."""

TREE_SHAPES = 12
"""How many trees there are to choose from; the last quarter are conifers."""


@cache
def tree(shape: int, mirrored: bool = False) -> np.ndarray:
    """A tree, 128×96: trunk and crown, lit from the left (mirrored: from the right), with a ragged outline."""
    stream = np.random.RandomState(shape)
    texture = np.zeros((128, 96), np.uint16)
    crown = np.zeros((128, 96), np.uint16)
    if shape >= TREE_SHAPES * 3 // 4:
        _polygon(texture, TRUNK, [(0.45, 0.7), (0.55, 0.7), (0.56, 1.0), (0.44, 1.0)])
        for tier in range(5):
            top, bottom, half = 0.02 + 0.15 * tier, 0.3 + 0.15 * tier, 0.2 + 0.055 * tier
            tip, hem = (0.5, top), bottom
            _polygon(crown, LEAF_DARK, [tip, (0.5 + half, hem), (0.5, hem - 0.03), (0.5 - half, hem)])
            _polygon(crown, LEAF, [tip, (0.5 + half * 0.4, hem - 0.05), (0.5 - half, hem - 0.01)])
            _polygon(crown, LEAF_LIGHT, [tip, (0.5 - half * 0.35, hem - 0.07), (0.5 - half * 0.8, hem - 0.04)])
    else:
        _polygon(texture, TRUNK, [(0.46, 0.45), (0.54, 0.45), (0.57, 1.0), (0.43, 1.0)])
        _polygon(texture, TRUNK, [(0.48, 0.68), (0.3, 0.5), (0.34, 0.48), (0.53, 0.62)])
        _polygon(texture, TRUNK, [(0.5, 0.66), (0.68, 0.48), (0.72, 0.51), (0.52, 0.72)])
        slim = 0.62 if shape % 3 == 2 else 1.0
        blobs = []
        for _ in range(11):
            a, b, c = stream.random_sample(3).tolist()
            across, down = 2 * a - 1, 2 * b - 1
            pull = 1 - 0.35 * across * across * down * down
            blobs.append((0.5 + 0.29 * slim * across * pull, 0.33 + 0.2 * down * pull, 0.13 + 0.07 * c))
        for code, shrink, shift in ((LEAF_DARK, 1.0, 0.0), (LEAF, 0.82, 0.03), (LEAF_LIGHT, 0.42, 0.075)):
            for x, y, radius in blobs:
                _ellipse(crown, code, x - shift, y - shift * 0.8, radius * shrink * slim, radius * shrink * 0.8)
    # Leaves: each small block of the crown is looked up a little beside itself.
    blocks = stream.random_sample((2, 32, 24)).repeat(4, 1).repeat(4, 2)
    rows = np.arange(128)[:, None] + ((blocks[0] - 0.5) * 9).astype(np.intp)
    columns = np.arange(96) + ((blocks[1] - 0.5) * 9).astype(np.intp)
    crown = crown[np.clip(rows, 0, 127), np.clip(columns, 0, 95)]
    texture = np.where(crown > 0, crown, texture)
    used = np.flatnonzero(texture.any(0))
    texture = np.ascontiguousarray(texture[np.flatnonzero(texture.any(1))[0] :, used[0] : used[-1] + 1])
    return np.ascontiguousarray(texture[:, ::-1]) if mirrored else texture


CLOUD_SHAPES = 6


@cache
def cloud(shape: int) -> np.ndarray:
    """A cloud, 40×96: code 1 its lower side, 2 its body, 3 its lit top."""
    stream = np.random.RandomState(1000 + shape)
    texture = np.zeros((40, 96), np.uint16)
    puffs = []
    for across, down, size in stream.random_sample((12, 3)).tolist():
        off_middle = abs(across - 0.5) * 2
        radius = 0.05 + (0.07 + 0.08 * size) * (1 - off_middle * off_middle)
        puffs.append((0.14 + 0.72 * across, 0.62 - 0.3 * down * (1 - off_middle), radius))
    for code, lift, shrink in ((1, 0.0, 1.0), (2, 0.07, 0.92), (3, 0.16, 0.72)):
        for x, y, radius in puffs:
            _ellipse(texture, code, x, y - lift, radius * shrink, radius * shrink * 1.7)
    return texture


WALL, FRAME, WINDOW, WINDOW_LIT, DOOR, CORNICE, BASEMENT = range(1, 8)
"""Codes of a house's textures."""


@lru_cache(maxsize=4096)
def facade(floors: int, bays: int, style: int, gable: bool, door: bool, lit: float, variant: int) -> np.ndarray:
    """The wall of a house, with the clear rows that `Street.side` wants: a floor is 12 texels high, a bay 10 wide.

    Args:
        floors: rows of windows.
        bays: columns of windows.
        style: 0 single windows with frames, 1 wide windows, 2 tall pairs.
        gable: with a gable of `gable_texels` above the last floor; its corners are clear.
        door: with a door in one of the bays.
        lit: share of lit windows.
        variant: which of them are lit, and which bay has the door.
    """
    dice = _dice(variant)
    above = gable_texels(bays) if gable else 0
    texture = np.zeros((floors * 12 + above + 2, bays * 10), np.uint16)
    wall = texture[1:-1]
    wall[:] = WALL
    grid = wall[above:].reshape(floors, 12, bays, 10)
    panes = np.where(dice[:floors, :bays] < lit, WINDOW_LIT, WINDOW)
    top, bottom, left, right = ((3, 9, 3, 7), (3, 8, 1, 9), (2, 9, 2, 8))[style]
    grid[:, top - 1 : bottom + 1, :, left - 1 : right + 1] = FRAME
    grid[:, top:bottom, :, left:right] = panes.astype(np.uint16)[:, None, :, None]
    if style != 1:
        grid[:, top:bottom, :, 5 - (style == 2) : 5 + 1 - (style == 0)] = FRAME
    wall[-2:] = BASEMENT
    if door:
        bay = int(bays * dice[-1, -1])
        grid[-1, 3:, bay, 3:8] = FRAME
        grid[-1, 4:, bay, 4:7] = DOOR
    if gable:
        x, y = _grid((above, bays * 10))
        wall[:above][abs(x - 0.5) * 2 > y] = 0
        middle = bays * 5
        wall[above * 2 // 3 : above, middle - 3 : middle + 3] = FRAME
        wall[above * 2 // 3 + 1 : above - 1, middle - 2 : middle + 2] = WINDOW
    else:
        wall[:2] = CORNICE
    return texture


@cache
def _dice(variant: int) -> np.ndarray:
    return np.random.RandomState(2000 + variant).random_sample((8, 16))


def gable_texels(bays: int) -> int:
    """Height of the gable on a wall of so many bays."""
    return bays * 5
