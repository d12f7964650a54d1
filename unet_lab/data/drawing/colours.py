"""In which light the street scenes are seen, and of what colours things are. Colours are RGB, 0…255.

Colour alone shall not tell the classes apart: walls and roads share their greys, cars and clothes come in any colour,
trees and grass are both green, and autumn and dusk shift them all.
"""

from __future__ import annotations

from typing import NamedTuple


class Weather(NamedTuple):
    """The light of a scene.

    `lit_windows` is the share of lit windows, `shadow` the factor on ground in shadow, `clouds` how many there may be.
    """

    zenith: tuple[int, int, int]
    skyline: tuple[int, int, int]
    light: tuple[float, float, float]
    lit_windows: float
    shadow: float
    clouds: int


WEATHERS = (
    Weather((96, 150, 214), (196, 218, 234), (1.06, 1.03, 0.98), 0.0, 0.58, 5),  # a fine day
    Weather((96, 150, 214), (205, 220, 228), (1.02, 1.0, 0.97), 0.0, 0.62, 3),
    Weather((118, 162, 206), (214, 222, 226), (0.97, 0.98, 0.99), 0.0, 0.7, 6),
    Weather((150, 158, 168), (206, 208, 208), (0.86, 0.88, 0.92), 0.08, 0.82, 6),  # overcast
    Weather((122, 148, 190), (246, 206, 150), (1.08, 0.9, 0.7), 0.12, 0.56, 4),  # low sun
    Weather((62, 66, 112), (226, 142, 104), (0.66, 0.56, 0.62), 0.45, 0.78, 3),  # dusk
    Weather((34, 42, 78), (118, 112, 138), (0.52, 0.54, 0.66), 0.6, 0.85, 2),  # after sunset
)
WALLS = (
    (158, 82, 64), (202, 182, 142), (142, 142, 146), (122, 119, 115), (216, 212, 204), (194, 154, 96),
    (112, 128, 146), (118, 94, 78), (104, 66, 58), (98, 98, 102), (170, 176, 164), (206, 160, 140),
)  # fmt: skip
ROOFS = ((146, 66, 50), (76, 78, 90), (98, 74, 60), (118, 84, 66), (92, 98, 94))
PALE_CARS = ((214, 214, 214), (168, 172, 178), (188, 172, 140), (120, 150, 170))
STRONG_CARS = ((176, 40, 40), (44, 84, 160), (52, 104, 74), (222, 180, 60), (206, 110, 44), (110, 40, 60))
CAR_COLOURS = (*PALE_CARS, *STRONG_CARS, (96, 100, 108), (44, 46, 52))
CLOTHES = (
    (190, 52, 52), (48, 78, 150), (52, 54, 62), (210, 204, 192), (60, 120, 84), (214, 160, 60), (126, 72, 132),
    (112, 112, 116), (64, 130, 150),
)  # fmt: skip
SKINS = ((236, 196, 170), (208, 156, 120), (158, 108, 78), (104, 70, 52))
HAIRS = ((40, 32, 28), (92, 62, 40), (178, 142, 84), (140, 136, 132))
LAWNS = ((88, 124, 58), (104, 132, 66), (74, 112, 60), (128, 132, 74))
LEAVES = ((74, 116, 56), (62, 104, 62), (96, 128, 54), (84, 120, 74), (150, 128, 50), (168, 96, 44))

PANES = ((58, 66, 80), (82, 96, 112), (116, 136, 154))
DOORS = ((92, 58, 42), (60, 70, 60), (120, 44, 40), (60, 64, 86))
TRUNKS = ((92, 70, 52), (112, 96, 80), (74, 60, 50))
