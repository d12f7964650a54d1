"""Image and mask stay one pair, masks are never interpolated, and batches hold what they should."""

import pytest
import torch
from torchvision.transforms import v2

from unet_lab.data.dataset import SegmentationDataset
from unet_lab.data.transforms import augmentation, resize, training_batches, transform_pair


def coordinates(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """An image whose red value is also the mask: any transform that treats the two alike keeps them equal."""
    mask = torch.arange(height * width, dtype=torch.uint8).reshape(height, width)
    return mask.expand(3, height, width).clone(), mask


def dataset_of(count: int, height: int = 20, width: int = 24) -> SegmentationDataset:
    images = torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8)
    return SegmentationDataset(images, images[:, 0] % 3, ("a", "b", "c"), name="made up")


GEOMETRY = v2.Compose([
    v2.RandomCrop((9, 11)), v2.RandomHorizontalFlip(0.5), v2.RandomVerticalFlip(0.5),
    v2.RandomAffine(degrees=40, translate=(0.2, 0.2), shear=10, interpolation=v2.InterpolationMode.NEAREST),
])  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("transform", [augmentation((9, 11)), GEOMETRY], ids=["default", "affine"])
def test_geometry_moves_image_and_mask_together(transform, seed):
    if transform is not GEOMETRY:  # the light changes only the image; without it the two can be compared
        transform = v2.Compose([t for t in transform.transforms if not isinstance(t, v2.ColorJitter)])
    torch.manual_seed(seed)
    image, mask = transform_pair(transform, *coordinates(15, 16))
    assert mask.shape == (9, 11)
    assert torch.equal(image[0], mask)


def test_a_pair_transformed_apart_would_be_seen():
    """The check above can fail: two separate draws differ."""
    torch.manual_seed(0)
    image, mask = coordinates(15, 16)
    image, _ = transform_pair(GEOMETRY, image, mask)
    _, mask = transform_pair(GEOMETRY, image.new_zeros(3, 15, 16), mask)
    assert not torch.equal(image[0], mask)


def test_light_changes_the_image_and_leaves_the_mask():
    torch.manual_seed(0)
    image, mask = coordinates(16, 16)
    jitter = v2.Compose([t for t in augmentation((16, 16)).transforms if isinstance(t, v2.ColorJitter)])
    new_image, new_mask = transform_pair(jitter, image, mask)
    assert torch.equal(new_mask, mask)
    assert not torch.equal(new_image, image)


def test_a_small_image_is_padded_with_void_not_with_a_class():
    image, mask = torch.full((3, 8, 8), 200, dtype=torch.uint8), torch.ones(8, 8, dtype=torch.uint8)
    new_image, new_mask = transform_pair(augmentation((16, 16), augment=False), image, mask)
    assert new_mask.unique().tolist() == [1, 255]
    assert torch.equal(new_image[0] == 200, new_mask == 1)
    assert int((new_mask == 1).sum()) == 64


def test_masks_shrink_by_the_nearest_pixel_centre():
    """nearest-exact picks columns 0, 2, 3, 5 of 6 → 4; the older nearest picks 0, 1, 3, 4."""
    mask = torch.arange(96, dtype=torch.uint8).reshape(4, 24)
    image = mask.expand(3, 4, 24).clone()
    wide = SegmentationDataset([image.repeat(1, 6, 1)], [mask.repeat(6, 1)], tuple("ab"), name="columns")
    row = resize(wide, 2 / 3).masks[0][0]
    assert row.tolist() == [0, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18, 20, 21, 23]


def test_resizing_a_mask_makes_no_new_ids():
    dataset = dataset_of(2, 40, 48)
    dataset.masks[0][:, 10:20] = 255
    half = resize(dataset, 0.5)
    assert half.masks[0].shape == (20, 24)
    assert half.images[0].shape == (3, 20, 24)
    assert set(half.masks[0].unique().tolist()) <= {0, 1, 2, 255}
    with pytest.raises(ValueError, match="scale above 0"):
        resize(dataset, 0)


def test_an_epoch_shows_each_image_once():
    dataset = dataset_of(10)
    dataset.images[:, 0, 0, 0] = torch.arange(10, dtype=torch.uint8)
    seen = [
        int(image[0, 0, 0] * 255 + 0.5) for images, _ in training_batches(dataset, 4, v2.Identity()) for image in images
    ]
    assert sorted(seen) == list(range(10))


@pytest.mark.parametrize(("count", "sizes"), [(8, [4, 4]), (10, [4, 4, 2]), (9, [4, 5]), (1, [1]), (3, [3])])
def test_a_last_single_image_joins_the_batch_before(count, sizes):
    assert [len(images) for images, _ in training_batches(dataset_of(count), 4, v2.Identity())] == sizes


def test_batches_have_the_conventions_types_and_range():
    images, masks = next(training_batches(dataset_of(4), 4, v2.Identity()))
    assert (images.dtype, masks.dtype) == (torch.float32, torch.int64)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert images.max() <= 1
    assert images.max() > 0.5


def test_the_seed_decides_order_and_crops():
    dataset, transform = dataset_of(8), augmentation((16, 16))

    def epoch(seed):
        torch.manual_seed(seed)
        return torch.cat([images for images, _ in training_batches(dataset, 4, transform)])

    assert torch.equal(epoch(1), epoch(1))
    assert not torch.equal(epoch(1), epoch(2))


def test_images_of_two_sizes_in_a_batch_ask_for_crops():
    mixed = SegmentationDataset(
        [torch.zeros(3, 20, 20, dtype=torch.uint8), torch.zeros(3, 20, 24, dtype=torch.uint8)],
        [torch.zeros(20, 20, dtype=torch.uint8), torch.zeros(20, 24, dtype=torch.uint8)], ("a",), name="mixed",
    )  # fmt: skip
    with pytest.raises(ValueError, match="give a size"):
        list(training_batches(mixed, 2, v2.Identity()))
