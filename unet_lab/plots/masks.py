"""Masks over images: semantic, instance and panoptic maps, and the grid of samples."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.patheffects as patheffects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from unet_lab import IGNORE_INDEX
from unet_lab.plots.arrays import as_array, as_grey, as_labels, as_mask, as_rgb, few_colours
from unet_lab.plots.colours import VOID_COLOUR, checked_colours, default_colours
from unet_lab.plots.figure import (
    WIDTH,
    LessonFigure,
    describe_picture,
    in_style,
    legend_columns,
    own_axes,
    panels,
)
from unet_lab.plots.regions import class_patches, draw_outlines, draw_void, legend_below, show_pixels

LABEL_DIVISOR = 1000
"""panoptic id = class_id * 1000 + instance (Cityscapes)."""

NUMBERED_SHARE = 0.012
"""Instances that cover less of the picture than this get no number: it would hide them."""


TONES = (0.0, 0.2, -0.25)
"""Instances of a class in a panoptic picture: the share of white mixed into its colour, below 0 of black. Small, so
that the tint of a class is never taken for another class."""


def overlay(image, mask, colours=None, alpha: float = 0.5) -> np.ndarray:
    """`image` with the classes of `mask` painted over it, as an array for `imshow`.

    A class's innermost border pixels keep its full colour, so that regions stay apart without colour too; void is
    drawn as grey stripes.

    Args:
        image: ``(H, W)``, ``(C, H, W)`` or ``(H, W, C)``, 1 or 3 channels, floats in [0, 1] or bytes; None for no image.
        mask: ``(H, W)`` class ids, 255 is void.
        colours: one a class, RGB in [0, 1] or hex; None takes `default_colours`.
        alpha: share of the class's colour, 0 … 1.

    Returns:
        float32 array ``(H, W, 3)`` in [0, 1].

    Raises:
        ValueError: shapes that don't fit, values out of range.
        TypeError: a mask that doesn't hold whole numbers.

    >>> overlay(np.zeros((2, 2)), np.array([[1, 1], [1, 1]]), colours=["#000000", "#FFFFFF"], alpha=0.5)[0, 0]
    array([0.5, 0.5, 0.5], dtype=float32)
    """
    labels = as_mask(mask, len(colours) if colours is not None else None)
    blend = blend_classes(image, labels, colours, alpha)
    border = np.zeros(labels.shape, bool)
    border[:-1] |= labels[:-1] != labels[1:]
    border[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    void = labels == IGNORE_INDEX
    solid = blend_classes(None, labels, colours, 1.0)
    blend[border & ~void] = solid[border & ~void]
    stripe = max(1, round(max(labels.shape) / 96))  # pixels, so that stripes show on large pictures too
    rows, columns = np.indices(labels.shape)
    dark = (rows + columns) // stripe % 2 == 1
    blend[void & dark] = 0.4
    blend[void & ~dark] = VOID_COLOUR
    return blend


def blend_classes(image, labels: np.ndarray, colours=None, alpha: float = 0.5) -> np.ndarray:
    """The image tinted with the colours of a checked mask, float32 ``(H, W, 3)``; void is plain grey."""
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is the share of the class's colour, 0 … 1; got {alpha}.")
    counted = labels[labels != IGNORE_INDEX]
    num_classes = len(colours) if colours is not None else int(counted.max(initial=0)) + 1
    table = np.empty((IGNORE_INDEX + 1, 3), np.float32)
    table[:num_classes] = checked_colours(colours, num_classes)
    table[IGNORE_INDEX] = VOID_COLOUR
    paint = table[labels]
    if image is None:
        return paint
    base = as_rgb(image)
    as_labels(labels, "mask", shape=base.shape[:2])
    share = np.where(labels == IGNORE_INDEX, max(alpha, 0.75), alpha)[:, :, None].astype(np.float32)
    return (1 - share) * base + share * paint


@in_style
def show_image(ax: Axes | None, image, title: str | None = None) -> Figure:
    """An image without ticks, ``(H, W)``, ``(C, H, W)`` or ``(H, W, C)``, floats in [0, 1] or bytes.

    Args:
        ax: where to draw, one of `panels`; None makes a figure.
        image: 1 or 3 channels.
        title: of the panel.
    """
    ax = own_axes(ax)
    show_pixels(ax, as_rgb(image), title)
    return ax.figure


@in_style
def plot_mask(
    ax: Axes | None,
    mask,
    class_names: Sequence[str],
    colours=None,
    *,
    image=None,
    alpha: float = 0.5,
    title: str | None = None,
    legend: bool = True,
    all_classes: bool = False,
) -> Figure:
    """A semantic mask: a colour a class, outlines between regions, void hatched.

    Args:
        ax: where to draw, one of `panels`; None makes a figure.
        mask: ``(H, W)`` class ids, 255 is void.
        class_names: of the classes 0, 1, ….
        colours: one a class, RGB in [0, 1] or hex; None takes `default_colours`.
        image: drawn under the mask, if given.
        alpha: share of the class's colour over the image.
        title: of the panel.
        legend: name the colours under the picture.
        all_classes: name those too that don't appear.

    Raises:
        ValueError: shapes that don't fit, ids without a name.
        TypeError: a mask that doesn't hold whole numbers.
    """
    labels = as_mask(mask, len(class_names))
    table = checked_colours(colours, len(class_names), class_names)
    ax = own_axes(ax)
    draw_mask(ax, image, labels, table, 1.0 if image is None else alpha, title)
    present, void = appearing([labels])
    if legend:
        shown = range(len(class_names)) if all_classes else present
        legend_below(ax, class_patches(class_names, table, shown, void))
    describe_picture(ax.figure, f"{title or 'Semantic mask'}: {listing(class_names, present, void)}.")
    return ax.figure


def draw_mask(ax: Axes, image, labels: np.ndarray, table: np.ndarray, alpha: float, title: str | None = None) -> None:
    base = None if image is None else as_grey(image)
    show_pixels(ax, blend_classes(base, labels, table, alpha), title)
    draw_void(ax, labels == IGNORE_INDEX)
    draw_outlines(ax, labels, without=IGNORE_INDEX)


@in_style
def plot_instances(
    ax: Axes | None, instances, *, image=None, alpha: float = 0.55, title: str | None = None, numbers: bool = True
) -> Figure:
    """An instance map: touching instances never share a colour, every instance has an outline, large ones their id.

    Colours only tell neighbours apart; they name nothing.

    Args:
        ax: where to draw, one of `panels`; None makes a figure.
        instances: ``(H, W)`` whole numbers, 0 = none.
        image: drawn under the map, if given.
        alpha: share of the instance's colour over the image.
        title: of the panel.
        numbers: write the ids on instances that are large enough.
    """
    labels = as_labels(instances, "instances")
    if labels.min() < 0:
        raise ValueError(f"instances must hold 0 (none) and positive ids; got {labels.min()}.")
    ids, compact = np.unique(labels, return_inverse=True)
    compact = compact.reshape(labels.shape) + (0 if ids[0] == 0 else 1)  # 0 stays "none"
    count = int(compact.max())
    palette = default_colours(8)[1:]
    table = np.concatenate([np.full((1, 3), 0.88), palette[neighbour_colouring(compact, count, len(palette))]])
    base = np.full((*labels.shape, 3), 0.88, np.float32) if image is None else as_grey(image)
    as_labels(labels, "instances", shape=base.shape[:2])
    share = np.where(compact > 0, 1.0 if image is None else alpha, 0.0)[:, :, None]
    ax = own_axes(ax)
    show_pixels(ax, (1 - share) * base + share * table[compact], title)
    draw_outlines(ax, compact)
    if numbers:
        for instance in ids[ids > 0]:
            write_number(ax, labels == instance, str(instance))
    describe_picture(ax.figure, f"{title or 'Instance map'}: {count} instance{'s' * (count != 1)}.")
    return ax.figure


def neighbour_colouring(labels: np.ndarray, count: int, num_colours: int) -> np.ndarray:
    """A colour index for each of the labels 1 … `count`, such that labels that touch differ where that is possible."""
    touching: list[set[int]] = [set() for _ in range(count + 1)]
    pairs = [
        np.stack([labels[1:].ravel(), labels[:-1].ravel()]),
        np.stack([labels[:, 1:].ravel(), labels[:, :-1].ravel()]),
        np.stack([labels[1:, 1:].ravel(), labels[:-1, :-1].ravel()]),
        np.stack([labels[1:, :-1].ravel(), labels[:-1, 1:].ravel()]),
    ]
    for a, b in np.unique(np.concatenate(pairs, axis=1), axis=1).T:
        if a != b and a > 0 and b > 0:
            touching[a].add(int(b))
            touching[b].add(int(a))
    chosen = np.full(count + 1, -1)
    for label in range(1, count + 1):
        taken = {int(chosen[other]) for other in touching[label]}
        wishes = [(label - 1 + step) % num_colours for step in range(num_colours)]  # go round, for variety
        chosen[label] = next((colour for colour in wishes if colour not in taken), wishes[0])
    return chosen[1:]


def write_number(ax: Axes, region: np.ndarray, text: str) -> None:
    """Write `text` on the middle of a region that is large enough: on the pixel of it nearest to its centre."""
    if region.mean() < NUMBERED_SHARE:
        return
    rows, columns = np.nonzero(region)
    nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    rim = [patheffects.withStroke(linewidth=2, foreground="black")]
    style = {"fontsize": 9, "fontweight": "bold", "color": "white", "path_effects": rim}
    ax.text(columns[nearest], rows[nearest], text, ha="center", va="center", clip_on=True, **style)


@in_style
def plot_panoptic(
    ax: Axes | None,
    panoptic,
    class_names: Sequence[str],
    colours=None,
    *,
    image=None,
    alpha: float = 0.6,
    title: str | None = None,
    legend: bool = True,
) -> Figure:
    """A panoptic map: the class gives the colour, the instances of a class have outlines, slightly other tones, and a number
    where they are large enough.

    The legend counts the instances of each class. Void (class 255) is hatched.

    Args:
        ax: where to draw, one of `panels`; None makes a figure.
        panoptic: ``(H, W)`` ids ``class_id * 1000 + instance``; instance 0 is a class without instances (stuff).
        class_names: of the classes 0, 1, ….
        colours: one a class, RGB in [0, 1] or hex; None takes `default_colours`.
        image: drawn under the map, if given.
        alpha: share of the colour over the image.
        title: of the panel.
        legend: name the colours under the picture.
    """
    labels = as_labels(panoptic, "panoptic")
    if 0 < labels.max() < LABEL_DIVISOR:
        raise ValueError(
            f"panoptic must hold class_id * {LABEL_DIVISOR} + instance; got ids up to {labels.max()}. "
            "A semantic mask? Use plot_mask."
        )
    classes = as_mask(labels // LABEL_DIVISOR, len(class_names), "panoptic // 1000")
    table = checked_colours(colours, len(class_names), class_names)
    paint = blend_classes(None, classes, table)
    counts = dict.fromkeys(range(len(class_names)), 0)
    for panoptic_id in np.unique(labels[(labels % LABEL_DIVISOR > 0) & (classes != IGNORE_INDEX)]):
        tone = TONES[counts[panoptic_id // LABEL_DIVISOR] % len(TONES)]
        region = labels == panoptic_id
        paint[region] = (1 - abs(tone)) * paint[region] + max(tone, 0.0)
        counts[panoptic_id // LABEL_DIVISOR] += 1
    if image is not None:
        base = as_grey(image)
        as_labels(labels, "panoptic", shape=base.shape[:2])
        paint = (1 - alpha) * base + alpha * paint
    ax = own_axes(ax)
    show_pixels(ax, paint, title)
    draw_void(ax, classes == IGNORE_INDEX)
    draw_outlines(ax, labels, without=IGNORE_INDEX * LABEL_DIVISOR)
    for panoptic_id in np.unique(labels[labels % LABEL_DIVISOR > 0]):
        write_number(ax, labels == panoptic_id, str(panoptic_id % LABEL_DIVISOR))
    present, void = appearing([classes])
    names = [f"{name} ({counts[i]})" if counts[i] else name for i, name in enumerate(class_names)]
    if legend:
        legend_below(ax, class_patches(names, table, present, void))
    describe_picture(ax.figure, f"{title or 'Panoptic map'}, instances in brackets: {listing(names, present, void)}.")
    return ax.figure


@in_style
def show_samples(
    images,
    masks,
    preds=None,
    *,
    class_names: Sequence[str],
    colours=None,
    titles: Sequence[str] | None = None,
    alpha: float = 0.5,
    all_classes: bool = False,
) -> LessonFigure:
    """Images with their masks, and with predictions if there are any, on one grid with one legend.

    One or two samples take a row each: image, truth, prediction from left to right. More take a column each, image,
    truth, prediction from top to bottom, four to a band.

    Args:
        images: a batch ``(N, C, H, W)``, a list of images that may differ in size, or a single image; each as `overlay`
            takes it.
        masks: a batch ``(N, H, W)``, a list, or a single mask; class ids, 255 is void.
        preds: predicted class ids, like `masks`; void of the mask is shown hatched there too.
        class_names: of the classes 0, 1, ….
        colours: one a class, RGB in [0, 1] or hex; None takes `default_colours`.
        titles: one a sample.
        alpha: share of the class's colour over the image.
        all_classes: name those classes too that don't appear.

    Raises:
        ValueError: numbers of images, masks, preds or titles that differ, shapes that don't fit, ids without a name.
        TypeError: masks or preds that don't hold whole numbers.
    """
    if not isinstance(masks, (list, tuple)) and as_array(masks).ndim == 2:  # a single sample
        images, masks, preds = [images], [masks], None if preds is None else [preds]
    count = len(masks)
    for name, items in (("images", images), ("preds", preds), ("titles", titles)):
        if items is not None and len(items) != count:
            raise ValueError(f"show_samples expects one of {name} a mask; got {len(items)} for {count} masks.")
    if count == 0:
        raise ValueError("show_samples expects at least one image; got none. Is the data set or the selection empty?")
    table = checked_colours(colours, len(class_names), class_names)
    pictures = [as_rgb(image, f"images[{i}]") for i, image in enumerate(images)]
    kinds = {"image": None, "truth": masks} | ({} if preds is None else {"prediction": preds})
    maps = {
        kind: [
            as_mask(item, len(class_names), f"{kind} {i}", shape=pictures[i].shape[:2]) for i, item in enumerate(items)
        ]
        for kind, items in kinds.items()
        if items is not None
    }

    figure, grid = sample_grid(pictures, kinds, titles)
    for (kind, i), ax in grid.items():
        if kind == "image":
            show_pixels(ax, few_colours(pictures[i]))
        else:
            draw_mask(ax, pictures[i], maps[kind][i], table, alpha)
    present, void = appearing([labels for labels_of_kind in maps.values() for labels in labels_of_kind])
    patches = class_patches(class_names, table, range(len(class_names)) if all_classes else present, void)
    columns = legend_columns([patch.get_label() for patch in patches], figure.get_size_inches()[0])
    figure.legend(handles=patches, loc="outside lower center", ncols=columns, columnspacing=1.2, handletextpad=0.5)
    samples = f"{count} sample{'s' * (count != 1)}, each as {', '.join(kinds)}"
    describe_picture(figure, f"{samples}: {listing(class_names, present, void)}.")
    return figure


def sample_grid(pictures: list[np.ndarray], kinds, titles) -> tuple[LessonFigure, dict[tuple[str, int], Axes]]:
    """The empty grid of `show_samples`, and the axes of each (kind, sample)."""
    count, kinds = len(pictures), list(kinds)
    ratio = max(picture.shape[0] / picture.shape[1] for picture in pictures)
    titles = [""] * count if titles is None else [str(title) for title in titles]
    in_rows = count <= 2
    bands = 1 if in_rows else -(-count // 4)
    columns = len(kinds) if in_rows else min(count, 4)
    rows = count if in_rows else len(kinds) * bands
    width = min(WIDTH / columns, 3.6, 3.6 / ratio)
    figure, axes = panels(columns, rows, panel_size=(width, width * ratio + 0.1 + 0.6 / rows))
    grid: dict[tuple[str, int], Axes] = {}
    for place, ax in enumerate(axes):
        row, column = divmod(place, columns)
        kind = kinds[column] if in_rows else kinds[row % len(kinds)]
        sample = row if in_rows else row // len(kinds) * columns + column
        if sample >= count:
            ax.remove()
            continue
        grid[kind, sample] = ax
        above, beside = (kind if row == 0 else "", titles[sample]) if in_rows else (titles[sample], kind)
        if in_rows or kind == kinds[0]:
            ax.set_title(above)
        if column == 0:
            ax.set_ylabel(beside)
    return figure, grid


def appearing(maps: list[np.ndarray]) -> tuple[list[int], bool]:
    """The class ids that appear in some of the masks, and whether void does."""
    ids = sorted(set().union(*(np.unique(labels).tolist() for labels in maps)))
    return [i for i in ids if i != IGNORE_INDEX], IGNORE_INDEX in ids


def listing(class_names: Sequence[str], ids: list[int], void: bool) -> str:
    names = [class_names[i] for i in ids] + (["void"] if void else [])
    return ", ".join(names)
