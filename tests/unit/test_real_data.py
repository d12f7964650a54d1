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


def test_camvid_learns_its_large_classes_and_leaves_void_out(shared_data, capsys):
    root = shared_data / "camvid_small"
    assert main(["train", "--data", str(root), "--epochs", "4", "--device", "cpu", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["iou"]) == 11
    assert min(report["iou"][name] for name in ("sky", "road", "building")) > 0.4
    assert report["miou"] > 0.2
