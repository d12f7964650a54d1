"""Numbers as pictures: learning curves, confusion matrix, bars per class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from unet_lab.plots.arrays import as_array
from unet_lab.plots.colours import BLUE, LINE_COLOURS, VERMILLION, checked_colours, is_dark
from unet_lab.plots.figure import DPI, WIDTH, LessonFigure, describe_picture, in_style, legend_columns

LINE_STYLES = ("-", "--", "-.", ":")
MARKERS = "os^Dv"
MOST_NUMBERED = 12  # classes; beyond that a cell is too small for its number
BEST = "best validation mIoU"
BAR_HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---", "ooo")
SLANTED = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
WHITE_TO_BLUE = LinearSegmentedColormap.from_list("white to blue", ["#FFFFFF", BLUE])


@in_style
def learning_curves(histories, *, title: str | None = None) -> LessonFigure:
    """Training loss and validation mIoU per epoch, of one training or of several for comparison.

    A star marks each training's best validation mIoU. Without validation there is only the loss. The validation loss,
    where it was measured, is drawn for a single training; several would hide one another. Epochs count from 1.

    Args:
        histories: one history, an object with the lists ``train_loss`` and, if it was validated, ``val_miou`` and
            ``val_loss`` (one number an epoch; None or NaN where it was not measured); or a dict ``name -> history``.
        title: of the figure.

    Raises:
        ValueError: a history without an epoch.
    """
    named = dict(histories) if isinstance(histories, Mapping) else {"": histories}
    curves = {name: (numbers(h.train_loss), numbers(getattr(h, "val_miou", None))) for name, h in named.items()}
    for name, (loss, _) in curves.items():
        if len(loss) == 0:
            raise ValueError(f"learning_curves expects at least one epoch in train_loss; history {name!r} has none.")
    validated = any(np.isfinite(miou).any() for _, miou in curves.values())
    figure = LessonFigure(figsize=(WIDTH if validated else WIDTH / 2, 3.4), dpi=DPI, layout="constrained")
    axes = figure.subplots(1, 2 if validated else 1, squeeze=False, sharex=True)[0]
    axes[0].set(title="Training loss", ylabel="loss")
    if validated:
        axes[1].set(title="Validation mIoU", ylabel="mIoU", ylim=(0, 1))
    val_loss = numbers(getattr(next(iter(named.values())), "val_loss", None)) if len(named) == 1 else np.empty(0)
    sentences = []
    for i, (name, (loss, miou)) in enumerate(curves.items()):
        look = {
            "color": LINE_COLOURS[i % len(LINE_COLOURS)],
            "linestyle": LINE_STYLES[i % len(LINE_STYLES)],
            "marker": MARKERS[i % len(MARKERS)],
        }
        curve(axes[0], loss, name, look)
        sentence = f"{name or 'training'}: loss {loss[0]:.3g} to {loss[-1]:.3g} in {len(loss)} epochs"
        if np.isfinite(miou).any():
            best = int(np.nanargmax(miou))
            curve(axes[1], miou, name, look)
            stars = axes[1].plot(best + 1, miou[best], "*", markersize=13, color=look["color"], markeredgecolor="black")
            sentence += f", best validation mIoU {miou[best]:.3f} at epoch {best + 1}"
            if len(curves) == 1:
                axes[1].legend(stars, [f"best: {miou[best]:.3f} (epoch {best + 1})"], loc="lower right", fontsize=9.5)
        sentences.append(sentence)
    if np.isfinite(val_loss).any():
        curve(axes[0], val_loss, "validation", {"color": VERMILLION, "linestyle": "--", "marker": "s"})
        axes[0].get_lines()[0].set_label("training")
        axes[0].set_title("Loss")
        axes[0].legend(loc="upper right")
        sentences[0] += f", validation loss {val_loss[np.isfinite(val_loss)][-1]:.3g} at the end"
    for ax in axes:
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(axis="y")
    axes[0].set_ylim(bottom=min(0, min(np.nanmin(loss) for loss, _ in curves.values())))
    if len(curves) > 1:
        handles = axes[0].get_lines()
        if validated:
            handles.append(
                Line2D([], [], marker="*", markersize=13, color="white", markeredgecolor="black", label=BEST)
            )
        columns = legend_columns([handle.get_label() for handle in handles], figure.get_size_inches()[0])
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, handlelength=3)
    if title:
        figure.suptitle(title)
    describe_picture(figure, f"Learning curves. {'; '.join(sentences)}.")
    return figure


def numbers(values) -> np.ndarray:
    """A list that may be missing or hold None, as floats with NaN."""
    if values is None:
        return np.empty(0)
    return np.array([np.nan if value is None else float(value) for value in values])


def curve(ax: Axes, values: np.ndarray, name: str, look: dict) -> None:
    """A line over the epochs 1, 2, … that joins the known values, whatever lies between them."""
    known = np.flatnonzero(np.isfinite(values))
    every = max(1, len(known) // 12)
    ax.plot(known + 1, values[known], label=name, markersize=4, markevery=every, linewidth=1.6, **look)


@in_style
def confusion_matrix(counts, class_names: Sequence[str], *, title: str | None = None) -> LessonFigure:
    """A confusion matrix whose rows are the truth: each cell the share of its row, in per cent and as a shade of blue.

    The diagonal is each class's recall. A class that is nowhere in the truth has an empty, hatched row. Up to 12
    classes the shares are written into the cells; beyond that there is a scale of the shades.

    Args:
        counts: ``(C, C)`` numbers of pixels, rows = truth, columns = prediction.
        class_names: of the C classes.
        title: of the figure.

    Raises:
        ValueError: counts that are not square, are negative, or don't fit the names.
    """
    table = as_array(counts)
    size = len(class_names)
    if table.shape != (size, size):
        raise ValueError(
            f"confusion_matrix expects counts of shape ({size}, {size}) for {size} names; got {table.shape}."
        )
    if table.min() < 0:
        raise ValueError(f"confusion_matrix expects numbers of pixels; got {table.min()}.")
    totals = table.sum(axis=1)
    shares = np.divide(table, totals[:, None], out=np.zeros(table.shape), where=totals[:, None] > 0)
    side = min(1.4 + 0.62 * size, 7.5)
    figure = LessonFigure(figsize=(side + 1.3, side), dpi=DPI, layout="constrained")
    ax = figure.subplots()
    ax.set_title(title or "Confusion matrix, % of each true class")
    picture = ax.imshow(100 * shares, cmap=WHITE_TO_BLUE, vmin=0, vmax=100, interpolation="nearest")
    names = [f"{name}  ({short_count(total)})" for name, total in zip(class_names, totals, strict=True)]
    ax.set(xlabel="predicted class", ylabel="true class (pixels)")
    ax.set_xticks(range(size), class_names, **SLANTED if size > 3 else {})
    ax.set_yticks(range(size), names)
    ax.set_xticks(np.arange(size - 1) + 0.5, minor=True)
    ax.set_yticks(np.arange(size - 1) + 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=1.5)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    for row in range(size):
        if totals[row] == 0:
            ax.axhspan(row - 0.5, row + 0.5, facecolor="0.95", edgecolor="0.7", hatch="///", linewidth=0)
            continue
        for column in range(size if size <= MOST_NUMBERED else 0):
            share = shares[row, column]
            colour = "white" if is_dark(WHITE_TO_BLUE(share)) else "0.1"
            weight = "bold" if row == column else "normal"
            ax.text(column, row, share_text(share), ha="center", va="center", fontsize=9, color=colour, weight=weight)
    if size > MOST_NUMBERED:
        bar = figure.colorbar(picture, ax=ax, shrink=0.8, pad=0.03)
        bar.set_label("share of the true class, %")
        bar.outline.set_visible(False)
    recalls = [f"{name} {shares[i, i]:.0%}" for i, name in enumerate(class_names) if totals[i]]
    describe_picture(figure, f"Confusion matrix, rows are the truth. Found of each class: {', '.join(recalls)}.")
    return figure


def share_text(share: float) -> str:
    """A share in per cent: no digit after the point, but neither 0 nor 100 for what is not exactly that."""
    if 0 < share < 0.005:
        return "<1"
    return ">99" if 0.995 <= share < 1 else f"{100 * share:.0f}"


def short_count(count: float) -> str:
    """A number of pixels in at most four characters and a unit: 950, 12.3k, 4.56M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return f"{count:.0f}"


@in_style
def class_bars(
    values,
    class_names: Sequence[str],
    *,
    errors=None,
    ylabel: str = "IoU",
    title: str | None = None,
    limits: tuple[float, float] | None = (0.0, 1.0),
    colours=None,
) -> LessonFigure:
    """One bar a class, or several named series side by side. A class without a value (NaN) says "absent".

    Args:
        values: ``(C,)`` numbers, or a dict ``name -> (C,)``.
        class_names: of the C classes.
        errors: half-lengths of the error bars (a standard deviation over seeds, say), in the form of `values`; series
            that a dict leaves out get none.
        ylabel: what the values are, with their unit.
        title: of the figure.
        limits: of the vertical axis; None fits them to the values.
        colours: one a class, for a single series; None takes one colour for all.

    Raises:
        ValueError: lengths that don't fit the names, errors without a series.
    """
    series = dict(values) if isinstance(values, Mapping) else {"": values}
    spreads = dict(errors) if isinstance(errors, Mapping) else {} if errors is None else {"": errors}
    if not series:
        raise ValueError("class_bars expects at least one series of values; got none.")
    if unknown := set(spreads) - set(series):
        raise ValueError(f"class_bars got errors for {sorted(unknown)}, but values only for {sorted(series)}.")
    series = {name: bar_heights(row, class_names, f"values {name}".strip()) for name, row in series.items()}
    spreads = {name: bar_heights(row, class_names, f"errors {name}".strip()) for name, row in spreads.items()}

    groups, count = np.arange(len(class_names)), len(series)
    figure = LessonFigure(figsize=(min(WIDTH, max(4.5, 1.6 + 1.05 * len(groups))), 3.4), dpi=DPI, layout="constrained")
    ax = figure.subplots()
    width = 0.8 / count
    inches_a_bar = 0.9 * figure.get_size_inches()[0] / len(groups) * width
    for i, (name, row) in enumerate(series.items()):
        colour = LINE_COLOURS[i % len(LINE_COLOURS)]
        fills = checked_colours(colours, len(groups)) if colours is not None and count == 1 else colour
        places = groups + (i - (count - 1) / 2) * width
        bars = ax.bar(
            places,
            row,
            width=0.92 * width,
            color=fills,
            edgecolor="white" if colours is None else "0.05",
            hatch=BAR_HATCHES[i % len(BAR_HATCHES)] if count > 1 else "",
            linewidth=0.6,
            label=name,
        )
        spread = spreads.get(name)
        if spread is not None:
            ax.errorbar(places, row, yerr=spread, fmt="none", ecolor="0.1", elinewidth=1.2, capsize=3)
        tops = np.nan_to_num(row) + (0 if spread is None else np.nan_to_num(spread))
        for bar, value, top in zip(bars, row, tops, strict=True):
            x = bar.get_x() + bar.get_width() / 2
            if np.isnan(value):
                ax.annotate("absent", (x, 0), (0, 3), textcoords="offset points", rotation=90, ha="center", va="bottom")
            elif inches_a_bar > 0.3:
                ax.annotate(f"{value:.2f}", (x, top), (0, 2), textcoords="offset points", ha="center", va="bottom")
    ax.set_xticks(groups, class_names)
    ax.tick_params(axis="x", length=0)
    ax.set(ylabel=ylabel, title=title or "", xlim=(-0.55, len(groups) - 0.45))
    if limits is not None:
        ax.set_ylim(limits)
    ax.grid(axis="y")
    if count > 1:
        columns = legend_columns(list(series), figure.get_size_inches()[0])
        handles = [
            Patch(
                facecolor=LINE_COLOURS[i % len(LINE_COLOURS)],
                edgecolor="white",
                hatch=BAR_HATCHES[i % len(BAR_HATCHES)],
                label=name,
            )
            for i, name in enumerate(series)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, handlelength=2.4, handleheight=1.2)
    sentences = [
        f"{name or ylabel}: "
        + ", ".join(
            f"{label} {'absent' if np.isnan(value) else format(value, '.2f')}"
            for label, value in zip(class_names, row, strict=True)
        )
        for name, row in series.items()
    ]
    describe_picture(figure, f"Bars of {ylabel} per class. {'; '.join(sentences)}.")
    return figure


def bar_heights(row, class_names: Sequence[str], argument: str) -> np.ndarray:
    heights = numbers(as_array(row).ravel())
    if len(heights) != len(class_names):
        raise ValueError(
            f"class_bars expects {len(class_names)} numbers, one a class name; {argument} has {len(heights)}."
        )
    return heights
