"""Regions of a label map as vector shapes along the edges of pixels: outlines, hatching, legends."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path

from unet_lab.plots.colours import VOID_COLOUR, VOID_HATCH
from unet_lab.plots.figure import LessonFigure, legend_columns, panel_width

OUTLINE_DARK, OUTLINE_LIGHT = "0.05", "white"

DENSEST_OUTLINE = 0.5
"""Border a pixel: where a map has more, as in noise, outlines would hide its colours and none are drawn."""


def runs(marks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each run of True in the rows of a boolean ``(H, W)`` map: its row, its first column, the column after its last."""
    steps = np.diff(np.pad(marks, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(steps == 1)
    _, stops = np.nonzero(steps == -1)
    return rows, starts, stops


def boundary_segments(labels: np.ndarray, without: int | None = None) -> np.ndarray:
    """The edges between pixels of different label, as straight lines ``(count, 2, 2)`` of (x, y) in pixels.

    Edges of the label `without` are left out.
    """

    def differ(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a != b) if without is None else (a != b) & (a != without) & (b != without)

    rows, starts, stops = runs(differ(labels[1:], labels[:-1]))
    across = np.stack([np.stack([starts - 0.5, rows + 0.5], 1), np.stack([stops - 0.5, rows + 0.5], 1)], 1)
    columns, starts, stops = runs(differ(labels[:, 1:], labels[:, :-1]).T)
    down = np.stack([np.stack([columns + 0.5, starts - 0.5], 1), np.stack([columns + 0.5, stops - 0.5], 1)], 1)
    return np.concatenate([across, down])


def draw_outlines(ax: Axes, labels: np.ndarray, without: int | None = None) -> None:
    """A white line with a dark rim between regions: it shows on any two colours.

    It is never wider than a pixel of the mask, so that the smallest region still shows its colour. Void, label
    `without`, gets none: a void border is a line already.
    """
    segments = boundary_segments(labels, without)
    if np.abs(segments[:, 1] - segments[:, 0]).sum() > DENSEST_OUTLINE * labels.size:
        return
    pixel = 72 * panel_width(ax) / max(labels.shape)  # points
    width = min(0.8, max(0.4, 0.35 * pixel))
    for colour, line_width in ((OUTLINE_DARK, 2.2 * width), (OUTLINE_LIGHT, width)):
        ax.add_collection(
            LineCollection(segments, colors=colour, linewidths=line_width, capstyle="projecting"), autolim=False
        )


def draw_hatch(ax: Axes, region: np.ndarray, hatch: str, colour, fill="none") -> None:
    """Hatch the True pixels of a boolean ``(H, W)`` map, exactly to their edges."""
    rows, starts, stops = runs(region)
    left, right, top, bottom = starts - 0.5, stops - 0.5, rows - 0.5, rows + 0.5
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    vertices = np.stack([np.stack(corner, axis=1) for corner in corners], axis=1).reshape(-1, 2)
    codes = np.tile([Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY], len(rows))
    if len(rows):
        patch = PathPatch(Path(vertices, codes), facecolor=fill, hatch=hatch, edgecolor=colour, linewidth=0)
        ax.add_artist(patch)  # add_patch would also fit the limits to it, slowly


def draw_void(ax: Axes, void: np.ndarray) -> None:
    draw_hatch(ax, void, VOID_HATCH, "0.45")


def show_pixels(ax: Axes, pixels: np.ndarray, title: str | None = None) -> None:
    """Show an RGB array without ticks; small pictures with their pixels visible, large ones smoothed down."""
    smallness = "nearest" if max(pixels.shape[:2]) <= 320 else "auto"
    ax.imshow(pixels, interpolation=smallness)
    ax.set(xticks=[], yticks=[], xlim=(-0.5, pixels.shape[1] - 0.5), ylim=(pixels.shape[0] - 0.5, -0.5))
    ax.spines[:].set_visible(False)
    if title:
        ax.set_title(title)


def class_patches(class_names, colours: np.ndarray, ids, void: bool) -> list[Patch]:
    """Legend entries of the classes `ids`, and of void."""
    patches = [
        Patch(facecolor=tuple(colours[i]), edgecolor=OUTLINE_DARK, linewidth=0.6, label=class_names[i]) for i in ids
    ]
    return [*patches, void_patch()] if void else patches


def void_patch(label: str = "void") -> Patch:
    return Patch(facecolor=VOID_COLOUR, edgecolor="0.45", hatch=VOID_HATCH, linewidth=0.6, label=label)


def legend_below(ax: Axes, patches: list[Patch]) -> None:
    """A legend under `ax`, as wide as the panel allows; the figure grows by its height."""
    if not patches:
        return
    columns = legend_columns([patch.get_label() for patch in patches], panel_width(ax))
    ax.legend(
        handles=patches,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.02),
        borderaxespad=0.2,
        ncols=columns,
        columnspacing=1.2,
        handletextpad=0.5,
    )
    if isinstance(ax.figure, LessonFigure):
        ax.figure.make_room(-(-len(patches) // columns))
