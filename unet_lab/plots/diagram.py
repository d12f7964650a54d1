"""A U-Net drawn from the shapes it was seen to compute."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.path import Path

from unet_lab.plots.colours import BLUE, GREEN, ORANGE, PURPLE, SKY_BLUE, VERMILLION
from unet_lab.plots.figure import DPI, WIDTH, LessonFigure, describe_picture, in_style

FILLS = {"enc": SKY_BLUE, "bottleneck": PURPLE, "up": "#B5E0D4", "dec": ORANGE, "out": GREEN}

ARROWS = {
    "plain": {"color": "0.25", "linestyle": "-", "linewidth": 1.4},
    "pool": {"color": VERMILLION, "linestyle": "-", "linewidth": 1.8},
    "up": {"color": GREEN, "linestyle": "-", "linewidth": 1.8},
    "skip": {"color": BLUE, "linestyle": "-", "linewidth": 1.8},
    "dropped": {"color": "0.6", "linestyle": ":", "linewidth": 1.8},
}

LARGEST = 1.05
"""Height in inches of the box with the most rows; the others go by the square root of their rows."""

WIDEST = 0.5
"""Width in inches of the box with the most channels; the others go by the square root of theirs."""

LABEL_WIDTH, LINE = 1.02, 0.155  # inches: a label beside a box, a line of text
SMALLEST_GAP = 0.52  # inches between two levels: room for the three lines of a label


@in_style
def unet_diagram(stages: Sequence, *, dropped_skips: Collection[int] = (), title: str | None = None) -> LessonFigure:
    """The U: encoder down the left, bottleneck, decoder up the right, skip connections across.

    A box is as high as the square root of its rows and as wide as the square root of its channels; next to it are its
    name, its output ``C × H × W`` and how many parameters it has. The dashed box beside an ``up`` is the copy that the skip
    connection brings; both enter the decoder's box together.

    Args:
        stages: what `unet_lab.models.describe` returns: objects with ``name``, ``in_shape``, ``out_shape`` (the last
            three numbers are C, H, W) and ``parameters``. Names: ``enc1`` … ``encD``, ``bottleneck``, ``upD`` … ``up1``,
            ``decD`` … ``dec1`` and ``out``; any depth D (made for up to 5). Pooling has no box; it is an
            arrow.
        dropped_skips: levels whose skip connection is crossed out: 1 is the one from enc1 to dec1.
        title: of the figure.

    Raises:
        ValueError: stages that don't make a U, a skip that isn't there.
    """
    boxes = {stage.name: stage for stage in stages if not stage.name.startswith("pool")}
    depth = checked_depth(boxes)
    if unknown := sorted(set(dropped_skips) - set(range(1, depth + 1))):
        raise ValueError(f"dropped_skips are levels from 1 to {depth}; got {unknown}.")
    places, size = arrange(boxes, depth)
    figure = LessonFigure(figsize=(size[0], size[1] + (0.35 if title else 0)), dpi=DPI)
    ax = figure.add_axes((0, 0, 1, size[1] / figure.get_size_inches()[1]))
    ax.set(xlim=(0, size[0]), ylim=(-size[1], 0))  # data units are inches, y up
    ax.axis("off")
    for name, place in places.items():
        draw_stage(ax, boxes[name], place)
    draw_arrows(ax, boxes, places, depth, set(dropped_skips))
    total = sum(stage.parameters for stage in stages)
    ax.legend(handles=legend_entries(bool(dropped_skips)), loc="lower right", borderaxespad=0.2)
    note = f"Beside each box: its name,\nits output C × H × W, its parameters\n({total:,} in all)"
    ax.text(0.1, 0.1 - size[1], note, ha="left", va="bottom", fontsize=9)
    if title:
        figure.suptitle(title, y=1 - 0.1 / figure.get_size_inches()[1], va="top")
    skips = ", ".join(f"enc{k} to dec{k}" for k in range(1, depth + 1) if k not in dropped_skips) or "none"
    describe_picture(
        figure,
        f"U-Net with {depth} level{'s' * (depth > 1)} and {total:,} parameters: {dimensions(boxes['enc1'].in_shape)} in, "
        f"{dimensions(boxes['bottleneck'].out_shape)} at the bottleneck, "
        f"{dimensions(boxes['out'].out_shape)} out; skip connections: {skips}.",
    )
    return figure


def checked_depth(boxes: dict) -> int:
    depth = sum(bool(re.fullmatch(r"enc\d+", name)) for name in boxes)
    levels = range(1, depth + 1)
    needed = {"bottleneck", "out"} | {f"{part}{k}" for part in ("enc", "up", "dec") for k in levels}
    if depth == 0 or set(boxes) != needed:
        missing, unknown = sorted(needed - set(boxes)), sorted(set(boxes) - needed)
        raise ValueError(
            "unet_diagram expects stages named enc1 … encD, bottleneck, upD … up1, decD … dec1 and out; got "
            f"{', '.join(boxes) or 'none'}. Missing: {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}. "
            "Give the attributes of the model these names."
        )
    return depth


def dimensions(shape: Sequence[int]) -> str:
    """The last three numbers of a shape: ``64 × 96 × 128``."""
    return " × ".join(f"{number}" for number in shape[-3:])


class Place:
    """Where a box is, in inches: its middle (x, y), its width and height."""

    def __init__(self, x: float, y: float, width: float, height: float):
        self.x, self.y, self.width, self.height = x, y, width, height
        self.left, self.right = x - width / 2, x + width / 2
        self.bottom, self.top = y - height / 2, y + height / 2


def arrange(boxes: dict, depth: int) -> tuple[dict[str, Place], tuple[float, float]]:
    """The place of every box, and the size of the whole, in inches.

    A column each: the encoder from left to right, the bottleneck, then each ``up`` above the box that feeds it.
    """
    columns = 2 * depth + 1  # steps from enc1 to dec1: the last up has a column of its own
    step = (WIDTH - 3 * LABEL_WIDTH - 0.4) / columns
    widest = min(WIDEST, 0.75 * step)  # an up and its copy must fit between two columns
    most_rows = max(stage.out_shape[-2] for stage in boxes.values())
    most_channels = max(stage.out_shape[-3] for stage in boxes.values())

    def box_size(name: str) -> tuple[float, float]:
        channels, rows, _ = boxes[name].out_shape[-3:]
        return max(0.05, widest * (channels / most_channels) ** 0.5), LARGEST * (rows / most_rows) ** 0.5

    first = LABEL_WIDTH + 0.1 + box_size("enc1")[0] / 2
    y, rows = -0.62, {}  # the image's label is above the first level
    for level in range(1, depth + 2):
        height = box_size(f"enc{level}" if level <= depth else "bottleneck")[1]
        rows[level] = y - height / 2
        y -= height + SMALLEST_GAP
    places = {}
    for name in boxes:
        part, level = re.fullmatch(r"([a-z]+)(\d*)", name).groups()
        level = int(level or 1)
        column = {
            "enc": level - 1,
            "bottleneck": depth,
            "up": 2 * depth + 1 - level,
            "dec": 2 * depth + 2 - level,
            "out": 2 * depth + 1,
        }[part]
        row = rows[depth + 1] if part == "bottleneck" else rows[level]
        beyond = LABEL_WIDTH + 0.1 if part == "out" else 0
        places[name] = Place(first + column * step + beyond, row, *box_size(name))
    return places, (WIDTH, -y + 0.1)


def draw_stage(ax: Axes, stage, place: Place) -> None:
    part = stage.name.rstrip("0123456789")
    ax.add_patch(
        Rectangle(
            (place.left, place.bottom),
            place.width,
            place.height,
            facecolor=FILLS[part],
            edgecolor="0.1",
            linewidth=1.2,
            gid=stage.name,
        )
    )
    sides = {
        "enc": {"x": place.left - 0.08, "y": place.y, "ha": "right", "va": "center"},
        "bottleneck": {"x": place.x, "y": place.bottom - 0.05, "ha": "center", "va": "top"},
        "up": {"x": place.right, "y": place.top + 0.05, "ha": "right", "va": "bottom"},
        "dec": {"x": place.right + 0.08, "y": place.y, "ha": "left", "va": "center"},
        "out": {"x": place.left, "y": place.bottom - 0.05, "ha": "left", "va": "top"},
    }
    side = sides["out" if stage.name == "dec1" else part]  # an arrow to the right takes the place beside both
    text = f"{stage.name}\n{dimensions(stage.out_shape)}\n{stage.parameters:,}"
    ax.text(s=text, fontsize=9, linespacing=1.15, **side)


def draw_arrows(ax: Axes, boxes: dict, places: dict[str, Place], depth: int, dropped: set[int]) -> None:
    first = places["enc1"]
    ax.text(
        first.x, first.top + 0.36, f"image {dimensions(boxes['enc1'].in_shape)}", ha="center", va="bottom", fontsize=9
    )
    arrow(ax, [(first.x, first.top + 0.33), (first.x, first.top)], "plain")
    for level in range(1, depth + 1):
        encoder, up, decoder = places[f"enc{level}"], places[f"up{level}"], places[f"dec{level}"]
        below = places[f"enc{level + 1}" if level < depth else "bottleneck"]
        exit_y = encoder.y - encoder.height / 4
        arrow(ax, [(encoder.right, exit_y), (below.x, exit_y), (below.x, below.top)], "pool")
        if level == depth:  # the bottleneck's top belongs to the way down
            start = places["bottleneck"]
            arrow(ax, [(start.right, start.y), (up.x, start.y), (up.x, up.bottom)], "up")
        else:
            start = places[f"dec{level + 1}"]
            arrow(ax, [(start.x, start.top), (start.x, up.bottom)], "up")
        arrow(ax, [(up.right, up.y), (decoder.left, decoder.y)], "plain")
        draw_skip(ax, encoder, up, level in dropped)
    last = places["dec1"]
    arrow(ax, [(last.right, last.y), (places["out"].left, last.y)], "plain")


def draw_skip(ax: Axes, encoder: Place, up: Place, dropped: bool) -> None:
    y = encoder.y + encoder.height / 4
    if dropped:
        arrow(ax, [(encoder.right, y), (up.left, y)], "dropped")
        middle = (encoder.right + up.left) / 2
        ax.plot(middle, y, marker="x", markersize=13, markeredgewidth=3, color=VERMILLION)
        return
    copy = Rectangle(
        (up.left - encoder.width, up.bottom),
        encoder.width,
        up.height,
        facecolor=FILLS["enc"],
        alpha=0.45,
        edgecolor="0.1",
        linewidth=1.2,
        linestyle="--",
    )
    ax.add_patch(copy)
    arrow(ax, [(encoder.right, y), (up.left - encoder.width, y)], "skip")


def arrow(ax: Axes, points: list[tuple[float, float]], kind: str) -> None:
    """An arrow along straight lines through `points`."""
    style = ARROWS[kind]
    ax.add_patch(
        FancyArrowPatch(
            path=Path(points), arrowstyle="-|>", mutation_scale=11, shrinkA=0, shrinkB=0, fill=False, gid=kind, **style
        )
    )


def legend_entries(dropped: bool) -> list[Line2D]:
    labels = {
        "pool": "max-pool: half the rows and columns",
        "up": "up: transposed convolution, twice the rows and columns",
        "skip": "skip connection: a copy, joined along the channels",
    }
    if dropped:
        labels["dropped"] = "skip connection left out"
    return [
        Line2D([], [], color=ARROWS[kind]["color"], linestyle=ARROWS[kind]["linestyle"], linewidth=1.8, label=label)
        for kind, label in labels.items()
    ]
