"""From one command to a U-Net that beats the dumb baseline on real images. Skipped where the images are absent."""

import json

import numpy as np
import pytest
import torch
from skimage.filters import threshold_otsu

from unet_lab.cli import main
from unet_lab.data import load
from unet_lab.metrics import ConfusionMatrix

pytestmark = [pytest.mark.real_data, pytest.mark.slow]


def test_nuclei_beat_otsus_threshold(shared_data, capsys):
    """The share of a run, not its seconds, is fixed here, so that a busy machine gives the same figure."""
    root = shared_data / "nuclei"
    matrix = ConfusionMatrix(2)
    test = load("nuclei", root=root).test
    for image, mask in zip(test.images, test.masks, strict=True):
        grey = image[0].numpy()
        matrix.update(torch.from_numpy((grey > threshold_otsu(grey)).astype(np.int64)), mask.long())
    otsu = matrix.scores().mean_iou
    assert otsu == pytest.approx(0.911, abs=0.002)  # measured independently on the same 50 images

    assert main(["train", "--data", "nuclei", "--root", str(root), "--epochs", "4", "--device", "cpu", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["iou"]) == {"background", "nucleus"}
    assert report["miou"] > otsu


def test_camvid_beats_the_best_class_of_each_row_and_leaves_void_out(shared_data, capsys):
    """The dumb baseline of a street: sky above, road below, whatever the picture shows."""
    root = shared_data / "camvid_small"
    splits = load(root)
    train = torch.stack(list(splits.train.masks)).long()
    counts = torch.stack([(train == class_id).sum(dim=(0, 2)) for class_id in range(11)])  # (class, row)
    rows = counts.argmax(dim=0)[:, None].expand(train.shape[1:])
    matrix = ConfusionMatrix(11)
    for mask in splits.test.masks:
        matrix.update(rows, mask.long())
    baseline = matrix.scores().mean_iou
    assert 0.05 < baseline < 0.3

    assert main(["train", "--data", str(root), "--epochs", "4", "--device", "cpu", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["iou"]) == 11
    assert report["miou"] > baseline
