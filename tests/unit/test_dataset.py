"""The one interface of all data sets."""

import pytest
import torch

from unet_lab import data
from unet_lab.data.dataset import SegmentationDataset


@pytest.fixture
def dataset() -> SegmentationDataset:
    images = torch.randint(0, 256, (3, 3, 16, 20), dtype=torch.uint8)
    masks = torch.zeros(3, 16, 20, dtype=torch.uint8)
    masks[0, :4], masks[1, 0, :5] = 1, 255
    instances = masks.int() * 7
    return SegmentationDataset(images, masks, ("a", "b", "c"), name="made up", instances=instances, things=("b",))


def test_an_item_is_a_float_image_and_an_int64_mask(dataset):
    image, mask = dataset[0]
    assert (image.dtype, image.shape, mask.dtype, mask.shape) == (torch.float32, (3, 16, 20), torch.int64, (16, 20))
    assert torch.allclose(image * 255, dataset.images[0].float())
    assert (dataset.num_classes, dataset.in_channels, len(dataset)) == (3, 3, 3)


def test_class_pixels_leave_void_out(dataset):
    assert dataset.class_pixels().tolist() == [3 * 320 - 80 - 5, 80, 0]


def test_a_subset_keeps_pairs_names_and_instances_together(dataset):
    part = dataset.subset([2, 0], split="val")
    assert part.names == ["2", "0"]
    assert part.split == "val"
    for new, old in enumerate([2, 0]):
        assert torch.equal(part.images[new], dataset.images[old])
        assert torch.equal(part.masks[new], dataset.masks[old])
        assert torch.equal(part.instances[new], dataset.instances[old])


def test_lengths_sizes_and_types_that_do_not_fit_are_refused():
    image, mask = torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(8, 8, dtype=torch.uint8)
    with pytest.raises(ValueError, match="one entry of masks an image; got 1 for 2"):
        SegmentationDataset([image, image], [mask], ("a",), name="x")
    with pytest.raises(ValueError, match=r"'cat' differ in size: \(8, 8\) and \(8, 9\)"):
        SegmentationDataset([image], [torch.zeros(8, 9, dtype=torch.uint8)], ("a",), name="x", names=["cat"])
    with pytest.raises(ValueError, match=r"torch.float32"):
        SegmentationDataset([image.float()], [mask], ("a",), name="x")


def test_load_knows_names_and_folders():
    splits = data.load("scenes", size=(32, 48), train=3, val=2, test=2)
    assert [len(split) for split in splits] == [3, 2, 2]
    assert [split.split for split in splits] == ["train", "val", "test"]
    assert splits.class_names == splits.test.class_names
    with pytest.raises(FileNotFoundError, match=r"'sceness'.*scenes, nuclei.*classes.txt"):
        data.load("sceness")


def test_show_pictures_the_first_images(dataset):
    assert len(dataset.show(2).axes) >= 2
