"""Folders of images and index masks: what is read, what is made of it, and what is refused with which words."""

import logging
import re
import time

import numpy as np
import pytest
import torch
from PIL import Image

from unet_lab.data import folder, load

SIZE = (6, 8)  # height, width


def mask_of(*ids):
    """A mask whose columns cycle through `ids`."""
    return np.resize(np.array(ids, dtype=np.uint8), SIZE[1])[None].repeat(SIZE[0], axis=0)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(path, **options)


def grey(value=100):
    return np.full(SIZE, value, dtype=np.uint8)


def write_pair(root, name, mask=None, image=None):
    save(root / "images" / f"{name}.png", grey() if image is None else image)
    save(root / "masks" / f"{name}.png", mask_of(0, 1) if mask is None else mask)


def write_splits(root, classes="background\ncell\n", mask=None, splits=("train", "val", "test"), count=1):
    root.mkdir(exist_ok=True)
    (root / "classes.txt").write_text(classes, encoding="utf-8")
    for split in splits:
        for number in range(count):
            write_pair(root / split, f"{split}{number:02}", mask)
    return root


def messages(caplog, level=logging.WARNING):
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


@pytest.fixture
def root(tmp_path):
    return write_splits(tmp_path / "mine")


# What is read


def test_layout_with_splits(root):
    colours = np.arange(np.prod(SIZE) * 3, dtype=np.uint8).reshape(*SIZE, 3)
    save(root / "train/images/a.bmp", colours)
    save(root / "train/masks/a.tif", mask_of(1, 0, 255))
    splits = load(root)
    assert [dataset.names for dataset in splits] == [["a", "train00"], ["val00"], ["test00"]]
    assert [dataset.split for dataset in splits] == ["train", "val", "test"]
    assert splits.class_names == ("background", "cell")
    assert splits.train.name == "mine"
    assert splits.train.images[0].numpy().transpose(1, 2, 0).tolist() == colours.tolist()
    assert splits.train.masks[0].tolist() == mask_of(1, 0, 255).tolist()
    image, mask = splits.train[0]
    assert (image.dtype, mask.dtype) == (torch.float32, torch.int64)


def test_one_size_is_one_tensor_and_several_sizes_a_list(root):
    assert folder.load(root).train.images.shape == (1, 1, *SIZE)
    save(root / "train/images/b.png", np.zeros((4, 5), np.uint8))
    save(root / "train/masks/b.png", np.ones((4, 5), np.uint8))
    train = folder.load(root).train
    assert [tuple(image.shape) for image in train.images] == [(1, 4, 5), (1, *SIZE)]
    assert [tuple(mask.shape) for mask in train.masks] == [(4, 5), SIZE]


def test_layout_without_splits_gives_contiguous_blocks(tmp_path, caplog):
    (tmp_path / "classes.txt").write_text("background\ncell")
    for number in range(20):
        write_pair(tmp_path, f"frame{number:02}")
    with caplog.at_level(logging.INFO, "unet_lab"):
        splits = folder.load(tmp_path)
    names = [f"frame{number:02}" for number in range(20)]
    assert [dataset.names for dataset in splits] == [names[:14], names[14:17], names[17:]]
    assert "14 train, 3 val, 3 test" in caplog.text
    assert not messages(caplog)
    assert folder.load(tmp_path, seed=3).val.names == splits.val.names


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (("train",), (14, 3, 3)),
        (("train", "test"), (17, 3, 20)),
        (("train", "val"), (17, 20, 3)),
    ],
)
def test_missing_split_is_the_last_block_of_train(tmp_path, caplog, there, expected):
    root = write_splits(tmp_path / "mine", splits=there, count=20)
    splits = folder.load(root)
    assert tuple(map(len, splits)) == expected
    made = [name for dataset in splits for name in dataset.names if name.startswith("train")]
    assert made == [f"train{number:02}" for number in range(20)]
    assert "contiguous blocks" in messages(caplog)[0]


def test_too_few_images_to_split(tmp_path):
    root = write_splits(tmp_path / "mine", splits=("train",), count=2)
    with pytest.raises(ValueError, match=r"2 training images, and val and test .* at least 3"):
        folder.load(root)


def test_palette_mask_gives_indices_not_colours(root):
    mask = Image.fromarray(mask_of(1, 0)).convert("L")
    mask.putpalette([200, 30, 30, 7, 7, 7])  # turns mode L into P
    assert mask.mode == "P"
    save(root / "train/masks/train00.png", mask, transparency=0)
    assert folder.load(root).train.masks[0].tolist() == mask_of(1, 0).tolist()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_and_1_bit_masks(root, suffix):
    for number, pixels in enumerate([mask_of(1, 0, 255).astype(np.uint16), mask_of(1, 0).astype(bool)]):
        save(root / f"train/images/m{number}.png", grey())
        save(root / f"train/masks/m{number}.{suffix}", pixels)
    masks = folder.load(root).train.masks
    assert masks.dtype == torch.uint8
    assert masks[0].tolist() == mask_of(1, 0, 255).tolist()
    assert masks[1].tolist() == mask_of(1, 0).tolist()


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_exif_orientation_is_applied(tmp_path, suffix):
    root = write_splits(tmp_path / "mine")
    lying = np.zeros((8, 16), dtype=np.uint8)
    lying[:, 8:] = 255  # the right half is bright
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees clockwise": the bright half comes to the bottom
    save(root / f"train/images/phone.{suffix}", lying, exif=exif)
    save(root / "train/masks/phone.png", np.zeros((16, 8), np.uint8))
    splits = folder.load(root)
    image = splits.train.images[0][0]
    assert image.shape == (16, 8)
    assert image[:7].float().mean() < 20
    assert image[9:].float().mean() > 235


def test_mask_of_the_unturned_image_is_explained(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(root / "train/images/phone.jpg", grey(), exif=exif)
    save(root / "train/masks/phone.png", mask_of(0, 1))
    with pytest.raises(ValueError, match=r"phone.jpg is 6 × 8 .* 8 × 6.*EXIF"):
        folder.load(root)


def test_alpha_is_dropped_not_blended(root):
    save(root / "train/images/train00.png", np.dstack([grey(10), grey(20), grey(30), grey(0)]))
    assert folder.load(root).train.images[0, :, 0, 0].tolist() == [10, 20, 30]


def test_one_coloured_image_makes_all_coloured(root):
    save(root / "test/images/test00.png", np.dstack([grey(10), grey(20), grey(30)]))
    save(root / "train/images/train00.png", np.dstack([grey(77), grey(128)]))  # grey with alpha
    splits = folder.load(root)
    assert splits.in_channels == 3
    assert splits.train.images[0, :, 0, 0].tolist() == [77, 77, 77]
    assert splits.test.images[0, :, 0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize(("top", "depth"), [(200, 8), (1023, 10), (4000, 12), (16383, 14), (60000, 16)])
def test_16_bit_images_share_one_scale(root, top, depth):
    deep = np.full(SIZE, top, dtype=np.uint16)
    deep[0, 0] = 0
    save(root / "train/images/train00.png", deep)
    (root / "val/images/val00.png").unlink()
    save(root / "val/images/val00.tif", deep // 2)
    splits = folder.load(root)
    full = 2**depth - 1
    assert splits.train.images[0, 0, 1, 1] == round(top * 255 / full)
    assert abs(int(splits.val.images[0, 0, 1, 1]) - top // 2 * 255 / full) <= 0.5
    assert splits.train.images[0, 0, 0, 0] == 0


def test_other_files_are_passed_over(root):
    for name in (".DS_Store", "._train00.png", "Thumbs.db", "notes.txt"):
        (root / "train/images" / name).write_bytes(b"not an image")
    assert folder.load(root).train.names == ["train00"]


def test_pixels_can_be_written_to(root):
    # arrays from Pillow are read-only; a tensor on such memory is undefined behaviour when written
    train = folder.load(root).train
    train.images[0] += 1
    train.masks[0] += 1
    assert train.images.unique().tolist() == [101]


# Void


def test_id_after_the_last_class_is_void_and_said_once(tmp_path, caplog):
    root = write_splits(tmp_path / "mine", mask=mask_of(0, 1, 2), count=3)
    splits = folder.load(root)
    assert splits.class_names == ("background", "cell")
    assert splits.train.masks[0].tolist() == mask_of(0, 1, 255).tolist()
    (message,) = messages(caplog)
    assert "id 2, directly after the last of the 2 classes" in message
    assert "25.0 %" in message
    assert "background" in message


def test_void_none_takes_255_alone(tmp_path):
    root = write_splits(tmp_path / "mine", mask=mask_of(0, 1, 255))
    assert folder.load(root, void=None).train.masks[0].tolist() == mask_of(0, 1, 255).tolist()
    save(root / "val/masks/val00.png", mask_of(0, 1, 2))
    with pytest.raises(ValueError, match=r"val00.png holds the unknown ids 2;.*2 names, so 0…1 are known"):
        folder.load(root, void=None)


@pytest.mark.parametrize("word", ["void", "Ignore", "unlabelled", "UNLABELED"])
def test_last_line_called_void(tmp_path, caplog, word):
    root = write_splits(tmp_path / "mine", classes=f"background\ncell\n{word}\n", mask=mask_of(0, 1, 2))
    splits = folder.load(root)
    assert splits.class_names == ("background", "cell")
    assert splits.train.masks[0].tolist() == mask_of(0, 1, 255).tolist()
    assert not messages(caplog)
    save(root / "val/masks/val00.png", mask_of(0, 1, 3))  # a void line there is: 3 is no void by convention
    with pytest.raises(ValueError, match="unknown ids 3"):
        folder.load(root)


def test_void_line_in_front_moves_the_ids_down(tmp_path, caplog):
    root = write_splits(tmp_path / "mine", classes="road\nvoid\ncar\ntree\n", mask=mask_of(0, 1, 2, 3, 255))
    splits = folder.load(root)
    assert splits.class_names == ("road", "car", "tree")
    assert splits.train.masks[0].tolist() == mask_of(0, 255, 1, 2, 255).tolist()
    assert "id 2 of the files (car) becomes 1" in messages(caplog)[0]


@pytest.mark.parametrize("void", [0, "road"])
def test_void_by_id_or_name(tmp_path, void):
    root = write_splits(tmp_path / "mine", classes="road\ncar\ntree\n", mask=mask_of(0, 1, 2))
    splits = folder.load(root, void=void)
    assert splits.class_names == ("car", "tree")
    assert splits.train.masks[0].tolist() == mask_of(255, 0, 1).tolist()


def test_void_id_without_a_class(tmp_path, caplog):
    root = write_splits(tmp_path / "mine", mask=mask_of(0, 1, 17))
    splits = folder.load(root, void=17)
    assert splits.train.masks[0].tolist() == mask_of(0, 1, 255).tolist()
    assert not messages(caplog)


@pytest.mark.parametrize(
    ("void", "error", "words"),
    [
        (256, ValueError, "0…255; got 256"),
        (-1, ValueError, "0…255; got -1"),
        ("sky", ValueError, "'sky' is no line of .*background, cell"),
        (1.0, TypeError, "got 1.0"),
        (True, TypeError, "got True"),
        (1, ValueError, "1 class is left"),
    ],
)
def test_void_that_cannot_be(root, void, error, words):
    with pytest.raises(error, match=words):
        folder.load(root, void=void)


# Refused, with the file and the mend


def test_missing_root(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        folder.load(tmp_path / "nowhere")


def test_missing_classes(root):
    (root / "classes.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"classes.txt is missing. Write one class name a line"):
        folder.load(root)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"a\nb\na\n", "'a' more than once"),
        (b"a\n\nb\n", "line 2 is empty"),
        (b"cell\n", "1 class names; .*'background'"),
        (b"", "0 class names"),
        ("\n".join(map(str, range(256))).encode(), "256 class names; 2 to 255"),
        ("stra\u00dfe\nauto".encode("latin-1"), "not UTF-8"),
    ],
)
def test_bad_class_names(root, text, words):
    (root / "classes.txt").write_bytes(text)
    with pytest.raises(ValueError, match=words):
        folder.load(root)


def test_class_names_from_windows(root):
    (root / "classes.txt").write_bytes("\ufeffbackground \r\ncell\r\n\r\n".encode())
    assert folder.load(root).class_names == ("background", "cell")


def test_neither_layout(tmp_path):
    write_splits(tmp_path / "inner")
    (tmp_path / "classes.txt").write_text("a\nb\n")
    with pytest.raises(
        FileNotFoundError, match=r"neither train/images.* there is classes.txt, inner. Did you mean .*inner\?"
    ):
        folder.load(tmp_path)


def test_both_layouts(root):
    write_pair(root, "a")
    with pytest.raises(ValueError, match="both images/ and train/"):
        folder.load(root)


def test_split_of_another_name_is_pointed_out(root, caplog):
    write_pair(root / "validation", "a")
    folder.load(root)
    assert "validation/ is not read" in messages(caplog)[0]


@pytest.mark.parametrize(
    ("removed", "words"),
    [
        ("masks", "3 of 7 image files in .*images have no partner in masks/: extra0.png, extra1.png, extra2.png"),
        ("images", "3 of 7 mask files in .*masks have no partner in images/: extra0.png, extra1.png, extra2.png"),
    ],
)
def test_missing_partner(tmp_path, removed, words):
    root = write_splits(tmp_path / "mine", count=4)
    for number in range(3):
        write_pair(root / "train", f"extra{number}")
        (root / "train" / removed / f"extra{number}.png").unlink()
    with pytest.raises(FileNotFoundError, match=words):
        folder.load(root)


def test_long_lists_are_cut_short(root):
    for number in range(9):
        save(root / f"train/images/z{number}.png", grey())
    with pytest.raises(FileNotFoundError, match=r"z0.png, z1.png, z2.png, z3.png, … \(9 in all\)"):
        folder.load(root)


def test_missing_masks_folder(root):
    (root / "test/masks/test00.png").unlink()
    (root / "test/masks").rmdir()
    with pytest.raises(FileNotFoundError, match=r"no folder .*masks; .*needs both images/ and masks/"):
        folder.load(root)


def test_empty_folder(root):
    (root / "val/images/val00.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"val.images has no file that ends in .jpg.*there is nothing"):
        folder.load(root)
    (root / "val/images/val00.npy").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"there is val00.npy"):
        folder.load(root)


def test_duplicate_stems(root):
    save(root / "train/images/train00.jpg", grey())
    with pytest.raises(ValueError, match=r"both train00.jpg and train00.png"):
        folder.load(root)


def test_sizes_that_differ(root):
    save(root / "train/masks/train00.png", np.zeros((5, 9), np.uint8))
    with pytest.raises(ValueError, match=r"train00.png is 8 × 6 .*mask train00.png 9 × 5.*nearest"):
        folder.load(root)


def test_unknown_ids_are_named(tmp_path):
    root = write_splits(tmp_path / "mine", mask=mask_of(0, 1, 7, 3), splits=("train", "val", "test"))
    save(root / "train/masks/train00.png", mask_of(0, 1))
    with pytest.raises(ValueError, match=r"val00.png holds the unknown ids 3, 7 \(1 other masks .*2 names"):
        folder.load(root)


def test_instance_map_in_place_of_a_mask(root):
    save(root / "train/masks/train00.png", mask_of(0, 1).astype(np.uint16) * 300)
    with pytest.raises(ValueError, match=r"train00.png holds values 0…300; class ids are 0…254.*Object numbers"):
        folder.load(root)


def test_black_and_white_masks_are_no_void(tmp_path):
    root = write_splits(tmp_path / "mine", mask=mask_of(0, 255))
    with pytest.raises(ValueError, match=re.escape("mask[mask == 255] = 1")):
        folder.load(root)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_jpeg_masks(root, suffix):
    (root / "train/masks/train00.png").unlink()
    save(root / f"train/masks/train00.{suffix}", mask_of(0, 1), format="JPEG")
    with pytest.raises(ValueError, match=rf"train00.{suffix} is compressed with loss.*Save masks as PNG"):
        folder.load(root)


@pytest.mark.parametrize(("channels", "mode"), [(2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_colour_masks(root, channels, mode):
    save(root / "train/masks/train00.png", np.dstack([grey()] * channels))
    with pytest.raises(ValueError, match=rf"train00.png is a picture of mode {mode}; masks are index masks"):
        folder.load(root)


@pytest.mark.parametrize("where", ["images", "masks"])
@pytest.mark.parametrize("left", [0, 10, 60])
def test_cut_files(root, where, left):
    noise = np.random.default_rng(0).integers(0, 2, SIZE).astype(np.uint8)
    path = root / "val" / where / "val00.png"
    save(path, noise)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ValueError, match=rf"{where}.val00.png can't be read as an image.*{left} bytes"):
        folder.load(root)


def test_cut_jpeg(root):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    path = root / "train/images/photo.jpg"
    save(path, noise)
    path.write_bytes(path.read_bytes()[:-900])
    save(root / "train/masks/photo.png", np.zeros((64, 64), np.uint8))
    with pytest.raises(ValueError, match=r"photo.jpg can't be read as an image.*truncated"):
        folder.load(root)


def test_stack_of_pages(root):
    page = Image.fromarray(grey())
    (root / "train/images/train00.png").unlink()
    page.save(root / "train/images/train00.tif", save_all=True, append_images=[page, page])
    with pytest.raises(ValueError, match=r"train00.tif has 3 pages"):
        folder.load(root)


@pytest.mark.parametrize(("dtype", "words"), [(np.float32, "floating point"), (np.int32, "values 0…70000")])
def test_images_of_other_numbers(root, dtype, words):
    (root / "train/images/train00.png").unlink()
    deep = np.full(SIZE, 70000, dtype=dtype)
    deep[0, 0] = 0
    save(root / "train/images/train00.tif", deep)
    with pytest.raises(ValueError, match=rf"train00.tif .*{words}"):
        folder.load(root)


# Real data


def test_camvid(shared_data, caplog):
    start = time.process_time()
    splits = load(shared_data / "camvid_small")
    seconds = time.process_time() - start
    assert tuple(map(len, splits)) == (123, 34, 59)
    assert splits.num_classes == 11
    assert splits.class_names[:4] == ("sky", "building", "pole", "road")
    assert splits.train.images.shape == (123, 3, 180, 240)
    ids = {value for dataset in splits for value in dataset.masks.unique().tolist()}
    assert ids == {*range(11), 255}
    assert len([message for message in messages(caplog) if "id 11" in message]) == 1
    assert seconds < 3  # of processor time; about 0.3 s when the machine is quiet
    path = shared_data / "camvid_small/val/masks" / f"{splits.val.names[5]}.png"
    raw = np.asarray(Image.open(path))
    assert splits.val.masks[5].numpy().tolist() == np.where(raw == 11, 255, raw).tolist()
