"""Nuclei in fluorescence microscopy: the 2018 Data Science Bowl subset that StarDist published.

Source: BBBC038 (Caicedo et al., "Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl",
Nature Methods 16, 2019), public domain (CC0); selected and repaired by Schmidt et al., "Cell Detection with
Star-convex Polygons", MICCAI 2018. 447 training and 50 test images, 8-bit grey, with a number for each nucleus.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from unet_lab.data.dataset import SegmentationDataset, Splits
from unet_lab.data.download import archive_folder, fetch_archive
from unet_lab.data.folder import Pair, check_size, pair_files, read_image, read_mask, stack

URL = "https://github.com/stardist/stardist/releases/download/0.1.0/dsb2018.zip"
SHA256 = "e44921950edce378063aa4457e625581ba35b4c2dbd9a07c19d48900129f386f"
CLASS_NAMES = ("background", "nucleus")
THINGS = ("nucleus",)
FOLDS = 8


def load(root: str | Path | None = None, seed: int = 0, download: bool = True, *, normalise: bool = True) -> Splits:
    """The splits of the nuclei images: one grey channel, masks 0 (background) and 1 (nucleus), instances kept.

    The archive has train and test; val is cut out of train: its sorted names are divided into 8 contiguous blocks, and
    `seed` modulo 8 says which block is val. Names are hashes, so a block is a mixed bag: images taken under the same
    conditions, even neighbouring fields of view, can be in both train and val. Images differ in size, so ``images``
    is a list.

    Args:
        root: the folder that holds ``dsb2018``, or that folder itself; None takes the cache folder
            (see `unet_lab.data.download.cache_folder`).
        seed: which block is val.
        download: fetch the archive (once) if `root` is None and the cache lacks it.
        normalise: spread each image's grey values over 0…255 (see `stretch`). Without it many images are nearly black:
            in one of eight the brightest pixel is below 50.

    Raises:
        FileNotFoundError: `root` does not have the layout, or nothing is in the cache and `download` is False.
        DownloadError: the archive could not be fetched.
        ValueError: a file that can't be read.
    """
    folder = _find(root, download)
    train, test = pair_files(folder / "train"), pair_files(folder / "test")
    fold = seed % FOLDS
    start = fold * len(train) // FOLDS
    stop = max(start + 1, (fold + 1) * len(train) // FOLDS)
    return Splits(
        _read(train[:start] + train[stop:], "train", normalise),
        _read(train[start:stop], "val", normalise),
        _read(test, "test", normalise),
    )


def stretch(pixels: np.ndarray, low: float = 1.0, high: float = 99.8) -> np.ndarray:
    """Grey values with the percentile `low` at 0 and `high` at 255, those beyond clipped: uint8, same shape.

    Percentiles of the single image are the usual normalisation for fluorescence (StarDist takes 1 and 99.8 as well):
    exposure and staining change from image to image, the form of the nuclei does not. An image of one value becomes 0.
    """
    dark, bright = np.percentile(pixels, (low, high))
    if bright <= dark:
        return np.zeros(pixels.shape, dtype=np.uint8)
    return np.round(np.clip((pixels - dark) * (255 / (bright - dark)), 0, 255)).astype(np.uint8)


def _find(root: str | Path | None, download: bool) -> Path:
    if root is None:
        folder = archive_folder("nuclei", SHA256) / "dsb2018"
        if download:
            fetch_archive(URL, SHA256, name="nuclei")
        elif not folder.is_dir():
            raise FileNotFoundError(
                f"The nuclei images are not in the cache ({folder}). Let them be fetched with download=True, or unpack "
                f"{URL} yourself and pass its folder as root."
            )
        return folder
    root = Path(root).expanduser()
    for folder in (root / "dsb2018", root):
        if (folder / "train" / "images").is_dir():
            return folder
    raise FileNotFoundError(
        f"{root} has neither dsb2018/train/images nor train/images. root is the folder that holds dsb2018, "
        f"as {URL} unpacks."
    )


def _read(pairs: list[Pair], split: str, normalise: bool) -> SegmentationDataset:
    images, instances = [], []
    for pair in pairs:
        pixels, labels = read_image(pair.image), read_mask(pair.mask)
        check_size(pair, pixels, labels)
        if pixels.ndim != 2 or (pixels.dtype != np.uint8 and not normalise):
            raise ValueError(f"{pair.image} is not an 8-bit grey image. Is this the archive {URL}, unchanged?")
        pixels = stretch(pixels) if normalise else pixels.copy()
        images.append(torch.from_numpy(pixels)[None])  # (H, W) -> (1, H, W)
        instances.append(torch.from_numpy(labels.astype(np.int32)))
    return SegmentationDataset(
        stack(images),
        stack([(labels > 0).to(torch.uint8) for labels in instances]),
        CLASS_NAMES,
        name="nuclei",
        split=split,
        instances=stack(instances),
        things=THINGS,
        names=[pair.image.stem for pair in pairs],
    )
