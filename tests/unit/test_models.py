"""The U-Net: its published size, its interchangeability, any image size, and messages that help."""

import copy
import doctest
from itertools import pairwise

import pytest
import torch
from torch import nn

from unet_lab import models
from unet_lab.models import DoubleConv, UNet, describe, format_stages


@pytest.fixture
def small() -> UNet:
    torch.manual_seed(0)
    return UNet(base_channels=4).eval()


def parameters_by_formula(in_channels: int, num_classes: int, base: int) -> int:
    """Counted from the layers' definitions, without torch."""

    def double_conv(a: int, b: int) -> int:
        return (
            (9 * a * b + b) + 2 * b + (9 * b * b + b) + 2 * b
        )  # convolutions with bias, normalisation's scale and shift

    widths = [base * 2**level for level in range(5)]
    encoder = sum(double_conv(a, b) for a, b in zip([in_channels, *widths], widths, strict=False))
    decoder = sum(4 * b * a + a + double_conv(2 * a, a) for a, b in pairwise(widths))
    return encoder + decoder + base * num_classes + num_classes


def test_default_network_has_the_published_number_of_parameters():
    count = sum(p.numel() for p in UNet().parameters())
    assert count == 31_043_586 == parameters_by_formula(3, 2, 64)


@pytest.mark.parametrize(("in_channels", "num_classes", "base"), [(1, 1, 4), (3, 7, 16), (4, 11, 8)])
def test_number_of_parameters_follows_the_formula(in_channels, num_classes, base):
    model = UNet(in_channels, num_classes, base)
    assert sum(p.numel() for p in model.parameters()) == parameters_by_formula(in_channels, num_classes, base)


def test_stages_have_the_shapes_of_the_drawing():
    stages = describe(UNet(), (1, 3, 64, 96))
    shapes = {s.name: s.out_shape[1:] for s in stages if s.name != "pool"}
    assert shapes == {
        "enc1": (64, 64, 96), "enc2": (128, 32, 48), "enc3": (256, 16, 24), "enc4": (512, 8, 12),
        "bottleneck": (1024, 4, 6),
        "up4": (512, 8, 12), "dec4": (512, 8, 12), "up3": (256, 16, 24), "dec3": (256, 16, 24),
        "up2": (128, 32, 48), "dec2": (128, 32, 48), "up1": (64, 64, 96), "dec1": (64, 64, 96), "out": (2, 64, 96),
    }  # fmt: skip
    assert [s.name for s in stages].count("pool") == 4
    assert next(s for s in stages if s.name == "dec4").in_shape == (1, 1024, 8, 12)  # upsampled and skip together
    assert sum(s.parameters for s in stages) == 31_043_586
    assert format_stages(stages).splitlines()[-1].split() == ["total", "31,043,586"]


def test_describe_leaves_weights_statistics_and_modes_alone(small):
    small.dec1.train()
    before, modes = copy.deepcopy(small.state_dict()), [m.training for m in small.modules()]
    describe(small, (2, 3, 32, 32))
    assert all(torch.equal(a, b) for a, b in zip(before.values(), small.state_dict().values(), strict=True))
    assert modes == [m.training for m in small.modules()]
    assert not any(m._forward_hooks for m in small.modules())


def test_a_class_of_ones_own_with_the_same_names_loads_the_weights_and_agrees():
    class Own(nn.Module):
        """Written apart from the package's class, from the drawing alone."""

        def __init__(self):
            super().__init__()
            for level, (a, b) in enumerate([(3, 4), (4, 8), (8, 16), (16, 32)], 1):
                setattr(self, f"enc{level}", DoubleConv(a, b))
                setattr(self, f"up{level}", nn.ConvTranspose2d(2 * b, b, 2, 2))
                setattr(self, f"dec{level}", DoubleConv(2 * b, b))
            self.pool, self.bottleneck, self.out = nn.MaxPool2d(2), DoubleConv(32, 64), nn.Conv2d(4, 2, 1)

        def forward(self, x):
            skips = []
            for level in (1, 2, 3, 4):
                skips.append(getattr(self, f"enc{level}")(x))
                x = self.pool(skips[-1])
            x = self.bottleneck(x)
            for level in (4, 3, 2, 1):
                x = getattr(self, f"dec{level}")(torch.cat([getattr(self, f"up{level}")(x), skips[level - 1]], 1))
            return self.out(x)

    theirs, own = UNet(base_channels=4).eval(), Own().eval()
    own.load_state_dict(theirs.state_dict())
    images = torch.rand(2, 3, 48, 32)
    with torch.no_grad():
        assert torch.equal(own(images), theirs(images))


def test_double_conv_is_the_stated_sequence():
    kinds = [type(layer) for layer in DoubleConv(3, 5).net]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 2
    first, second = DoubleConv(3, 5).net[0], DoubleConv(3, 5).net[3]
    assert (first.in_channels, first.out_channels, second.in_channels, second.out_channels) == (3, 5, 5, 5)
    assert first.kernel_size == (3, 3)
    assert first.padding == (1, 1)
    assert first.bias is not None


@pytest.mark.parametrize("size", [(16, 16), (17, 16), (31, 50), (33, 129), (100, 64)])
def test_any_size_comes_back_as_it_went_in(small, size):
    with torch.no_grad():
        assert small(torch.rand(1, 3, *size)).shape == (1, 2, *size)


def test_padding_repeats_the_border_and_is_cut_off_again(small):
    images = torch.rand(1, 3, 30, 41)
    by_hand = nn.functional.pad(images, (0, 7, 0, 2), mode="replicate")
    with torch.no_grad():
        assert torch.equal(small(images), small(by_hand)[..., :30, :41])


def test_output_is_logits_not_probabilities(small):
    with torch.no_grad():
        logits = small(torch.rand(4, 3, 32, 32))
    assert not torch.allclose(logits.sum(1), torch.ones_like(logits.sum(1)))
    assert logits.min() < 0


def test_every_skip_and_the_bottleneck_reach_the_output(small):
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        whole = small(images)
        for name in ("enc1", "enc2", "enc3", "enc4", "bottleneck"):
            handle = getattr(small, name).register_forward_hook(lambda module, inputs, output: output * 100)
            assert not torch.equal(small(images), whole), f"{name} has no effect"
            handle.remove()


@pytest.mark.parametrize(
    ("images", "kind", "words"),
    [
        (
            torch.rand(4, 1, 96, 96),
            ValueError,
            r"expects images of shape \(N, 3, H, W\); got \(4, 1, 96, 96\).*in_channels=1",
        ),
        (torch.rand(2, 96, 96, 3), ValueError, r"permute\(0, 3, 1, 2\)"),
        (torch.rand(2, 5, 96, 96), ValueError, "in_channels=5"),
        (torch.rand(3, 96, 96), ValueError, r"images\[None\]"),
        (torch.rand(96, 96), ValueError, r"got \(96, 96\)"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), TypeError, r"got torch.uint8. Use images.float\(\) / 255"),
        (torch.rand(1, 3, 15, 64), ValueError, "at least 16"),
    ],
)
def test_bad_images_are_told_what_was_expected_what_came_and_the_mend(small, images, kind, words):
    with pytest.raises(kind, match=words):
        small(images)


def test_one_value_a_channel_in_training_names_batch_and_crop(small):
    with pytest.raises(ValueError, match="a batch of 1 with crops of 16×16"):
        small.train()(torch.rand(1, 3, 16, 16))
    assert small(torch.rand(2, 3, 16, 16)).shape == (2, 2, 16, 16)
    assert small.eval()(torch.rand(1, 3, 16, 16)).shape == (1, 2, 16, 16)


@pytest.mark.parametrize("bad", [{"in_channels": 0}, {"num_classes": 2.0}, {"base_channels": True}])
def test_bad_arguments_name_themselves(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        UNet(**bad)


def test_numbers_in_the_docstrings():
    assert doctest.testmod(models).failed == 0
