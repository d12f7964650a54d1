"""Borrowed solutions: marked, never passed, and told in what is built on them."""

import inspect
import json

import pytest
import torch
from torch import nn

from unet_lab.checks import borrow, check, find, judge
from unet_lab.checks.borrow import KEYS, NEEDS, borrowed_from, built_on
from unet_lab.models import UNet as PackageUNet

READY = ("DoubleConv", "UNet", "dice_loss", "combined_loss")


@pytest.mark.parametrize("name", READY)
def test_a_borrowed_thing_works_and_is_borrowed_not_passed(name, capsys):
    thing = borrow(name)
    assert capsys.readouterr().out.startswith(f"Borrowed: {name} is the package's now.")
    assert thing.__name__ == name
    assert inspect.signature(thing) == inspect.signature(find(KEYS[name]).reference)
    assert borrowed_from(thing) == KEYS[name]
    outcome = judge(KEYS[name], thing)
    assert (outcome.status, outcome.mistake, outcome.passed) == ("borrowed", "", False)
    assert f"the package's {name}" in outcome.message
    assert judge(KEYS[name], find(KEYS[name]).reference).passed, "the reference itself stays unmarked"


def test_names_are_those_of_the_references():
    for name in READY:
        assert find(KEYS[name]).reference.__name__ == name
    for key, names in NEEDS.items():
        assert key.startswith("e08-")
        assert set(names) <= set(KEYS)


def test_a_borrowed_network_is_the_packages():
    torch.manual_seed(0)
    network = borrow("UNet")(1, 4, base_channels=2)
    assert isinstance(network, PackageUNet)
    assert network(torch.rand(2, 1, 32, 32)).shape == (2, 4, 32, 32)
    assert borrowed_from(network) == "e08-unet"
    assert judge("e08-unet", network).status == "borrowed"


def test_a_borrowed_loss_computes():
    logits, masks = torch.zeros(1, 2, 2, 2, requires_grad=True), torch.tensor([[[0, 1], [1, 255]]])
    borrow("combined_loss")(logits, masks, class_weights=torch.ones(2)).backward()
    assert logits.grad.any()


@pytest.mark.parametrize(("name", "words"), [
    ("DoubelConv", "Did you mean 'DoubleConv'?"),
    ("resnet", "Choose one of DoubleConv, UNet"),
    (3, "Choose one of"),
    (None, "Choose one of"),
])  # fmt: skip
def test_unknown_names_are_told(name, words):
    with pytest.raises(ValueError, match=r"borrow expects") as caught:
        borrow(name)
    assert words in str(caught.value)


def test_another_task_is_judged_as_ever():
    assert judge("e08-unet", borrow("DoubleConv")).status == "wrong"
    assert judge("dice-loss", borrow("dice_loss")).passed, "only the task that it solves is borrowed"


def test_what_is_built_on_it_says_so(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("UNET_LAB_CHECK_LOG", str(tmp_path / "log"))
    notebook = {"check": check, "DoubleConv": borrow("DoubleConv"), "mine": find("e08-unet").reference}
    capsys.readouterr()
    exec("check('e08-unet', mine)", notebook)
    assert capsys.readouterr().out == "e08-unet: passed. Built on the package's DoubleConv.\n"
    assert json.loads((tmp_path / "log").read_text())["message"] == "Built on the package's DoubleConv."

    notebook["DoubleConv"] = find("e08-double-conv").reference
    exec("check('e08-unet', mine)", notebook)
    assert capsys.readouterr().out == "e08-unet: passed\n"


def test_only_what_a_task_needs_is_told():
    borrowed = {name: borrow(name) for name in READY}
    assert built_on("e08-unet", borrowed) == "Built on the package's DoubleConv."
    assert built_on("e08-double-conv", borrowed) == ""
    assert built_on("e08-trained-model", borrowed).endswith("DoubleConv, UNet, dice_loss and combined_loss.")
    assert built_on("e08-unet", {"DoubleConv": nn.Conv2d}) == ""
    assert built_on("e08-unet", {}) == ""
