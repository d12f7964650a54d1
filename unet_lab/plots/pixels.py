"""What each pixel did: where a prediction is wrong, and which pixels of the input one output pixel depends on."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from unet_lab import IGNORE_INDEX
from unet_lab.plots.arrays import as_array, as_grey, as_mask
from unet_lab.plots.colours import BLUE, ORANGE, SKY_BLUE, VERMILLION, VOID_COLOUR, YELLOW
from unet_lab.plots.figure import describe_picture, in_style, own_axes
from unet_lab.plots.regions import draw_hatch, draw_outlines, draw_void, legend_below, show_pixels, void_patch

ERRORS = {"missed": (BLUE, "////"), "false": (VERMILLION, "\\\\\\\\"), "confused": (YELLOW, "....")}
"""Colour and hatch of each kind of wrong pixel."""


@in_style
def error_map(
    image, mask, pred, *, background: int | None = 0, ax: Axes | None = None, title: str | None = None
) -> Figure:
    """Where a prediction is wrong, and how. The legend counts the pixels of each kind.

    Right pixels show the image in grey. The wrong ones are *missed* (the truth is an object class, the prediction is
    background), *false* (the other way round) or *confused* (one object class for another). Void is hatched and
    counted nowhere.

    Args:
        image: ``(H, W)``, ``(C, H, W)`` or ``(H, W, C)``, floats in [0, 1] or bytes.
        mask: ``(H, W)`` true class ids, 255 is void.
        pred: ``(H, W)`` predicted class ids.
        background: id of the background class; None where no class is one, and every wrong pixel is confused.
        ax: where to draw, one of `panels`; None makes a figure.
        title: of the panel.

    Raises:
        ValueError: shapes that don't fit, ids out of range.
        TypeError: masks that don't hold whole numbers.
    """
    base = as_grey(image)
    truth = as_mask(mask, shape=base.shape[:2])
    pred = as_mask(pred, None, "pred", shape=base.shape[:2])
    kinds = error_kinds(truth, pred, background)
    void, counted = truth == IGNORE_INDEX, int((truth != IGNORE_INDEX).sum())
    paint = 0.25 + 0.6 * base  # a pale grey, for colours to stand out from
    paint[void] = VOID_COLOUR
    for name, region in kinds.items():
        paint[region] = to_rgb(ERRORS[name][0])

    ax = own_axes(ax)
    show_pixels(ax, paint, title)
    draw_void(ax, void)
    codes = np.zeros(truth.shape, int)
    for code, (name, region) in enumerate(kinds.items(), 1):
        draw_hatch(ax, region, ERRORS[name][1], "0.05")
        codes[region] = code
    draw_outlines(ax, codes)

    def amount(region: np.ndarray) -> str:
        pixels = int(region.sum())
        return f"{pixels:,} px ({pixels / counted:.1%})" if counted else f"{pixels:,} px"

    right = ~void & (codes == 0)
    looks = {"right": ("0.6", "")} | ERRORS
    patches = [
        Patch(facecolor=colour, hatch=hatch, edgecolor="0.05", linewidth=0.6, label=f"{name}: {amount(region)}")
        for name, region in ({"right": right} | kinds).items()
        for colour, hatch in [looks[name]]
    ]
    if void.any():
        patches.append(void_patch(f"void, not counted: {void.sum():,} px"))
    legend_below(ax, patches)
    describe_picture(ax.figure, f"{title or 'Error map'}: {', '.join(patch.get_label() for patch in patches)}.")
    return ax.figure


def error_kinds(truth: np.ndarray, pred: np.ndarray, background: int | None) -> dict[str, np.ndarray]:
    """The boolean maps of the kinds of wrong pixels, those kinds that these classes can show."""
    wrong = (truth != pred) & (truth != IGNORE_INDEX)
    if background is None:
        return {"confused": wrong}
    missed, false = wrong & (pred == background), wrong & (truth == background)
    confused = wrong & ~missed & ~false
    kinds = {"missed": missed, "false": false}
    objects = set(np.unique(truth)) | set(np.unique(pred))
    return kinds | {"confused": confused} if len(objects - {background, IGNORE_INDEX}) > 1 else kinds


@in_style
def gradient_map(
    image,
    gradient,
    field: tuple[float, float, float, float] | None = None,
    *,
    ax: Axes | None = None,
    title: str | None = None,
) -> Figure:
    """Which input pixels one output pixel depends on: the size of its gradient as heat over the image.

    The heat is the square root of the magnitude, as a share of the largest: on a linear scale only the middle would
    show. The dashed box holds every pixel with a gradient other than zero, the measured receptive field.

    Args:
        image: ``(H, W)``, ``(C, H, W)`` or ``(H, W, C)``, floats in [0, 1] or bytes.
        gradient: of the output pixel with respect to the image, ``(H, W)`` or ``(C, H, W)``.
        field: the receptive field by theory, (top, left, height, width) in pixels; it may leave the image.
        ax: where to draw, one of `panels`; None makes a figure.
        title: of the panel.

    Raises:
        ValueError: shapes that don't fit, a gradient that is not finite or zero everywhere.
    """
    base = as_grey(image)
    magnitude = np.abs(as_array(gradient).astype(float))
    magnitude = np.sqrt((magnitude**2).sum(axis=0)) if magnitude.ndim == 3 else magnitude
    if magnitude.shape != base.shape[:2]:
        raise ValueError(
            f"gradient must be (H, W) or (C, H, W) over the image's {base.shape[:2]} pixels; "
            f"got {as_array(gradient).shape}. A batch? Pass gradient[0]."
        )
    if not np.isfinite(magnitude).all() or magnitude.max() == 0:
        raise ValueError("gradient must be finite and not zero everywhere. Was backward() called on an output pixel?")
    share = magnitude / magnitude.max()
    scale = PowerNorm(0.5, vmin=0, vmax=1)
    heat = colormaps["inferno"](scale(share).filled())[:, :, :3]
    cover = np.where(share > 0, 0.25 + 0.75 * np.sqrt(share), 0)[:, :, None]
    pale = 0.3 + 0.7 * base

    ax = own_axes(ax)
    show_pixels(ax, (1 - cover) * pale + cover * heat, title)
    rows, columns = np.nonzero(share)
    top, left = rows.min(), columns.min()
    boxes = [("measured", (top, left, rows.max() - top + 1, columns.max() - left + 1), SKY_BLUE, "--")]
    if field is not None:
        boxes.append(("by theory", field, ORANGE, "-"))
    handles = []
    for name, (top, left, height, width), colour, style in reversed(boxes):  # the measured one on top
        look = {"edgecolor": colour, "linestyle": style, "linewidth": 2, "fill": False}
        label = f"receptive field {name}: {height:g} × {width:g} px"
        ax.add_patch(Rectangle((left - 0.5, top - 0.5), width, height, **look))
        handles.append(Patch(**look, label=label))
    legend_below(ax, handles)
    bar = ax.figure.colorbar(ScalarMappable(scale, "inferno"), ax=ax, ticks=[0, 0.01, 0.1, 0.25, 0.5, 1], shrink=0.9)
    bar.ax.set_yticklabels(["0", "0.01", "0.1", "0.25", "0.5", "1"])
    bar.set_label("gradient, share of the largest")
    bar.outline.set_visible(False)
    sizes = ", ".join(handle.get_label() for handle in handles)
    describe_picture(ax.figure, f"{title or 'Gradient of one output pixel'} over the image: {sizes}.")
    return ax.figure
