"""Joint transforms of image and mask, and the batches that training draws.

The two travel as one pair through `torchvision.transforms.v2`: geometry hits both alike, colour only the image, and
masks are never interpolated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as TF

from unet_lab import IGNORE_INDEX
from unet_lab.data.dataset import SegmentationDataset

FILL = {tv_tensors.Image: 0, tv_tensors.Mask: IGNORE_INDEX, "others": 0}
"""What padding adds: black in the image, void in the mask."""

MINIMUM_SIDE = 16
"""Pixels: the smallest image that U-Net takes."""


def augmentation(crop: tuple[int, int] | None = None, augment: bool = True) -> v2.Transform:
    """The default training transform of a pair of `tv_tensors.Image` and `tv_tensors.Mask`, both uint8.

    Args:
        crop: (height, width) of a random crop; a smaller image is padded, with void in the mask. None keeps the size.
        augment: also mirror left-right and vary brightness and contrast.
    """
    steps: list[v2.Transform] = []
    if crop is not None:
        steps.append(v2.RandomCrop(crop, pad_if_needed=True, fill=FILL))
    if augment:
        steps += [v2.RandomHorizontalFlip(), v2.ColorJitter(brightness=0.3, contrast=0.3)]
    return v2.Compose(steps) if steps else v2.Identity()


def transform_pair(transform: Callable, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Apply one random draw of `transform` to an image ``(C, H, W)`` and its mask ``(H, W)`` together."""
    image, mask = transform(tv_tensors.Image(image), tv_tensors.Mask(mask))
    return image.as_subclass(Tensor), mask.as_subclass(Tensor)


def resize(dataset: SegmentationDataset, scale: float) -> SegmentationDataset:
    """A copy whose images are `scale` times as large: smoothed images, masks by the nearest pixel centre.

    ``nearest-exact`` takes the pixel at the centre of each block; torch's older ``nearest`` takes its top left corner
    and shifts the mask against the image.
    """
    if not scale > 0:
        raise ValueError(f"resize expects a scale above 0, such as 0.5; got {scale!r}.")
    images, masks = [], []
    for image, mask in zip(dataset.images, dataset.masks, strict=True):
        size = [max(MINIMUM_SIDE, round(side * scale)) for side in mask.shape]
        images.append(TF.resize_image(image, size, interpolation=v2.InterpolationMode.BILINEAR, antialias=True))
        masks.append(TF.resize_image(mask[None], size, interpolation=v2.InterpolationMode.NEAREST_EXACT)[0])
    return dataset.with_content(images, masks)


def training_batches(
    dataset: SegmentationDataset, batch_size: int, transform: Callable, *, channels_last: bool = True
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch in random order: float32 images ``(N, C, H, W)`` in [0, 1] and int64 masks ``(N, H, W)``.

    Order and transforms draw from torch's global random state; seed it for a repeatable epoch. The last batch may be
    smaller, but never a single image next to larger batches: batch normalisation would learn little from it, so it
    joins the batch before. Everything is in memory, so no worker processes are needed.
    """
    order = torch.randperm(len(dataset)).tolist()
    starts = list(range(0, len(order), batch_size))
    if len(order) - starts[-1] == 1 and len(starts) > 1 and batch_size > 1:
        starts.pop()
    for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
        pairs = [transform_pair(transform, dataset.images[i], dataset.masks[i]) for i in order[start:stop]]
        images, masks = zip(*pairs, strict=True)
        sizes = {tuple(mask.shape) for mask in masks}
        if len(sizes) > 1:
            raise ValueError(
                f"A batch needs images of one size; {dataset.name} gave {sorted(sizes)} (H, W). Train on crops: give a size."
            )
        memory = torch.channels_last if channels_last else torch.contiguous_format
        yield torch.stack(images).float().div_(255).contiguous(memory_format=memory), torch.stack(masks).long()
