"""Bring your own: a folder with images, index masks and the names of the classes.

Two layouts are read::

    root/classes.txt                                 root/classes.txt
    root/{train,val,test}/images/NAME.jpg            root/images/NAME.jpg
    root/{train,val,test}/masks/NAME.png             root/masks/NAME.png

``classes.txt`` has one class a line; the first line names id 0. An image and its mask have the same name before
the suffix. A mask is an index mask: the value of a pixel (in a palette file: the palette's index) is its class id,
and 255 is void.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from unet_lab import IGNORE_INDEX
from unet_lab.data.dataset import SegmentationDataset, Splits

logger = logging.getLogger("unet_lab")

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".ppm", ".pgm")
MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
LOSSY_SUFFIXES = (".jpg", ".jpeg", ".webp")
VOID_NAMES = ("void", "ignore", "unlabelled", "unlabeled")
SPLITS = ("train", "val", "test")
HELD_OUT = 0.15  # the share of a split that has to be made


@dataclass(frozen=True)
class Pair:
    """An image file and its mask file."""

    image: Path
    mask: Path


def load(root: str | Path, *, void: str | int | None = "auto", seed: int = 0) -> Splits:
    """The splits of a folder of images and index masks (layouts: see the module).

    Splits that the folder does not have are contiguous blocks of the sorted names, never a random draw: neighbouring
    frames of a video or slices of a scan are near-copies, so shuffling would put copies of the training images into
    val and test, and the scores would be too good. Without any split the blocks are 70 % train, 15 % val, 15 % test,
    in this order; with a train folder but no val (or test), the missing one is a block of 15 % at its end. The logger
    ``unet_lab`` says what was made of what.

    Images are held as uint8, all in memory: turned upright by their EXIF orientation, alpha dropped, grey ones
    repeated to three channels if any image of the folder is coloured. 16-bit grey images are divided by one number
    for the whole folder, so that relative brightness stays: the largest value of the smallest bit depth
    (8, 10, 12, 14, 16) that holds every pixel.

    Args:
        root: the folder.
        void: what counts nowhere, besides 255, which always is void.

            * ``"auto"``: lines of classes.txt that read void, ignore, unlabelled or unlabeled; if there is none, the
              id directly after the last class (CamVid as SegNet published it: 11 names, id 11 is void), with a
              warning in the log;
            * a class name of classes.txt, or an id in 0…255;
            * None: only 255.

            A void class leaves ``class_names``. Where it is not the last line, the ids after it move down by one,
            so that ids stay 0…num_classes − 1; the log says so.
        seed: taken by every ``load``; nothing here is drawn at random, so it changes nothing.

    Raises:
        FileNotFoundError: the folder, classes.txt, images, masks, or the partner of an image or mask is missing.
        ValueError: masks or class names that can't be used; the message names the file and the likely mend.
        TypeError: `void` is not a name, an id or None.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"There is no folder {root}. Is the path right, seen from {Path.cwd()}?")
    lines = read_class_names(root)
    pairs = _split_pairs(root)
    void_ids, may_guess = _void_ids(void, lines, root / "classes.txt")

    # one list over all splits: void ids, colour and bit depth are decided for the whole folder
    every_pair = [pair for split in SPLITS for pair in pairs[split]]
    every_mask = [_read_ids(pair) for pair in every_pair]
    counts = sum(np.bincount(mask.ravel(), minlength=IGNORE_INDEX + 1) for mask in every_mask)
    after_last = len(lines)
    if may_guess and after_last < IGNORE_INDEX and counts[after_last]:
        void_ids = {after_last}
        logger.warning(
            "%s: id %d, directly after the last of the %d classes of classes.txt, is taken as void (%.1f %% of the "
            "pixels). Is it a class? Then a line is missing in classes.txt, often 'background' as the first.",
            root.name, after_last, len(lines), 100 * counts[after_last] / counts.sum(),
        )  # fmt: skip
    _check_ids(every_mask, every_pair, counts, lines, void_ids, root)
    class_names, new_ids = _renumber(lines, void_ids, root)
    images = _to_uint8([_read_pixels(pair, mask) for pair, mask in zip(every_pair, every_mask, strict=True)])
    masks = [torch.from_numpy(new_ids[mask]) for mask in every_mask]

    datasets, start = [], 0
    for split in SPLITS:
        part = slice(start, start + len(pairs[split]))
        start = part.stop
        datasets.append(
            SegmentationDataset(
                stack(images[part]),
                stack(masks[part]),
                class_names,
                name=root.resolve().name,
                split=split,
                names=[pair.image.stem for pair in pairs[split]],
            )
        )
    return Splits(*datasets)


def read_class_names(root: Path) -> list[str]:
    """The lines of root/classes.txt: the name of id 0, of id 1, …"""
    path = root / "classes.txt"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing. Write one class name a line; the first line names id 0, often 'background'."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason}). Save it again as plain UTF-8 text.") from error
    names = [line.strip() for line in text.rstrip().splitlines()]
    if "" in names:
        raise ValueError(f"{path}: line {names.index('') + 1} is empty. A line's number gives the id, so none may be.")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(
            f"{path} names {', '.join(map(repr, twice))} more than once. Give each class a name of its own."
        )
    if not 2 <= len(names) <= IGNORE_INDEX:
        raise ValueError(
            f"{path} has {len(names)} class names; 2 to {IGNORE_INDEX} are possible. "
            "Is 'background' missing as the first?"
        )
    return names


def pair_files(folder: Path) -> list[Pair]:
    """The images of folder/images with the masks of folder/masks that have the same stem, sorted by stem.

    Raises:
        FileNotFoundError: a folder is missing or empty, or a file has no partner.
        ValueError: two files of one folder share a stem, or a mask's format loses values.
    """
    images = _by_stem(folder / "images", IMAGE_SUFFIXES)
    masks = _by_stem(folder / "masks", MASK_SUFFIXES + LOSSY_SUFFIXES)
    for found, others, what, partner in ((images, masks, "image", "masks"), (masks, images, "mask", "images")):
        alone = [path for stem, path in found.items() if stem not in others]
        if alone:
            raise FileNotFoundError(
                f"{len(alone)} of {len(found)} {what} files in {alone[0].parent} have no partner in {partner}/: "
                f"{_first(path.name for path in alone)}. An image and its mask need the same name before the suffix; "
                f"{partner}/ has {_first(path.name for path in others.values())}."
            )
    for path in masks.values():
        if path.suffix.lower() in LOSSY_SUFFIXES:
            raise ValueError(_lossy(path))
    return [Pair(images[stem], masks[stem]) for stem in sorted(images)]


def read_image(path: Path) -> np.ndarray:
    """Pixels of an image file, upright, without alpha: ``(H, W)`` grey or ``(H, W, 3)`` RGB.

    uint8, or uint16 for 16-bit grey, unscaled. Raises ValueError for a file that can't be read.
    """
    image = ImageOps.exif_transpose(_open(path))
    if image.mode in ("I", "I;16", "I;16B", "I;16L"):
        pixels = np.asarray(image)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise ValueError(f"{path} has values {pixels.min()}…{pixels.max()}; grey images of 8 or 16 bits are read.")
        return pixels.astype(np.uint16)
    if image.mode == "F":
        raise ValueError(f"{path} holds floating point numbers; save it as an 8-bit or 16-bit image.")
    if image.mode in ("1", "L", "LA"):
        return np.asarray(image.convert("L"))
    return np.asarray(image.convert("RGB"))


def read_mask(path: Path) -> np.ndarray:
    """The ids of an index mask, ``(H, W)``: of a palette file the indices, not the colours; of a 1-bit file, bool."""
    mask = _open(path)
    if mask.format in ("JPEG", "MPO", "WEBP"):
        raise ValueError(_lossy(path))
    if mask.mode not in ("1", "L", "P", "I", "I;16", "I;16B", "I;16L"):
        raise ValueError(
            f"{path} is a picture of mode {mask.mode}; masks are index masks: one channel whose value is the class "
            "id. Turn each colour into its id (mode L, or P with one palette entry a class) and save as PNG."
        )
    return np.asarray(mask)


def check_size(pair: Pair, image: np.ndarray, mask: np.ndarray) -> None:
    """Raise ValueError unless both have the same height and width."""
    if image.shape[:2] == mask.shape:
        return
    turned = ""
    if image.shape[1::-1] == mask.shape:
        turned = (
            " Height and width are swapped: the EXIF orientation of an image is applied here; was the mask drawn on "
            "the image without it?"
        )
    raise ValueError(
        f"{pair.image} is {image.shape[1]} × {image.shape[0]} pixels (W × H), its mask {pair.mask.name} "
        f"{mask.shape[1]} × {mask.shape[0]}. They must match; resize masks with nearest neighbour only.{turned}"
    )


def stack(tensors: list[torch.Tensor]) -> torch.Tensor | list[torch.Tensor]:
    """One tensor where all have the same shape, else the list."""
    return torch.stack(tensors) if len({tensor.shape for tensor in tensors}) == 1 else tensors


def _open(path: Path) -> Image.Image:
    try:
        # given a file and not its name, Pillow does not map it into memory: a mapped TIFF with an orientation tag comes
        # out scrambled (Pillow 13.0)
        with path.open("rb") as file, Image.open(file) as image:
            pages = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
            image.load()
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, … on damaged files
        raise ValueError(
            f"{path} can't be read as an image ({type(error).__name__}: {error}). Is it cut, or copied only in part? "
            f"It has {path.stat().st_size} bytes."
        ) from error
    if pages > 1:
        raise ValueError(f"{path} has {pages} pages; one image a file is read. Save each page as a file of its own.")
    return image


def _by_stem(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}; {folder.parent} needs both images/ and masks/.")
    # names that begin with a dot: what desktops leave behind (._photo.jpg, .DS_Store)
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    found: dict[str, Path] = {}
    for path in files:
        if path.suffix.lower() not in suffixes or not path.is_file():
            continue
        if path.stem in found:
            raise ValueError(f"{folder} has both {found[path.stem].name} and {path.name}. Which one? Remove the other.")
        found[path.stem] = path
    if not found:
        there = _first(path.name for path in files) if files else "nothing"
        raise FileNotFoundError(f"{folder} has no file that ends in {', '.join(suffixes)}; there is {there}.")
    return found


def _split_pairs(root: Path) -> dict[str, list[Pair]]:
    folders = [split for split in SPLITS if (root / split).is_dir()]
    if (root / "images").is_dir():
        if folders:
            raise ValueError(f"{root} has both images/ and {folders[0]}/: which is meant? Move one of them elsewhere.")
        pairs = {"train": pair_files(root)}
    elif "train" in folders:
        pairs = {split: pair_files(root / split) for split in folders}
        for other in sorted(path for path in root.iterdir() if path.name not in SPLITS and (path / "images").is_dir()):
            logger.warning("%s: %s/ is not read; the splits are called %s.", root.name, other.name, ", ".join(SPLITS))
    else:
        deeper = [path.parent for name in ("images", "train") for path in sorted(root.glob(f"*/{name}"))]
        hint = f" Did you mean {deeper[0]}?" if deeper else ""
        raise FileNotFoundError(
            f"{root} has neither train/images and train/masks nor images and masks; "
            f"there is {_first(path.name for path in sorted(root.iterdir())) or 'nothing'}.{hint}"
        )

    missing = [split for split in SPLITS if split not in pairs]
    if missing:
        whole = pairs["train"]
        held = max(1, round(HELD_OUT * len(whole)))
        if len(whole) <= held * len(missing):
            raise ValueError(
                f"{root} has {len(whole)} training images, and {' and '.join(missing)} must be taken from them: "
                f"at least {len(missing) + 1} are needed."
            )
        start = len(whole) - held * len(missing)
        pairs["train"] = whole[:start]
        for number, split in enumerate(missing):
            pairs[split] = whole[start + number * held :][:held]
        logger.log(
            logging.INFO if not folders else logging.WARNING,
            "%s: no folder for %s; contiguous blocks of the sorted training names are used: %s.",
            root.name,
            " and ".join(missing),
            ", ".join(f"{len(pairs[split])} {split}" for split in ["train", *missing]),
        )
    return pairs


def _void_ids(void: str | int | None, lines: list[str], path: Path) -> tuple[set[int], bool]:
    """The ids that are void by what `void` says, and whether the masks may add the one after the last class."""
    if void is None:
        return set(), False
    if isinstance(void, (int, np.integer)) and not isinstance(void, bool):
        if not 0 <= void <= IGNORE_INDEX:
            raise ValueError(f"void must be an id in 0…{IGNORE_INDEX}; got {void}.")
        return {int(void)} - {IGNORE_INDEX}, False
    if not isinstance(void, str):
        raise TypeError(
            f"void must be 'auto', a class name, an id or None; got {void!r} of type {type(void).__name__}."
        )
    if void == "auto":
        named = {index for index, line in enumerate(lines) if line.casefold() in VOID_NAMES}
        return named, not named
    if void not in lines:
        raise ValueError(f"void={void!r} is no line of {path}; it has {', '.join(lines)}.")
    return {lines.index(void)}, False


def _renumber(lines: list[str], void_ids: set[int], root: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """The names of the classes that count, and a table uint8 (256,) from the files' ids to the data set's."""
    kept = [index for index in range(len(lines)) if index not in void_ids]
    if len(kept) < 2:
        raise ValueError(f"{root / 'classes.txt'}: {len(kept)} class is left without void; at least 2 are needed.")
    table = np.full(IGNORE_INDEX + 1, IGNORE_INDEX, dtype=np.uint8)
    table[kept] = np.arange(len(kept))
    dropped = [lines[index] for index in sorted(void_ids) if index < len(lines)]
    if dropped:
        moved = [index for number, index in enumerate(kept) if number != index]
        logger.log(
            logging.WARNING if moved else logging.INFO,
            "%s: class %s is void and leaves the class names%s.",
            root.name, " and ".join(dropped),
            f"; id {moved[0]} of the files ({lines[moved[0]]}) becomes {table[moved[0]]}, and so on" if moved else "",
        )  # fmt: skip
    return tuple(lines[index] for index in kept), table


def _check_ids(
    masks: list[np.ndarray], pairs: list[Pair], counts: np.ndarray, lines: list[str], void_ids: set[int], root: Path
) -> None:
    """Raise ValueError if a mask holds an id that no class has; `counts` are the pixels of each id over all masks."""
    present = set(np.flatnonzero(counts).tolist())
    if IGNORE_INDEX in present and present <= {0, IGNORE_INDEX}:
        raise ValueError(
            f"The masks of {root} hold only 0 and {IGNORE_INDEX}, and {IGNORE_INDEX} is void, so one class is left. "
            f"Black and white masks? Write id 1 for white (mask[mask == {IGNORE_INDEX}] = 1) and save them as PNG."
        )
    unknown = present - set(range(len(lines))) - void_ids - {IGNORE_INDEX}
    if not unknown:
        return
    found = [sorted(unknown.intersection(np.unique(mask).tolist())) for mask in masks]
    bad = [(pair.mask, ids) for pair, ids in zip(pairs, found, strict=True) if ids]
    path, ids = bad[0]
    others = f" ({len(bad) - 1} other masks hold unknown ids too)" if len(bad) > 1 else ""
    raise ValueError(
        f"{path} holds the unknown ids {_first(map(str, ids))}{others}; classes.txt has {len(lines)} names, so "
        f"0…{len(lines) - 1} are known, and {IGNORE_INDEX} is void. Add the missing names, or pass void=ID for one id "
        "that shall not count. Many high ids are a sign of grey levels or object numbers in place of class ids."
    )


def _read_ids(pair: Pair) -> np.ndarray:
    mask = read_mask(pair.mask)
    if mask.min() < 0 or mask.max() > IGNORE_INDEX:
        raise ValueError(
            f"{pair.mask} holds values {mask.min()}…{mask.max()}; class ids are 0…{IGNORE_INDEX - 1}, and "
            f"{IGNORE_INDEX} is void. Object numbers (an instance map)? Write each pixel's class id instead."
        )
    return mask.astype(np.uint8)


def _read_pixels(pair: Pair, mask: np.ndarray) -> np.ndarray:
    image = read_image(pair.image)
    check_size(pair, image, mask)
    return image


def _to_uint8(arrays: list[np.ndarray]) -> list[torch.Tensor]:
    """Tensors uint8 (C, H, W), all grey or all colour, 16-bit ones by one scale."""
    deep = [int(pixels.max()) for pixels in arrays if pixels.dtype == np.uint16]
    top = 2 ** next(bits for bits in (8, 10, 12, 14, 16) if max(deep) < 2**bits) - 1 if deep else 255
    coloured = any(pixels.ndim == 3 for pixels in arrays)
    tensors = []
    for pixels in arrays:
        if pixels.dtype == np.uint16:
            pixels = np.round(pixels * np.float32(255 / top)).astype(np.uint8)
        if pixels.ndim == 2:
            pixels = pixels[..., None].repeat(3 if coloured else 1, axis=2)
        tensors.append(torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))))  # (H, W, C) -> (C, H, W)
    return tensors


def _lossy(path: Path) -> str:
    return (
        f"{path} is compressed with loss, which changes class ids at every border. Save masks as PNG from their "
        "source; a converted copy keeps the damage."
    )


def _first(names, count: int = 4) -> str:
    names = list(names)
    return ", ".join(names[:count]) + (f", … ({len(names)} in all)" if len(names) > count else "")
