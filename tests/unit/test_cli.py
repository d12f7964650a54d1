"""The command line as its user meets it: one JSON object, one clear line, the right exit code."""

import json

import numpy as np
import pytest
from PIL import Image

from unet_lab import doctor
from unet_lab.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny data set of one's own: bright squares."""
    root = tmp_path_factory.mktemp("own")
    (root / "classes.txt").write_text("ground\nsquare\n")
    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 3), ("test", 3)):
        (root / split / "images").mkdir(parents=True)
        (root / split / "masks").mkdir()
        for i in range(count):
            mask = np.zeros((40, 48), np.uint8)
            top, left = random.integers(2, 20, 2)
            mask[top : top + 14, left : left + 14] = 1
            image = random.integers(0, 90, (40, 48, 3), dtype=np.uint8) + 120 * mask[..., None]
            Image.fromarray(image).save(root / split / "images" / f"{i}.png")
            Image.fromarray(mask).save(root / split / "masks" / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("out") / "model.pt"
    arguments = [
        "train",
        "--data",
        str(folder),
        "--epochs",
        "30",
        "--base-channels",
        "4",
        "--size",
        "32",
        "--device",
        "cpu",
    ]
    assert main([*arguments, "--out", str(path)]) == 0
    return path


def run(capsys, *arguments: str):
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_train_prints_one_json_object_with_all_keys(capsys, folder):
    options = ["--seconds", "1", "--base-channels", "4", "--size", "32", "--device", "cpu", "--json"]
    code, out, _ = run(capsys, "train", "--data", str(folder), *options)
    report = json.loads(out)
    assert code == 0
    assert out.count("\n") == 1
    assert set(report) >= {"miou", "iou", "pixel_accuracy", "images_per_second", "seconds", "parameters", "device"}
    assert set(report["iou"]) == {"ground", "square"}
    assert report["device"] == "cpu"
    assert report["parameters"] > 100_000
    assert 0 < report["miou"] <= 1


def test_evaluate_gives_what_training_reported(capsys, folder, trained):
    code, out, _ = run(capsys, "evaluate", str(trained), "--data", str(folder), "--device", "cpu", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["miou"] > 0.8
    assert report["miou"] == pytest.approx(np.mean(list(report["iou"].values())), abs=1e-5)
    _, text, _ = run(capsys, "evaluate", str(trained), "--data", str(folder), "--device", "cpu", "--split", "val")
    assert "square" in text


def test_evaluating_on_other_classes_is_refused(capsys, trained):
    code, out, error = run(capsys, "evaluate", str(trained), "--data", "scenes")
    assert (code, out) == (2, "")
    assert "trained on the classes ground, square" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--data", "nowhere"], "No data set and no folder is called 'nowhere'"),
        (["train", "--data", "scenes", "--root", "x"], "leave --root away"),
        (["train", "--data", "scenes", "--device", "gpu9"], "device expects"),
        (["evaluate", "none.pt", "--data", "scenes"], "No checkpoint at none.pt"),
    ],
)
def test_wrong_files_and_values_give_one_line_and_exit_code_2(capsys, arguments, words):
    code, out, error = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train"], "--data"),
        (["train", "--data", "scenes", "--seconds", "-1"], "number above 0"),
        (["train", "--data", "scenes", "--seconds", "3", "--epochs", "2"], "not allowed with"),
        (["train", "--data", "scenes", "--size", "8"], "at least 16 pixels"),
        (["train", "--data", "scenes", "--seed", "-4"], "whole number from 0"),
        (["train", "--data", "scenes", "--epochs", "1.5"], "whole number above 0"),
        (["fly"], "fly"),
    ],
)
def test_wrong_arguments_exit_with_2(capsys, arguments, words):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_demo_trains_and_writes_its_picture(capsys, tmp_path):
    picture = tmp_path / "new folder" / "demo.png"
    code, out, _ = run(capsys, "demo", "--seconds", "1", "--out", str(picture))
    assert code == 0
    assert "car" in out
    assert Image.open(picture).width > 400


def test_doctor_finds_this_machine_well_and_says_what_to_do_where_not(capsys, monkeypatch):
    code, out, _ = run(capsys, "doctor", "--json")
    findings = {finding["what"]: finding for finding in json.loads(out)}
    assert {"Python", "torch", "device", "bfloat16", "cache", "disk"} <= set(findings)
    assert code == (0 if all(finding["ok"] for finding in findings.values()) else 1)
    monkeypatch.setattr(doctor, "version", lambda name: "0.0.1")
    code, out, _ = run(capsys, "doctor")
    assert code == 1
    assert "LOOK torch: 0.0.1" in out
    assert "pip install 'torch>=2.6'" in out
