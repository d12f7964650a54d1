"""The figure that every picture of the course is drawn on: one look, one size, one image in a notebook, with alt text."""

from __future__ import annotations

import functools
import io
from base64 import b64encode
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image  # comes with matplotlib
from PIL.PngImagePlugin import PngInfo

WIDTH = 9.0
"""Width of a full figure in inches: 900 pixels, which a notebook on a 1280-pixel screen shows unscaled."""

DPI = 100

STYLE = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, so a picture has the same size everywhere
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "figure.titlesize": 12,
    "axes.labelsize": 9.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": "0.88",
    "legend.frameon": False,
    "hatch.linewidth": 0.9,
    "text.color": "0.1",
    "axes.labelcolor": "0.1",
    "axes.titlecolor": "0.1",
    "xtick.color": "0.25",
    "ytick.color": "0.25",
    "axes.edgecolor": "0.4",
    "axes.facecolor": "white",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}

P = ParamSpec("P")
R = TypeVar("R")


def in_style(draw: Callable[P, R]) -> Callable[P, R]:
    """Run `draw` under the course's style, and leave the user's matplotlib settings as they were."""

    @functools.wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> R:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return styled


class LessonFigure(Figure):
    """A matplotlib figure that pyplot does not know, that shows itself once, and that says what it shows.

    Attributes:
        alt_text: what the picture shows, in a sentence or two built from the data.
    """

    alt_text: str = ""
    _legend_lines: int = 0

    def make_room(self, legend_lines: int) -> None:
        """Grow so that each row of panels has room for a legend of that many lines below it."""
        more = max(0, legend_lines - self._legend_lines)
        rows = self.axes[0].get_subplotspec().get_gridspec().nrows if self.axes else 1
        width, height = self.get_size_inches()
        self.set_size_inches(width, height + 0.21 * more * rows)
        self._legend_lines += more

    @in_style
    def to_png(self) -> bytes:
        """The picture as the bytes of a PNG file, `alt_text` inside as its description.

        It has a palette of 256 colours, which makes it three times smaller than RGB. An octree chooses them, because
        that keeps the flat colours of masks and legends exact; noisy images give way.
        """
        buffer = io.BytesIO()
        self.savefig(
            buffer, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.06, pil_kwargs={"compress_level": 1}
        )
        picture = Image.open(buffer).convert("RGB")
        picture = picture.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        colours = np.array(picture.getpalette()).reshape(-1, 3)
        colours[colours.min(axis=1) > 250] = 255  # the octree averages the paper with its faintest greys
        picture.putpalette(colours.ravel().tolist())
        description = PngInfo()
        description.add_itxt("Description", self.alt_text)
        small = io.BytesIO()
        picture.save(small, "PNG", optimize=True, pnginfo=description)
        return small.getvalue()

    def _ipython_display_(self) -> None:
        from IPython.display import display  # only ever called by IPython

        display(
            {"image/png": b64encode(self.to_png()).decode("ascii"), "text/plain": self.alt_text or repr(self)},
            metadata={"image/png": {"alt": self.alt_text}},
            raw=True,
        )


@in_style
def panels(
    columns: int = 1, rows: int = 1, *, panel_size: tuple[float, float] | None = None, title: str | None = None
) -> tuple[LessonFigure, np.ndarray]:
    """An empty figure with `rows` × `columns` axes, for the functions that take an ``ax``.

    Args:
        columns: axes side by side.
        rows: axes one below the other.
        panel_size: width and height of one panel in inches; None shares out the page's width, each panel 4 : 3.
        title: of the whole figure.

    Returns:
        The figure and its axes, a flat array in reading order. Show the figure by ending a cell with it.

    >>> figure, axes = panels(3)
    >>> len(axes)
    3
    """
    width = min(WIDTH / columns, 5.0)
    width, height = panel_size or (width, 0.75 * width + 0.3)
    figure = LessonFigure(figsize=(width * columns, height * rows), dpi=DPI, layout="compressed")
    if title:
        figure.suptitle(title)
    return figure, figure.subplots(rows, columns, squeeze=False).ravel()


def own_axes(ax: Axes | None) -> Axes:
    """`ax`, or the axes of a new figure."""
    return panels()[1][0] if ax is None else ax


def describe_picture(figure: Figure, sentence: str) -> None:
    """Add `sentence` to what the figure says about itself."""
    figure.alt_text = " ".join(filter(None, [getattr(figure, "alt_text", ""), sentence]))


def panel_width(ax: Axes) -> float:
    """Width in inches that the layout leaves for `ax`, its margins included."""
    spec = ax.get_subplotspec()
    columns = spec.get_gridspec().ncols if spec is not None else 1
    return ax.figure.get_size_inches()[0] / columns


def legend_columns(labels: list[str], width: float) -> int:
    """How many legend entries fit side by side into `width` inches."""
    entry = 0.55 + 0.075 * max(map(len, labels))  # the swatch, and 9-point letters
    fitting = max(1, min(len(labels), int(width / entry)))
    rows = -(-len(labels) // fitting)
    return -(-len(labels) // rows)  # as few columns as the same number of rows needs: even rows
