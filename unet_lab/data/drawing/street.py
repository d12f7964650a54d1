"""What is in a street of the scenes, where it stands and in what light. Lengths are metres, colours 0…255."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from unet_lab.data.drawing import sprites
from unet_lab.data.drawing.camera import Paint, Street, paint
from unet_lab.data.drawing.chance import Chance, Colour
from unet_lab.data.drawing.colours import (
    CAR_COLOURS,
    CLOTHES,
    DOORS,
    HAIRS,
    LAWNS,
    LEAVES,
    PANES,
    ROOFS,
    SKINS,
    TRUNKS,
    WALLS,
    WEATHERS,
    Weather,
)

CLASS_NAMES = ("sky", "building", "road", "grass", "tree", "car", "person")
THINGS = ("tree", "car", "person")
SKY, BUILDING, ROAD, GRASS, TREE, CAR, PERSON = range(len(CLASS_NAMES))

VOID_OWNER, FIRST_THING = 15, 16
"""Owners of parts: class ids for stuff, then void, then the things from far to near."""

FLOOR, BAY = 2.9, 2.4
"""Height of a floor, and width of a window with its share of the wall."""

NEVER = 1e9
"""Where a street crosses that doesn't."""

SKY_BANDS, GROUND_BANDS = 20, 6
GRASS_CODE, ROAD_CODE, LINE_CODE, KERB_CODE = 0, 2, 4, 6
"""Codes on the ground in the light; each is followed by that of its shadow."""

HORIZON_HAZE = 110.0
"""Distance at which a thing has faded into the colour of the sky's edge, metres."""


@dataclass(frozen=True)
class View:
    """A street that is being drawn, and what its houses and things need to know."""

    street: Street
    weather: Weather
    sun: int
    """The side that the light comes from: −1 left, 1 right."""
    nearest: float
    """Distance of the ground at the lower edge of the image."""
    kerbs: tuple[float, float]
    """Where the road ends at the left and at the right."""
    verges: tuple[float, float]
    """Width of the grass between the kerb and the first wall, left and right."""
    crossing: tuple[float, float]
    """Where another street crosses: from and to, metres ahead; (NEVER, NEVER) if none does."""

    def crossed(self, z0: float, z1: float) -> bool:
        """Whether anything from z0 to z1 ahead would stand on the other street."""
        return z1 > self.crossing[0] and z0 < self.crossing[1]


class Thing(NamedTuple):
    """A thing to be drawn.

    Attributes:
        z: how far away it is.
        class_id: of its class.
        draw: paints it into the street as parts of the owner that it is given.
        shadow: what `Street.shadow` takes.
    """

    z: float
    class_id: int
    draw: Callable[[int], None]
    shadow: tuple[float, float, float, float]


def background(chance: Chance, size: tuple[int, int], crossing: tuple[float, float] | None = None) -> View:
    """A street without things: sky, ground and houses. `crossing` says where another street crosses, else chance does."""
    weather = chance.one_of(WEATHERS)
    horizon, vanishing, camera = chance.between(0.36, 0.5), chance.between(0.3, 0.7), chance.between(2.4, 4.2)
    street = Street(size, horizon, vanishing, camera)
    middle, half = chance.between(-2.2, 2.2), chance.between(2.9, 4.6)
    nearest = street.nearest()
    starts, width = nearest * chance.between(1.1, 3.2), chance.between(5.5, 7.5)
    by_chance = (starts, starts + width) if chance.happens(0.4) else (NEVER, NEVER)
    view = View(
        street,
        weather,
        sun=chance.one_of((-1, 1)),
        nearest=nearest,
        kerbs=(middle - half, middle + half),
        verges=(chance.between(2.2, 6.5), chance.between(2.2, 6.5)),
        crossing=crossing or by_chance,
    )
    _paint_ground(chance, view)  # the first, as `Street.shadow` wants
    _paint_sky(chance, view)
    _paint_skyline(chance, view)
    _paint_houses(chance, view)
    return view


def _paint_sky(chance: Chance, view: View) -> None:
    street, weather = view.street, view.weather
    lightness = chance.between(0.88, 1.08)
    base = street.add([paint(colour, lightness, 3, glows=1) for colour in _sky_colours(weather)], SKY) + 1
    edge = street.first_row
    rows = (street.y[:edge] * (SKY_BANDS / edge)).astype(np.uint16)
    street.parts[:edge] = (rows + np.uint16(base))[:, None]
    light = chance.between(0.7, 0.92)
    cover = [(190 + 2 * c) / 3 for c in weather.skyline]
    shades = [[c * light * shade for c in cover] for shade in (0.88, 1.0, 1.1)]
    base = street.add([paint(shade, grain=4, glows=1) for shade in shades], SKY)
    for _ in range(chance.whole(0, weather.clouds)):
        shape, wide = chance.whole(0, sprites.CLOUD_SHAPES - 1), chance.between(0.15, 0.5)
        x, y, tall = chance.between(-0.1, 0.9), chance.between(-0.1, 0.7), chance.between(0.22, 0.34)
        left, top, wide = x * street.width, y * street.horizon, wide * street.width
        street.paste(sprites.cloud(shape), base, left, top, left + wide, top + wide * tall)


@cache
def _sky_colours(weather: Weather) -> list[Colour]:
    """From the zenith down to the horizon, where most of the change is."""
    shares = [band * band / (SKY_BANDS - 1) / (SKY_BANDS - 1) for band in range(SKY_BANDS)]
    pairs = list(zip(weather.zenith, weather.skyline, strict=True))
    return [tuple(top + (low - top) * share for top, low in pairs) for share in shares]


def _paint_ground(chance: Chance, view: View) -> None:
    street = view.street
    level = chance.between(68, 138)
    road = (level + chance.between(-5, 7), level, level + chance.between(-5, 9))
    grass = chance.colour(LAWNS, 10)
    line, kerb = level * chance.between(1.35, 1.9), level * chance.between(1.15, 1.45)
    materials = ((grass, 24, GRASS), (road, 10, ROAD), ((line, line, line * 0.95), 10, ROAD), ((kerb,) * 3, 10, ROAD))
    shades = (1.0, view.weather.shadow)
    bands = [0.3 / (band + 1) - 0.05 for band in range(GROUND_BANDS)]
    paints = [paint(colour, shade, grain, haze) for haze in bands for colour, grain, _ in materials for shade in shades]
    street.add(paints, [class_id for _, _, class_id in materials for _ in shades] * GROUND_BANDS)
    texel = 0.05
    metres = (np.arange(1600) - 800) * texel
    left, right = view.kerbs
    plain = np.full(len(metres), GRASS_CODE, np.uint16)
    plain[(metres >= left) & (metres < right)] = ROAD_CODE
    for kerb_at in (left, right):
        plain[(metres >= kerb_at - 0.15) & (metres < kerb_at + 0.15)] = KERB_CODE
    dashed, zebra, across = plain.copy(), plain.copy(), np.full(len(metres), ROAD_CODE, np.uint16)
    middle = (left + right) / 2
    if chance.happens(0.85):
        dashed[(metres >= middle - 0.08) & (metres < middle + 0.08)] = LINE_CODE
    zebra[(metres > left + 0.3) & (metres < right - 0.3) & (np.arange(1600) // 10 % 2 == 0)] = LINE_CODE
    zebra_at, dash = view.nearest + chance.between(1.0, 14.0), chance.between(3.0, 7.0)
    if view.crossing[0] < NEVER:
        zebra_at = view.crossing[0] - 4.0
    if chance.happens(0.5):
        zebra_at = NEVER

    def kinds(z: np.ndarray) -> np.ndarray:
        kind = 1 - (z / dash).astype(np.intp) % 2
        kind[(z >= zebra_at) & (z < zebra_at + 3.0)] = 2
        kind[(z >= view.crossing[0]) & (z < view.crossing[1])] = 3
        return kind

    street.ground(np.stack([plain, dashed, zebra, across]), texel, kinds, GROUND_BANDS)


def _paint_skyline(chance: Chance, view: View) -> None:
    street = view.street
    for _ in range(chance.whole(0, 6)):
        z, x = chance.between(90, 150), chance.between(-60, 60)
        height, width = chance.between(6, 26), chance.between(8, 26)
        part = street.add([paint(chance.colour(WALLS, 10), 0.9, 6, chance.between(0.35, 0.55))], BUILDING) + 1
        left, top = street.project(x, height, z)
        street.box(part, left, top, street.project(x + width, 0, z)[0], street.horizon)


def _paint_houses(chance: Chance, view: View) -> None:
    plots: list[tuple] = []
    for sign, verge, kerb in zip((-1, 1), view.verges, view.kerbs, strict=True):
        wall, in_row, park = kerb + sign * verge, chance.happens(0.5), chance.happens(0.16)
        z = chance.between(3.0, 12.0)
        hidden_below = 0
        while z < 58 and not park:
            gable = not in_row or chance.happens(0.3)
            bays, floors = chance.whole(3, 6 if gable else 9), chance.whole(2, 5) if in_row else chance.whole(1, 3)
            depth = bays * BAY
            if view.crossed(z - 1.5, z + depth + 1.5):
                z, hidden_below = z + 1.0, 0
                continue
            plots.append((z, bays, sign, wall, floors, gable, hidden_below))
            gap = 0.0 if in_row else chance.between(1.5, 5.0)
            gap += chance.between(6, 14) if chance.happens(0.12) else 0.0
            z += depth + gap
            hidden_below = 0 if gap else floors
    for plot in sorted(plots, reverse=True):
        _paint_house(chance, view, *plot)


def _paint_house(
    chance: Chance, view: View, z: float, bays: int, sign: int, wall: float, floors: int, gable: bool, hidden_below: int
) -> None:
    """A house that begins at z and is `bays` deep; its wall towards the street stands at X = wall.

    The next nearer house in the same row hides the front up to the floor `hidden_below`.
    """
    depth = bays * BAY
    street, lit = view.street, view.weather.lit_windows
    front_bays, variant = chance.whole(3, 5), chance.whole(0, 2)
    width = front_bays * BAY
    colour, roof = chance.colour(WALLS, 12), chance.colour(ROOFS, 10)
    style, trim, white_frames = chance.whole(0, 2), chance.between(0.65, 1.25), chance.happens(0.6)
    pane, door = chance.colour(PANES, 8), chance.colour(DOORS, 8)
    if street.project(wall, 0, z + depth)[0] * sign > (street.width if sign > 0 else 0):
        return  # all of it lies outside the picture
    frame = (222, 220, 212) if white_frames else [c * 0.7 for c in colour]
    cornice, basement = [c * trim for c in colour], [c * 0.8 for c in colour]
    height, haze = floors * FLOOR, min(z / HORIZON_HAZE, 0.8)
    x0, x1 = (wall, wall + width) if sign > 0 else (wall - width, wall)

    def paints(shade: float) -> int:
        return street.add(
            (
                paint(colour, shade, 9, haze),
                paint(frame, shade, 4, haze),
                paint(pane, shade, 6, haze),
                paint((250, 208, 120), 1.0, 8, haze, 1.0),
                paint(door, shade, 6, haze),
                paint(cornice, shade, 8, haze),
                paint(basement, shade, 12, haze),
            ),
            BUILDING,
        )

    side_shade, front_shade = (0.72, 0.9) if view.sun == sign else (1.0, 0.8)
    above = FLOOR / 12 * sprites.gable_texels(bays) if gable else 0.0
    side = sprites.facade(floors, bays, style, gable, True, lit, variant)
    street.side(side, paints(side_shade), wall, z, z + depth, 0.0, height + above)
    if (hidden_below < floors or gable) and street.in_view(x0, x1, z):
        front = sprites.facade(floors, front_bays, style, False, False, lit, variant)
        street.front(front[1:-1], paints(front_shade), x0, x1, z, 0.0, height)
        if gable:
            slope = street.add([paint(roof, front_shade * 1.05, 14, haze)], BUILDING)
            profile = ((-0.35, height - 0.15, 1, 1), (depth / 2, height + above, 0, 0))
            street.tops(profile, slope, x0 - 0.35, x1 + 0.35, z)


def street_things(chance: Chance, view: View) -> list[Thing]:
    """Trees, cars and persons, from far to near."""
    things = [*_trees(chance, view), *_parked_cars(chance, view), *_moving_cars(chance, view), *_persons(chance, view)]
    return sorted(things, key=lambda thing: -thing.z)


def _trees(chance: Chance, view: View) -> Iterator[Thing]:
    leaves = chance.one_of(LEAVES)
    for sign, verge, kerb in zip((-1, 1), view.verges, view.kerbs, strict=True):
        z = view.nearest + chance.between(0.5, 9)
        while z < 45:
            there, alike = chance.happens(0.75), chance.happens(0.7)
            x = kerb + sign * chance.between(1.0, max(verge - 1.0, 1.2))
            other, height, slim = chance.one_of(LEAVES), chance.between(3.6, 7.5), chance.between(0.42, 0.56)
            texture = sprites.tree(chance.whole(0, sprites.TREE_SHAPES - 1), mirrored=view.sun > 0)
            colour, trunk = chance.colour((leaves if alike else other,), 12), chance.colour(TRUNKS, 8)
            half = height * texture.shape[1] / texture.shape[0] * slim
            if there and not view.crossed(z, z) and view.street.in_view(x - half, x + half, z):
                yield _tree(view, x, z, half, height, texture, colour, trunk)
            z += chance.between(5, 12) + 0.1 * z


def _tree(
    view: View, x: float, z: float, half: float, height: float, texture: np.ndarray, colour: Colour, trunk: Colour
) -> Thing:
    street, haze = view.street, min(z / HORIZON_HAZE, 0.7)

    def draw(owner: int) -> None:
        leaves = [paint(colour, shade, 27, haze) for shade in (0.62, 0.88, 1.16)]
        base = street.add((paint(trunk, 0.9, 16, haze), *leaves), owner)
        street.front(texture, base, x - half, x + half, z, 0.0, height)

    return Thing(z, TREE, draw, (x - view.sun * half * 0.6, z, half * 1.15, half * 0.6))


def _parked_cars(chance: Chance, view: View) -> Iterator[Thing]:
    for sign, kerb in zip((-1, 1), view.kerbs, strict=True):
        there, z = chance.happens(0.72), view.nearest + chance.between(0.8, 8)
        rear, count = chance.happens(0.85) == (sign > 0), chance.whole(1, 4)
        for _ in range(count * there):
            car = car_along(chance, view, kerb - sign * 1.15, z, rear)
            if car and not view.crossed(z - 0.5, z + 5.7):
                yield car
            z += 5.0 + chance.between(0.3, 3.5)


def _moving_cars(chance: Chance, view: View) -> Iterator[Thing]:
    left, right = view.kerbs
    for share, rear in ((0.64, True), (0.36, False)):
        there, z = chance.happens(0.3), view.nearest + chance.between(5, 30)
        car = car_along(chance, view, left + (right - left) * share, z, rear)
        if car and there and right - left > 6.6 and not view.crossed(z - 0.5, z + 5.7):
            yield car
    if view.crossing[0] < NEVER and chance.happens(0.75):
        z, x, mirrored = view.crossing[0] + chance.between(0.8, 1.6), chance.between(-9, 5), chance.happens(0.5)
        for _ in range(chance.whole(1, 3)):
            model = chance.whole(0, len(sprites.CAR_MODELS) - 1)
            car = car_across(view, car_paints(chance, view, z), x, z, model, mirrored, flat=False)
            if view.street.in_view(x, x + sprites.CAR_MODELS[model].length, z):
                yield car
            x += sprites.CAR_MODELS[model].length + chance.between(0.0, 0.5)
            z += chance.between(-0.05, 0.05)


def car_along(chance: Chance, view: View, x: float, z: float, rear: bool) -> Thing | None:
    """A car in line with the street, its middle at x and its near end at z; None if it is outside the picture."""
    street = view.street
    model = chance.whole(0, len(sprites.CAR_MODELS) - 1)
    car, paints = sprites.CAR_MODELS[model], car_paints(chance, view, z)
    x0, x1 = x - car.width / 2, x + car.width / 2
    if not street.in_view(x0, x1, z + car.length):
        return None

    def draw(owner: int) -> None:
        base = street.add(paints, owner)
        tops = sprites.car_tops(model, rear)
        street.tops(tops, base, x0, x1, z)
        if x0 > 0 or x1 < 0:
            edge = x0 if x0 > 0 else x1
            street.side(sprites.car_flank(model, not rear), base, edge, z, z + car.length, 0.0, car.height)
        street.front(sprites.car_end(model, rear), base, x0, x1, z, 0.0, tops[0][1])

    shadow = (x - view.sun * 0.3, z + car.length * 0.45, car.width * 0.62, car.length * 0.55)
    return Thing(z, CAR, draw, shadow)


def car_across(
    view: View, paints: tuple[Paint, ...], x: float, z: float, model: int, mirrored: bool, flat: bool
) -> Thing:
    """A car seen from its side, from x on to the right, its near side at z; `flat`: only that side."""
    street, car = view.street, sprites.CAR_MODELS[model]

    def draw(owner: int) -> None:
        base = street.add(paints, owner)
        if not flat:
            far = z + car.width
            street.front(sprites.car_silhouette(model, mirrored), base, x, x + car.length, far, 0.0, car.height)
        street.front(sprites.car_side(model, mirrored), base, x, x + car.length, z, 0.0, car.height)

    return Thing(z, CAR, draw, (x + car.length / 2, z + car.width / 2, car.length * 0.54, car.width * 0.62))


def car_paints(chance: Chance, view: View, z: float, colours: Sequence[Colour] = CAR_COLOURS) -> tuple[Paint, ...]:
    """Paints for the codes of a car's textures; its body has one of the colours."""
    colour, pane = chance.colour(colours, 14), chance.between(36, 72)
    haze, dark = min(z / HORIZON_HAZE, 0.7), float(view.weather.lit_windows > 0.3)
    return (
        paint(colour, 0.95, 5, haze),
        paint((pane, pane + 6, pane + 14), 1.0, 5, haze),
        paint((30, 30, 32), 1.0, 6, haze),
        paint((168, 168, 172), 1.0, 6, haze),
        paint((48, 48, 52), 1.0, 6, haze),
        paint((255, 246, 206), 1.0, 0, haze, dark),
        paint((236, 40, 30) if dark else (172, 32, 30), 1.0, 0, haze, dark),
        paint(colour, 0.8, 5, haze),
        paint(colour, 1.1, 4, haze),
    )


def _persons(chance: Chance, view: View) -> Iterator[Thing]:
    left, right = view.kerbs
    for _ in range(chance.whole(1, 5)):
        z, place, off = view.nearest + chance.between(1.5, 15), chance.between(0, 1), chance.between(0, 1)
        if place < 0.4:
            x = left - 0.4 - 1.4 * off
        elif place < 0.8:
            x = right + 0.4 + 1.4 * off
        else:
            x = left + 2.4 + (right - left - 4.8) * off
        height, pose = chance.between(1.55, 1.9), chance.whole(0, 3)
        skin, hair = chance.colour(SKINS, 8), chance.colour(HAIRS, 8)
        top, legs = chance.colour(CLOTHES, 14), chance.colour(CLOTHES, 14)
        if view.street.in_view(x - 0.3, x + 0.3, z):
            yield _person(view, x, z, height, pose, (skin, hair, top, legs))


def _person(view: View, x: float, z: float, height: float, pose: int, colours: tuple[Colour, ...]) -> Thing:
    street, half = view.street, height * 0.21

    def draw(owner: int) -> None:
        parts = zip((*colours, (40, 36, 34)), (4, 4, 8, 8, 4), strict=True)
        base = street.add([paint(colour, 1.0, grain, z / HORIZON_HAZE) for colour, grain in parts], owner)
        street.front(sprites.person(pose), base, x - half, x + half, z, 0.0, height)

    return Thing(z, PERSON, draw, (x - view.sun * 0.25, z, 0.45, 0.25))
