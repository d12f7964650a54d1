"""The check of DoubleConv: wrong blocks under their own names, right ones however they are written."""

import time

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unet_lab.checks import judge
from unet_lab.checks.e08.blocks import DOUBLE_CONV
from unet_lab.models import DoubleConv

KEY = "e08-double-conv"
SEEDS = [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 20))]
MISTAKES = {mistake.name: mistake for mistake in DOUBLE_CONV.mistakes}


def test_the_exercise_is_complete():
    assert len(MISTAKES) == len(DOUBLE_CONV.mistakes) >= 20
    assert len(DOUBLE_CONV.hints) == 3
    assert all(mistake.sentence.endswith((".", "?")) for mistake in DOUBLE_CONV.mistakes)
    assert DOUBLE_CONV.signature == "DoubleConv(in_ch, out_ch)"
    channels = [[probe[:2] for probe in DOUBLE_CONV.draw(seed)] for seed in range(20)]
    assert all({in_ch < out_ch for in_ch, out_ch in pairs} == {True, False} for pairs in channels)
    assert all(any(in_ch == out_ch for in_ch, out_ch in pairs) for pairs in channels)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_mistake_is_caught_under_its_own_name(seed):
    for mistake in DOUBLE_CONV.mistakes:
        for i, answer in enumerate(mistake.answers):
            outcome = judge(KEY, answer, seed=seed)
            assert (outcome.status, outcome.mistake) == ("wrong", mistake.name), f"answer {i}: {outcome}"
            assert outcome.message == mistake.sentence


@pytest.mark.parametrize("seed", SEEDS)
def test_right_blocks_pass(seed):
    for i, answer in enumerate((DoubleConv, *DOUBLE_CONV.variants)):
        start = time.process_time()
        assert judge(KEY, answer, seed=seed).passed, f"variant {i}: {judge(KEY, answer, seed=seed)}"
        assert time.process_time() - start < 5


class Stub(nn.Module):
    """The exercise as it is handed out."""

    ...


class StubWithMethods(nn.Module):
    def __init__(self, in_ch, out_ch):
        super().__init__()
        ...

    def forward(self, x): ...


class StubOfForward(DoubleConv):
    def forward(self, x): ...


class StubThatReturnsEllipsis(DoubleConv):
    def forward(self, x):
        return ...


class StubThatRaises(DoubleConv):
    def forward(self, x):
        raise NotImplementedError


@pytest.mark.parametrize(
    "stub",
    [
        None,
        ...,
        Stub,
        StubWithMethods,
        StubOfForward,
        StubThatReturnsEllipsis,
        StubThatRaises,
        lambda in_ch, out_ch: None,
    ],
)
def test_a_stub_is_not_attempted_yet(stub):
    assert judge(KEY, stub).status == "not attempted yet"


class NoForward(nn.Module):
    def __init__(self, in_ch, out_ch):
        super().__init__()
        self.conv = nn.Conv2d(in_ch, out_ch, 3)

    def foward(self, x):
        return self.conv(x)


class NoModule:
    def __init__(self, in_ch, out_ch):
        self.conv = nn.Conv2d(in_ch, out_ch, 3)

    def forward(self, x):
        return self.conv(x)


class TwoResults(DoubleConv):
    def forward(self, x):
        return x, super().forward(x)


class OneArgument(nn.Module):
    def __init__(self, in_ch):
        super().__init__()

    def forward(self, x):
        return x


class Misspelt(DoubleConv):
    def forward(self, x):
        return self.nett(x)


class ChangesItsInput(DoubleConv):
    def forward(self, x):
        return super().forward(x.mul_(2))


class Endless(DoubleConv):
    def forward(self, x):
        while True:
            x = x + 1


class OnAnotherDevice(DoubleConv):
    def forward(self, x):
        return super().forward(x).to("meta")


class WithEmptyBlock(nn.Module):
    def __init__(self, in_ch, out_ch):
        super().__init__()
        self.inner = StubOfForward(in_ch, out_ch)

    def forward(self, x):
        return self.inner(x)


class Dropped(DoubleConv):
    def forward(self, x):
        return F.dropout(super().forward(x), 0.5)


@pytest.mark.parametrize(("answer", "mistake", "words"), [
    (DoubleConv(3, 8), "not a class", f'check("{KEY}", DoubleConv)'),
    (3, "not a class", "without brackets"),
    (NoForward, "forward is missing", "spelt right"),
    (NoModule, "not an nn.Module", "nn.Module"),
    (TwoResults, "wrong type", "one tensor"),
    (OneArgument, "raised TypeError", "The input was: DoubleConv(3, "),
    (Misspelt, "raised AttributeError", "in the line `return self.nett(x)`"),
    (ChangesItsInput, "input changed in place", "an input"),
    (OnAnotherDevice, "wrong device", "meta"),
    (WithEmptyBlock, "StubOfForward returns nothing", "borrow it"),
    (lambda in_ch, out_ch: nn.Conv2d(in_ch, out_ch, 3, padding=1), "", "its layers: it gave 3×3 convolution 3→"),
    (Dropped, "", "ReLU → Mul; expected"),
    (lambda in_ch, out_ch: nn.Identity(), "", "shape of the output"),
])  # fmt: skip
def test_other_wrong_answers(answer, mistake, words):
    outcome = judge(KEY, answer)
    assert (outcome.status, outcome.mistake) == ("wrong", mistake)
    assert words in outcome.message


@pytest.mark.slow
def test_an_endless_forward_is_told():
    assert judge(KEY, Endless).mistake == "too slow"


def test_random_states_are_untouched():
    before = torch.get_rng_state()
    for answer in (DoubleConv, MISTAKES["no padding"].answer, Dropped):
        judge(KEY, answer)
        assert torch.equal(torch.get_rng_state(), before)
