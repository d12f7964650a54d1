"""The nuclei data set: StarDist's layout, normalisation, splits, and the cache."""

import hashlib
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from unet_lab.data import download, load, nuclei


def write_archive(root, train=16, test=3, size=(8, 10)):
    """A small folder in the layout of the archive: image k of a split has k + 1 nuclei, labelled 1, 2, …"""
    for split, count in (("train", train), ("test", test)):
        for number in range(count):
            labels = np.zeros(size, dtype=np.uint16)
            labels[2, : number % 8 + 1] = np.arange(1, number % 8 + 2)
            pixels = (10 + 3 * labels.astype(np.uint8)).astype(np.uint8)
            for kind, array in (("images", pixels), ("masks", labels)):
                folder = root / "dsb2018" / split / kind
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(folder / f"{split}{number:02}.tif")
    return root


@pytest.fixture
def root(tmp_path):
    return write_archive(tmp_path / "data")


def test_masks_are_the_labels_above_zero(root):
    splits = nuclei.load(root)
    assert splits.class_names == ("background", "nucleus")
    assert splits.in_channels == 1
    assert splits.test.things == ("nucleus",)
    raw = np.asarray(Image.open(root / "dsb2018/test/masks/test02.tif"))
    assert splits.test.names[2] == "test02"
    assert splits.test.instances[2].dtype == torch.int32
    assert splits.test.instances[2].tolist() == raw.tolist()
    assert splits.test.masks[2].tolist() == (raw > 0).astype(int).tolist()
    assert int(splits.test.masks[2].sum()) == 3


def test_root_may_be_the_inner_folder(root):
    assert nuclei.load(root / "dsb2018").train.names == nuclei.load(str(root)).train.names


def test_seed_picks_the_block_that_is_val(root):
    names = [f"train{number:02}" for number in range(16)]
    for seed, val in ((0, names[:2]), (1, names[2:4]), (7, names[14:]), (8, names[:2])):
        splits = nuclei.load(root, seed)
        assert splits.val.names == val
        assert splits.train.names == [name for name in names if name not in val]
        assert len(splits.test) == 3


def test_blocks_cover_train_when_it_does_not_divide_by_eight(tmp_path):
    write_archive(tmp_path, train=19, test=1)
    blocks = [nuclei.load(tmp_path, seed).val.names for seed in range(8)]
    assert [name for block in blocks for name in block] == [f"train{number:02}" for number in range(19)]


def test_stretch_puts_the_percentiles_at_the_ends():
    pixels = np.arange(1000, dtype=np.uint16).reshape(20, 50)  # percentile 1 is 9.99, percentile 99.8 is 997.002
    stretched = nuclei.stretch(pixels)
    assert stretched.dtype == np.uint8
    assert stretched.ravel()[[0, 9, 998, 999]].tolist() == [0, 0, 255, 255]
    assert stretched[10, 0] == round((500 - 9.99) / (997.002 - 9.99) * 255)
    assert nuclei.stretch(pixels, 0, 100)[10, 0] == round(500 / 999 * 255)


def test_stretch_does_not_depend_on_exposure():
    nucleus = np.random.default_rng(0).integers(20, 60, (32, 32)).astype(np.uint16)
    assert nuclei.stretch(4 * nucleus + 100).tolist() == nuclei.stretch(nucleus).tolist()


def test_stretch_of_one_value_is_zero():
    with np.errstate(all="raise"):
        assert nuclei.stretch(np.full((4, 4), 9, dtype=np.uint8)).tolist() == np.zeros((4, 4)).tolist()


def test_normalise_can_be_left_out(root):
    raw = np.asarray(Image.open(root / "dsb2018/test/images/test01.tif"))
    assert nuclei.load(root, normalise=False).test.images[1][0].tolist() == raw.tolist()
    assert nuclei.load(root).test.images[1].max() == 255


def test_other_layout_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither dsb2018/train/images nor train/images"):
        nuclei.load(tmp_path)


def test_colour_images_are_refused(root):
    Image.fromarray(np.zeros((8, 10, 3), np.uint8)).save(root / "dsb2018/test/images/test00.tif")
    with pytest.raises(ValueError, match=r"test00\.tif is not an 8-bit grey image"):
        nuclei.load(root)


def test_missing_mask_is_named(root):
    (root / "dsb2018/train/masks/train05.tif").unlink()
    with pytest.raises(FileNotFoundError, match=r"no partner in masks/: train05\.tif"):
        nuclei.load(root)


def test_nothing_is_fetched_without_leave(tmp_path, monkeypatch):
    monkeypatch.setenv("UNET_LAB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(FileNotFoundError, match=r"not in the cache .*download=True"):
        nuclei.load(download=False)
    assert not (tmp_path / "cache").exists()


def test_fetched_once_then_from_the_cache(root, tmp_path, monkeypatch):
    archive = shutil.make_archive(str(tmp_path / "dsb2018"), "zip", root)
    fetched = []

    def copy(url, path, **options):
        fetched.append(url)
        shutil.copyfile(archive, path)

    monkeypatch.setenv("UNET_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "_download", copy)
    with open(archive, "rb") as file:
        monkeypatch.setattr(nuclei, "SHA256", hashlib.sha256(file.read()).hexdigest())
    first = load("nuclei")
    assert fetched == ["https://github.com/stardist/stardist/releases/download/0.1.0/dsb2018.zip"]
    assert first.train.names == nuclei.load(root).train.names
    assert nuclei.load(download=False).test.names == first.test.names
    load("nuclei")
    assert len(fetched) == 1


def test_published_checksum_is_the_one_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("UNET_LAB_CACHE", str(tmp_path))
    monkeypatch.setattr(download, "_download", lambda url, path, **options: path.write_bytes(b"another file"))
    with pytest.raises(
        download.DownloadError, match="e44921950edce378063aa4457e625581ba35b4c2dbd9a07c19d48900129f386f"
    ):
        nuclei.load()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def real(request):
    return nuclei.load(request.getfixturevalue("shared_data") / "nuclei")


def test_counts_of_the_real_images(real):
    assert len(real.train) + len(real.val) == 250
    assert 0.10 <= len(real.val) / 250 <= 0.15
    assert len(real.test) == 50
    assert sum(len(instances.unique()) - 1 for dataset in real for instances in dataset.instances) == 8338
    assert not set(real.train.names) & set(real.val.names)


def test_real_images_are_bright_after_normalisation(real):
    assert all(int(image.max()) == 255 and int(image.min()) == 0 for dataset in real for image in dataset.images)


def test_otsu_on_the_real_images(real):
    """The figure that the course quotes for thresholding: 0.911 mIoU, one confusion matrix over the 50 test images."""
    filters = pytest.importorskip("skimage.filters")
    counts = np.zeros(4, dtype=np.int64)
    for image, mask in zip(real.test.images, real.test.masks, strict=True):
        grey = image[0].numpy()
        preds = grey > filters.threshold_otsu(grey)
        counts += np.bincount((2 * mask.numpy() + preds).ravel(), minlength=4)
    true_0, false_1, false_0, true_1 = counts
    iou = (true_0 / (true_0 + false_0 + false_1), true_1 / (true_1 + false_0 + false_1))
    assert np.mean(iou) == pytest.approx(0.911, abs=0.002)
