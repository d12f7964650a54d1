"""Data sets, all with one interface: ``load(name)`` gives `Splits` of `SegmentationDataset`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from unet_lab.data.dataset import SegmentationDataset, Splits

NAMES = ("scenes", "nuclei")
"""The data sets known by name; any other word is taken as a folder."""

__all__ = ["NAMES", "SegmentationDataset", "Splits", "load"]


def load(name: str | Path, **options) -> Splits:
    """The splits of a data set.

    Args:
        name: one of `NAMES`, or a folder with images and index masks (see `unet_lab.data.folder`).
        options: passed on to the ``load`` of that data set's own module.

    Raises:
        FileNotFoundError: `name` is neither a known data set nor a folder.
    """
    if name in NAMES:
        return import_module(f"unet_lab.data.{name}").load(**options)
    if not Path(name).is_dir():
        raise FileNotFoundError(
            f"No data set and no folder is called {str(name)!r}. Known data sets: {', '.join(NAMES)}. "
            "For your own images give a folder with images/, masks/ and classes.txt."
        )
    return import_module("unet_lab.data.folder").load(name, **options)
