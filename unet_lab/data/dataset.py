"""The one shape that every data set of the course has: images and masks of a split, held in memory as uint8."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from unet_lab import IGNORE_INDEX


class SegmentationDataset(Dataset):
    """Images with their masks, one split of a data set.

    Args:
        images: uint8, one tensor ``(N, C, H, W)`` or a sequence of ``(C, H, W)`` that may differ in H and W.
        masks: uint8 class ids, ``(N, H, W)`` or a sequence of ``(H, W)``; 255 is void.
        class_names: the names of the classes 0, 1, ….
        name: of the data set, ``"scenes"`` for example.
        split: ``"train"``, ``"val"``, ``"test"`` or ``"all"``.
        instances: int32 maps as the masks, 0 = no object, or None where the data set has none.
        things: names of the classes whose objects can be counted.
        names: one name an image (a file's stem), for messages and titles.
        colours: ``(num_classes, 3)`` RGB in [0, 1]; None takes the course's palette.

    ``dataset[i]`` gives ``(image, mask)``: float32 ``(C, H, W)`` in [0, 1] and int64 ``(H, W)``.

    Raises:
        ValueError: lengths or sizes that don't fit together.
    """

    def __init__(
        self,
        images: Tensor | Sequence[Tensor],
        masks: Tensor | Sequence[Tensor],
        class_names: Sequence[str],
        *,
        name: str,
        split: str = "all",
        instances: Tensor | Sequence[Tensor] | None = None,
        things: Sequence[str] = (),
        names: Sequence[str] | None = None,
        colours=None,
    ):
        names = [str(index) for index in range(len(images))] if names is None else list(names)
        for what, items in (("masks", masks), ("instances", instances), ("names", names)):
            if items is not None and len(items) != len(images):
                raise ValueError(
                    f"SegmentationDataset expects one entry of {what} an image; got {len(items)} for {len(images)} images."
                )
        for i, (image, mask) in enumerate(zip(images, masks, strict=True)):
            if image.dtype != torch.uint8 or image.ndim != 3 or mask.dtype != torch.uint8:
                raise ValueError(
                    f"SegmentationDataset expects uint8 images (C, H, W) and uint8 masks (H, W); image {names[i]!r} is "
                    f"{image.dtype} {tuple(image.shape)}, its mask {mask.dtype}."
                )
            if image.shape[1:] != mask.shape:
                raise ValueError(
                    f"Image and mask {names[i]!r} differ in size: {tuple(image.shape[1:])} and {tuple(mask.shape)} "
                    "pixels (H, W). Is the mask another image's?"
                )
        self.images, self.masks, self.instances, self.names = images, masks, instances, names
        self.class_names, self.things = tuple(class_names), tuple(things)
        self.name, self.split = name, split
        self._colours = colours

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index].float() / 255, self.masks[index].long()

    def __repr__(self) -> str:
        sizes = {tuple(image.shape[1:]) for image in self.images}
        size = " × ".join(map(str, sizes.pop())) + " pixels" if len(sizes) == 1 else f"{len(sizes)} sizes"
        classes = ", ".join(self.class_names)
        return f"SegmentationDataset({self.name}, {self.split}: {len(self)} images, {size}; classes: {classes})"

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def in_channels(self) -> int:
        """Channels of the images: 3 for colour, 1 for grey."""
        return self.images[0].shape[0]

    @property
    def colours(self):
        """``(num_classes, 3)`` RGB in [0, 1]."""
        if self._colours is None:
            from unet_lab.plots import default_colours  # matplotlib only where a picture is wanted

            return default_colours(self.num_classes, self.class_names)
        return self._colours

    def subset(self, indices: Sequence[int], split: str | None = None) -> SegmentationDataset:
        """The images at `indices`, in that order. Nothing is copied but the list."""
        indices = list(indices)

        def pick(items):
            if items is None:
                return None
            return items[indices] if isinstance(items, Tensor) else [items[i] for i in indices]

        return self.with_content(
            pick(self.images), pick(self.masks), pick(self.instances), [self.names[i] for i in indices], split
        )

    def with_content(self, images, masks, instances=None, names=None, split: str | None = None) -> SegmentationDataset:
        """The same data set (name, classes, colours) with other images and masks."""
        return SegmentationDataset(
            images,
            masks,
            self.class_names,
            name=self.name,
            split=split or self.split,
            instances=instances,
            things=self.things,
            names=self.names if names is None else names,
            colours=self._colours,
        )

    def class_pixels(self) -> Tensor:
        """Pixels of each class over the whole split, int64 ``(num_classes,)``; void is not counted."""
        counts = torch.zeros(IGNORE_INDEX + 1, dtype=torch.int64)
        for mask in self.masks:
            counts += torch.bincount(mask.flatten().long(), minlength=IGNORE_INDEX + 1)
        return counts[: self.num_classes]

    def show(self, count: int = 4):
        """A picture of the first `count` images with their masks."""
        from unet_lab.plots import show_samples

        shown = range(min(count, len(self)))
        return show_samples(
            [self.images[i] for i in shown],
            [self.masks[i] for i in shown],
            class_names=self.class_names,
            colours=self.colours,
        )


@dataclass(frozen=True)
class Splits:
    """The three splits of a data set.

    Attributes:
        train: what the weights are fitted to.
        val: what choices (epoch, learning rate, loss) are made on.
        test: what the reported figure comes from, looked at once.
    """

    train: SegmentationDataset
    val: SegmentationDataset
    test: SegmentationDataset

    def __iter__(self) -> Iterator[SegmentationDataset]:
        return iter((self.train, self.val, self.test))

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.train.class_names

    @property
    def num_classes(self) -> int:
        return self.train.num_classes

    @property
    def in_channels(self) -> int:
        return self.train.in_channels
