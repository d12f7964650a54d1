"""The check of the U-Net: it looks at what is joined with what, so that shapes alone never pass."""

import time

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unet_lab.checks import judge
from unet_lab.checks.e08.unet import UNET
from unet_lab.checks.parts.unet_wiring import Wiring
from unet_lab.checks.parts.wrong_unets import Parts
from unet_lab.models import DoubleConv, UNet

KEY = "e08-unet"
MISTAKES = {mistake.name: mistake for mistake in UNET.mistakes}


def test_the_exercise_is_complete():
    assert len(MISTAKES) == len(UNET.mistakes) >= 25
    assert len(UNET.hints) == 3
    assert all(mistake.sentence.endswith((".", "?")) for mistake in UNET.mistakes)
    assert UNET.signature == "UNet(in_channels, num_classes, base_channels)"
    drawn = {probe[:3] for seed in range(20) for probe in UNET.draw(seed)}
    assert len({probe[0] for probe in drawn}) == len({probe[1] for probe in drawn}) == 3


def assert_named(mistake, answers, seed):
    for i, answer in enumerate(answers):
        outcome = judge(KEY, answer, seed=seed)
        assert (outcome.status, outcome.mistake) == ("wrong", mistake.name), f"answer {i}: {outcome}"
        assert outcome.message == mistake.sentence


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_caught_under_its_own_name(name):
    for seed in (0, 1):
        assert_named(MISTAKES[name], MISTAKES[name].answers[:1], seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_every_way_to_make_a_mistake_is_caught_under_its_own_name(seed):
    """Each mistake on twenty seeds; the other ways to make it on three, for the networks take their time."""
    for mistake in UNET.mistakes:
        assert_named(mistake, mistake.answers[: None if seed < 3 else 1], seed)


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 20))])
def test_right_networks_pass(seed):
    for i, answer in enumerate((UNet, *UNET.variants)):
        start = time.process_time()
        outcome = judge(KEY, answer, seed=seed)
        assert outcome.passed, f"variant {i}: {outcome}"
        assert time.process_time() - start < 5


def test_the_wiring_of_the_package():
    facts = Wiring(UNet(3, 2, base_channels=2)(images(32, 64))).facts()
    assert facts["poolings"] == "max-pooling, to 1/2, 1/4, 1/8, 1/16"
    assert facts["channels on the way down"] == "2, 4, 8, 16, 32"
    assert facts["channels on the way up"] == "16, 8, 4, 2"
    for level in (1, 2, 3, 4):
        assert facts[f"level {level} of the decoder"] == f"concatenation of from below and level {level}"
    assert facts["skips that reach the output"] == "1, 2, 3, 4"
    assert facts["last convolution"] == "1×1"


def images(height, width):
    leaf = torch.rand(2, 3, height, width, requires_grad=True)
    leaf.is_the_image = True
    return leaf.clone()


# wrong in one way, and written in another way than the known wrong network


class OwnStyle(Parts):
    """Skip first, bilinear upsampling, blocks without a bias."""

    zeros = ()

    def upsampling(self, in_ch, out_ch):
        return nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(in_ch, out_ch, 3, padding=1, bias=False)
        )

    def join(self, up, skip, level):
        return torch.hstack([torch.zeros_like(skip) if level in self.zeros else skip, up])


def changed(**changes):
    return type("Changed", (OwnStyle,), changes)


def one_step(in_ch, out_ch):
    return nn.Sequential(nn.Conv2d(in_ch, out_ch, 3, padding=1), nn.ReLU())


@pytest.mark.parametrize(("answer", "mistake"), [
    (changed(zeros=(2, 3)), "zeros as skips"),
    (changed(zeros=(1, 2, 3, 4)), "zeros as skips"),
    (changed(join=lambda self, up, skip, level: torch.cat([skip.data if level < 3 else skip, up], 1)), "skips detached"),
    (changed(join=lambda self, up, skip, level: skip + up, joined=lambda self, c: c), "sum in place of concatenation"),
    (changed(join=lambda self, up, skip, level: up, joined=lambda self, c: c), "no skips"),
    (changed(last=lambda self, x: torch.softmax(x, -3)), "softmax in forward"),
    (changed(pool=lambda self, x, level: F.adaptive_avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))), "average pooling"),
    (changed(decoder_block=staticmethod(one_step)), "no DoubleConv in the decoder"),
    (lambda **settings: OwnStyle(**{**settings, "num_classes": 19}), "num_classes written as a number"),
    (lambda **settings: OwnStyle(**{**settings, "base_channels": 12}), "base_channels written as a number"),
    (changed(widths=(1, 3, 4, 8, 16)), "channels don't double"),
    (changed(last=lambda self, x: x.argmax(1)), "argmax in forward"),
    (changed(head=lambda self, i, o: nn.Conv2d(i, o, 5, padding=2)), "3×3 last convolution"),
])  # fmt: skip
def test_a_mistake_is_known_in_another_style(answer, mistake):
    outcome = judge(KEY, answer)
    assert (outcome.status, outcome.mistake) == ("wrong", mistake), outcome


# what beginners write


def own(forward, **layers):
    """A U-Net by hand, as the picture shows it, with a `forward` of its own."""

    class Own(nn.Module):
        def __init__(self, in_channels=3, num_classes=2, base_channels=64):
            super().__init__()
            c = [base_channels * 2**level for level in range(5)]
            self.pool = nn.MaxPool2d(2)
            self.down = nn.ModuleList(map(DoubleConv, [in_channels, *c], c[:4]))
            self.bottom = DoubleConv(c[3], c[4])
            self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, **layers) for w in c[3::-1])
            self.mix = nn.ModuleList(DoubleConv(2 * w, w) for w in c[3::-1])
            self.head = nn.Conv2d(c[0], num_classes, 1)

    Own.forward = forward
    return Own


def forward_with(after_pooling=False, head=True):
    def forward(self, x):
        skips = []
        for block in self.down:
            x = block(x)
            features, x = x, self.pool(x)
            skips.append(x if after_pooling else features)
        x = self.bottom(x)
        for up, mix in zip(self.up, self.mix, strict=True):
            x = mix(torch.cat([up(x), skips.pop()], dim=1))
        return self.head(x) if head else x

    return forward


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("answer", "mistake", "words"), [
    (own(forward_with(head=False), stride=2), "no head", "1×1 convolution"),
    (own(forward_with(after_pooling=True), stride=2), "skip taken after the pooling", "before you pool them"),
    (own(forward_with()), "transposed convolution without a stride", "stride=2"),
])  # fmt: skip
def test_what_beginners_write_is_named(answer, mistake, words, seed):
    outcome = judge(KEY, answer, seed=seed)
    assert (outcome.status, outcome.mistake) == ("wrong", mistake), outcome
    assert words in outcome.message
    assert judge(KEY, own(forward_with(), stride=2), seed=seed).passed


def test_no_probe_has_as_many_classes_as_base_channels():
    for seed in range(20):
        assert all(num_classes != base for _, num_classes, base, _ in UNET.draw(seed))


# other wrong answers


class Stub(nn.Module):
    """The exercise as it is handed out."""

    ...


class StubWithMethods(nn.Module):
    def __init__(self, in_channels=3, num_classes=2, base_channels=64):
        super().__init__()
        ...

    def forward(self, images): ...


@pytest.mark.parametrize("stub", [None, ..., Stub, StubWithMethods])
def test_a_stub_is_not_attempted_yet(stub):
    assert judge(KEY, stub).status == "not attempted yet"


class StubOfDoubleConv(DoubleConv):
    def forward(self, x): ...


class WithTypo(Parts):
    def join(self, up, skip, level):
        return torch.cat([up, skipp], dim=1)  # noqa: F821


class OtherNames(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()


class Endless(Parts):
    def forward(self, images):
        while True:
            images = images + 1


class ChangesImages(Parts):
    def forward(self, images):
        return super().forward(images.sub_(0.5))


class Dictionary(Parts):
    def forward(self, images):
        return {"out": super().forward(images)}


@pytest.mark.parametrize(("answer", "mistake", "words"), [
    (UNet(base_channels=2), "not a class", f'check("{KEY}", UNet)'),
    (type("WithStub", (Parts,), {"block": StubOfDoubleConv}), "StubOfDoubleConv returns nothing", "finish"),
    (WithTypo, "raised NameError", "in the line `return torch.cat([up, skipp], dim=1)"),
    (OtherNames, "raised TypeError", "in_channels"),
    (ChangesImages, "input changed in place", "an input"),
    (Dictionary, "wrong type", "a dict"),
    (lambda **settings: nn.Conv2d(settings["in_channels"], settings["num_classes"], 1), "a pooling is missing", "four"),
])  # fmt: skip
def test_other_wrong_answers(answer, mistake, words):
    start = time.process_time()
    outcome = judge(KEY, answer)
    assert (outcome.status, outcome.mistake) == ("wrong", mistake), outcome
    assert words in outcome.message
    assert time.process_time() - start < 5


@pytest.mark.slow
def test_an_endless_forward_is_told():
    assert judge(KEY, Endless).mistake == "too slow"


def test_random_states_are_untouched():
    before = torch.get_rng_state()
    for answer in (UNet, MISTAKES["no skips"].answer, WithTypo):
        judge(KEY, answer)
        assert torch.equal(torch.get_rng_state(), before)
