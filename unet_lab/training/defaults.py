"""What `fit` takes where its caller leaves the choice to it: by the data, never by the machine."""

from __future__ import annotations

from collections.abc import Sequence

from unet_lab.data import SegmentationDataset

Stages = Sequence[tuple[float, float]]

CROP = 128
"""Pixels: short side of the crops from images that differ in size or are large."""

LARGEST_WHOLE = 2**17
"""Pixels of the largest images that are trained on whole. Whole images teach where things usually are."""

SMALLEST_USEFUL_SIDE = 40
"""Pixels: smaller images show too little around each pixel."""

WHOLE_RUN = ((1.0, 1.0),)
"""All of the run on images of full size."""

STAGES = (((0.25, 0.5), (0.5, 0.25), (1.0, 0.25)), ((0.5, 0.6), (1.0, 0.4)), WHOLE_RUN)
"""(scale, share of the run) one after the other; the first that fits the images is taken.

Test mIoU on slow cores. Street photographs of 180 x 240 pixels, 220 s of one core, one seed: half and full size 0.28, a
quarter first 0.35. Nuclei in crops of 128, 20 s of two cores: half and full size 0.932 on each of three seeds; a quarter
first, with 32 pixels and smaller batches, 0.893 to 0.919.
"""


def default_batch_size(dataset: SegmentationDataset) -> int:
    """Some sixteen steps an epoch: a small data set in large batches takes too few steps to learn anything."""
    return min(16, max(4, len(dataset) // 16))


def default_size(dataset: SegmentationDataset) -> tuple[int, int] | None:
    """None, for whole images, where they are of one size and not large; else crops (height, width)."""
    sizes = {tuple(mask.shape) for mask in dataset.masks}
    if len(sizes) == 1:
        height, width = next(iter(sizes))
        if height * width <= LARGEST_WHOLE:
            return None
    return crop_size(dataset, CROP)


def crop_size(dataset: SegmentationDataset, short_side: int) -> tuple[int, int]:
    """Crops with the proportions of the first image, in multiples of 16 pixels, no larger than that image."""
    height, width = dataset.masks[0].shape
    scale = min(1.0, short_side / min(height, width))
    return tuple(max(16, round(side * scale / 16) * 16) for side in (height, width))


def default_stages(dataset: SegmentationDataset, size: tuple[int, int] | int | None) -> Stages:
    """The first of `STAGES` whose smallest images are still useful."""
    sides = dataset.masks[0].shape if size is None else (size, size) if isinstance(size, int) else size
    return next(stages for stages in STAGES if min(sides) * stages[0][0] >= SMALLEST_USEFUL_SIDE or stages is WHOLE_RUN)


def checked_stages(stages: Stages) -> Stages:
    """`stages` as floats.

    Raises:
        ValueError: scales outside 0 to 1, a last one that is not 1, or shares that don't sum to 1.
    """
    stages = tuple((float(scale), float(share)) for scale, share in stages)
    scales, shares = [scale for scale, _ in stages], [share for _, share in stages]
    if not stages or not all(0 < scale <= 1 for scale in scales) or scales[-1] != 1:
        raise ValueError(f"fit expects stages whose scales are in (0, 1] and end at 1; got {scales}.")
    if not all(share > 0 for share in shares) or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"fit expects stages whose shares of the run sum to 1; got {shares}.")
    return stages
