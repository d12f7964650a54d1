"""Colours that stay apart for colour-blind readers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb

OKABE_ITO = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
"""Black, orange, sky blue, bluish green, yellow, blue, vermillion, reddish purple (Okabe and Ito 2008)."""

BLACK, ORANGE, SKY_BLUE, GREEN, YELLOW, BLUE, VERMILLION, PURPLE = OKABE_ITO

LINE_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY_BLUE, BLACK)
"""The order for lines and bars on white paper. Yellow is too pale there."""

NATURAL_COLOURS = {"sky": SKY_BLUE, "road": BLACK, "grass": GREEN}
"""What a class of this name wears wherever it stands in the list: a black sky over a blue road would mislead."""

VOID_COLOUR = (0.72, 0.72, 0.72)
VOID_HATCH = "xxxx"


def default_colours(num_classes: int, class_names: Sequence[str] = ()) -> np.ndarray:
    """One colour a class: the palette, then (beyond 8 classes) its tints, its shades, and the tints again.

    Class 0 is black, so that a background is darkened and not painted. Beyond 22 classes colours repeat. Classes whose
    names are in `NATURAL_COLOURS` swap with the class that has their colour.

    Returns:
        float array ``(num_classes, 3)``, RGB in [0, 1].

    >>> default_colours(2)[0]
    array([0., 0., 0.])
    """
    palette = np.array([to_rgb(colour) for colour in OKABE_ITO])
    tints = 0.5 + 0.5 * palette[1:]
    shades = 0.5 * palette[1:]
    rounds = np.concatenate([palette, tints, shades])
    repeats = np.concatenate([tints, shades])
    while len(rounds) < num_classes:
        rounds = np.concatenate([rounds, repeats])
    order = list(range(max(num_classes, len(palette))))
    for index, name in enumerate(class_names):
        if name in NATURAL_COLOURS:
            holder = order.index(OKABE_ITO.index(NATURAL_COLOURS[name]))
            order[index], order[holder] = order[holder], order[index]
    return rounds[order][:num_classes]


def checked_colours(colours, num_classes: int, class_names: Sequence[str] = ()) -> np.ndarray:
    """`colours` (None, hex strings or RGB rows) as a float array ``(num_classes, 3)``."""
    if colours is None:
        return default_colours(num_classes, class_names)
    rows = np.array([to_rgb(colour) if isinstance(colour, str) else tuple(colour)[:3] for colour in colours], float)
    if len(rows) < num_classes:
        raise ValueError(f"Expected one colour a class, {num_classes} of them; got {len(rows)}.")
    if rows.max() > 1:
        raise ValueError(f"Colours are RGB in [0, 1]; got values up to {rows.max():g}. Bytes? Divide them by 255.")
    return rows[:num_classes]


def is_dark(colour) -> bool:
    """Whether white text reads better on `colour` than black text (luma of ITU-R BT.601)."""
    return float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114))) < 0.55
