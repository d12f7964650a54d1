"""Stubs are not attempted yet; a forgotten return is wrong; what is built on a stub of an earlier task says so."""

import functools

import pytest
import torch
from torch import nn

from unet_lab.checks import borrow, find, judge

# a forgotten return


def prints(logits, masks):
    print((logits.softmax(dim=1)).mean())


def forgets(logits, masks):
    """A docstring."""
    loss = logits.softmax(dim=1).mean()
    ...  # your code here
    loss = 1 - loss


@torch.no_grad()
def forgets_under_a_decorator(counts):
    counts.sum()


class ForgetsInForward(nn.Module):
    def __init__(self, in_ch, out_ch):
        super().__init__()
        self.layer = nn.Conv2d(in_ch, out_ch, 3, padding=1)

    def forward(self, x):
        x = self.layer(x)


class ForgetfulLoss(nn.Module):
    def forward(self, logits, masks):
        logits.sum()


def gathers_and_forgets(images, masks, batch_size, size):
    for chosen in torch.randperm(len(images)).split(batch_size):
        images[chosen].float() / 255


@pytest.mark.parametrize(("key", "answer", "message"), [
    ("e08-dice-loss", prints, "It returns None: is a return missing?"),
    ("dice-loss", forgets, "It returns None: is a return missing?"),
    ("e08-mean-iou", forgets_under_a_decorator, "It returns None: is a return missing?"),
    ("e08-double-conv", ForgetsInForward, "forward returns None: is a return missing?"),
    ("e08-dice-loss", ForgetfulLoss(), "It returns None: is a return missing?"),
    ("e08-batches", gathers_and_forgets, "It returns None: is a yield missing?"),
])  # fmt: skip
def test_a_forgotten_return_is_wrong(key, answer, message):
    outcome = judge(key, answer)
    assert (outcome.status, outcome.mistake, outcome.message) == ("wrong", "returns nothing", message)


def docstring_alone(logits, masks):
    """The loss."""


def passes(logits, masks):
    pass


def returns_none(logits, masks):
    return None


def raises(logits, masks):
    raise NotImplementedError


def to_be_filled_in(logits, masks):
    probs = logits.softmax(dim=1)
    loss = ...
    print(probs.mean(), loss)


def takes_what_is_around(logits, masks, closed_over=passes):
    """The loss."""
    ...


class WithoutForward(nn.Module):
    """The layers are there; `forward` is as it was handed out."""

    def __init__(self, in_ch, out_ch):
        super().__init__()
        self.layer = nn.Conv2d(in_ch, out_ch, 3, padding=1)

    def forward(self, x): ...


class StubLoss(nn.Module):
    def forward(self, logits, masks):
        """The loss."""


@pytest.mark.parametrize(("key", "answer"), [
    *(("e08-dice-loss", stub) for stub in (docstring_alone, passes, returns_none, raises, to_be_filled_in)),
    ("e08-dice-loss", takes_what_is_around),
    ("e08-dice-loss", StubLoss()),
    ("e08-dice-loss", functools.partial(prints)),
    ("e08-double-conv", WithoutForward),
])  # fmt: skip
def test_a_stub_or_what_cannot_be_told_is_not_attempted_yet(key, answer):
    assert judge(key, answer).status == "not attempted yet"


# answers built on a stub

COMBINED = """
import torch.nn.functional as F

def combined_loss(logits, masks, class_weights=None):
    return F.cross_entropy(logits, masks, class_weights, ignore_index=255) + dice_loss(logits, masks)
"""
ALONE = """
def combined_loss(logits, masks, class_weights=None):
    return dice_loss(logits, masks)
"""
EVALUATE = """
import torch

@torch.no_grad()
def evaluate(model, batches, num_classes):
    model.eval()
    counts = 0
    for images, masks in batches:
        counts = counts + confusion_matrix(model(images).argmax(dim=1), masks, num_classes)
    return mean_iou(counts)
"""


def stub(*arguments):
    """To be written."""


def unsolved(*arguments):
    raise NotImplementedError


def written(code, **names):
    namespace = dict(names)
    exec(code, namespace)
    return namespace[code.split("def ")[1].split("(")[0]]


def reference(key):
    return find(f"e08-{key}").reference


@pytest.mark.parametrize(("key", "code", "names", "unwritten"), [
    ("e08-combined-loss", COMBINED, {"dice_loss": stub}, "dice_loss"),
    ("e08-combined-loss", COMBINED, {"dice_loss": prints}, "dice_loss"),
    ("e08-combined-loss", COMBINED, {"dice_loss": unsolved}, "dice_loss"),
    ("e08-combined-loss", ALONE, {"dice_loss": stub}, "dice_loss"),
    ("e08-evaluate", EVALUATE, {"confusion_matrix": stub, "mean_iou": stub}, "confusion_matrix"),
    ("e08-evaluate", EVALUATE, {"confusion_matrix": reference("confusion-matrix"), "mean_iou": stub}, "mean_iou"),
])  # fmt: skip
def test_what_an_answer_is_built_on_is_to_be_written_first(key, code, names, unwritten):
    outcome = judge(key, written(code, **names))
    assert (outcome.status, outcome.mistake) == ("wrong", f"{unwritten} returns nothing")
    assert outcome.message == f"{unwritten} returns nothing: finish {unwritten} first, or borrow it."


def test_what_is_built_on_written_or_borrowed_functions_is_judged_as_ever():
    for matrix, mean in (
        (reference("confusion-matrix"), reference("mean-iou")),
        map(borrow, ("confusion_matrix", "mean_iou")),
    ):
        assert judge("e08-evaluate", written(EVALUATE, confusion_matrix=matrix, mean_iou=mean)).passed
    careless = written(COMBINED, dice_loss=borrow("dice_loss"))
    assert judge("e08-combined-loss", careless).mistake == "nan when everything is void"


def test_a_stub_beside_stubs_is_not_attempted_yet():
    code = "def combined_loss(logits, masks, class_weights=None):\n    ..."
    assert judge("e08-combined-loss", written(code, dice_loss=stub)).status == "not attempted yet"
