"""U-Nets with one mistake each, for task 2 of E08."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from unet_lab.models import DoubleConv

# One network with every step in a method, so that a mistake is one method.


class Parts(nn.Module):
    """The U-Net: a wrong one changes one of its methods, or one of the settings of the class."""

    depth = 4
    widths = (1, 2, 4, 8, 16)
    activation = nn.Identity

    def __init__(self, in_channels=3, num_classes=2, base_channels=64):
        super().__init__()
        c = [base_channels * width for width in self.widths]
        self.encoder = nn.ModuleList(map(self.block, [in_channels, *c], c[: self.depth]))
        self.bottleneck = self.block(c[self.depth - 1], c[self.depth])
        self.up = nn.ModuleList(self.upsampling(c[level + 1], c[level]) for level in range(self.depth))
        self.decoder = nn.ModuleList(self.decoder_block(self.joined(c[level]), c[level]) for level in range(self.depth))
        self.out = self.head(c[0], num_classes)

    block = staticmethod(DoubleConv)
    decoder_block = staticmethod(DoubleConv)

    def upsampling(self, in_ch, out_ch):
        return nn.ConvTranspose2d(in_ch, out_ch, 2, stride=2)

    def head(self, in_ch, num_classes):
        return nn.Conv2d(in_ch, num_classes, 1)

    def joined(self, channels):
        """Channels of what `join` gives."""
        return 2 * channels

    def pool(self, x, level):
        return F.max_pool2d(x, 2)

    def enlarge(self, x, level):
        return self.up[level - 1](x)

    def skip(self, features, inputs, level):
        """What level 1 to 4 hands to the decoder; `features` and `inputs` are lists of what its blocks gave and got."""
        return features[level - 1]

    def join(self, up, skip, level):
        return torch.cat([up, skip], dim=1)

    def last(self, x):
        return self.activation()(x)

    def forward(self, images):
        features, inputs, x = [], [], images
        for level, block in enumerate(self.encoder, start=1):
            inputs.append(x)
            features.append(block(x))
            x = self.pool(features[-1], level)
        x = self.bottleneck(x)
        for level in range(self.depth, 0, -1):
            up = self.enlarge(x, level)
            x = self.decoder[level - 1](self.join(up, self.skip(features, inputs, level), level))
        return self.last(self.out(x))


def _with(base=Parts, **changes):
    """A class with some methods or settings changed."""
    return type("WrongUNet", (base,), changes)


# skips


EVERY = (1, 2, 3, 4)


def _joins(changed):
    """Networks with the skip changed at all levels, or at one; the skip comes second, or first."""

    def with_join(levels, first):
        def join(self, up, skip, level):
            half = changed(up, skip) if level in levels else skip
            return torch.cat([half, up] if first else [up, half], dim=1)

        return _with(join=join)

    return [with_join(levels, first) for first in (False, True) for levels in (EVERY, (1,), (2,), (3,), (4,))]


def _concatenated(dim, first, **changes):
    return _with(join=lambda self, up, skip, level: torch.cat([skip, up] if first else [up, skip], dim=dim), **changes)


class _WithoutSkips(Parts):
    def joined(self, channels):
        return channels

    def join(self, up, skip, level):
        return up


class _SkipsLeftOut(Parts):
    """No skip at some levels, whose blocks are built for that."""

    left_out: tuple = ()

    def __init__(self, in_channels=3, num_classes=2, base_channels=64):
        super().__init__(in_channels, num_classes, base_channels)
        for level in self.left_out:
            channels = base_channels * 2 ** (level - 1)
            self.decoder[level - 1] = DoubleConv(channels, channels)

    def join(self, up, skip, level):
        return up if level in self.left_out else torch.cat([up, skip], dim=1)


class _OtherSkips(Parts):
    """Skips of other channel counts: each decoder block is built for what it gets at the first forward."""

    def __init__(self, in_channels=3, num_classes=2, base_channels=64):
        super().__init__(in_channels, num_classes, base_channels)
        was_training = self.training
        with torch.no_grad():
            self.decoder = nn.ModuleList(_Sizing(base_channels * 2**level) for level in range(4))
            self.eval()(torch.zeros(1, in_channels, 32, 32))
        self.decoder = nn.ModuleList(DoubleConv(sizing.in_ch, sizing.out_ch) for sizing in self.decoder)
        self.train(was_training)


class _Sizing(nn.Module):
    def __init__(self, out_ch):
        super().__init__()
        self.in_ch, self.out_ch = 0, out_ch

    def forward(self, x):
        self.in_ch = x.shape[1]
        return x[:, :1].expand(-1, self.out_ch, -1, -1)


def _resized(x, like):
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear")


def _reversed(self, features, inputs, level):
    return _resized(features[4 - level], like=features[level - 1])


def _one_too_deep(self, features, inputs, level):
    return _resized(features[min(level, 3)], like=features[level - 1])


def _one_too_shallow(self, features, inputs, level):
    return F.max_pool2d(features[level - 2], 2) if level > 1 else features[0]


def _first_for_all(self, features, inputs, level):
    return _resized(features[0], like=features[level - 1]) if level > 1 else features[0]


def _first_pooled_for_all(self, features, inputs, level):
    return F.max_pool2d(features[0], 2 ** (level - 1)) if level > 1 else features[0]


def _block_inputs(self, features, inputs, level):
    return inputs[level - 1]


def _pooled(self, features, inputs, level):
    return _resized(F.max_pool2d(features[level - 1], 2), like=features[level - 1])


def _added(**changes):
    return _with(joined=lambda self, channels: channels, join=lambda self, up, skip, level: up + skip, **changes)


def _interpolated(self, in_ch, out_ch):
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(in_ch, out_ch, 1))


# poolings


def _forgets_pool(level):
    return lambda self, x, at: x if at == level else F.max_pool2d(x, 2)


def _forgets_up(level):
    return lambda self, x, at: x if at == level else self.up[at - 1](x)


def _pools_by_4(level):
    return lambda self, x, at: F.max_pool2d(x, 4 if at == level else 2)


class _Deeper(Parts):
    depth = 5
    widths = (1, 2, 4, 8, 16, 32)


class _Shallower(Parts):
    depth = 3


class _LevelOfSameSize(Parts):
    """One pooling and its upsampling are missing: two levels have one size."""

    level = 4

    def upsampling(self, in_ch, out_ch):
        size = 1 if out_ch == self.base * 2 ** (self.level - 1) else 2
        return nn.ConvTranspose2d(in_ch, out_ch, size, stride=size)

    def __init__(self, in_channels=3, num_classes=2, base_channels=64):
        object.__setattr__(self, "base", base_channels)
        super().__init__(in_channels, num_classes, base_channels)

    def pool(self, x, level):
        return x if level == self.level else F.max_pool2d(x, 2)


class _StridedConvolutions(Parts):
    def __init__(self, in_channels=3, num_classes=2, base_channels=64):
        super().__init__(in_channels, num_classes, base_channels)
        self.down = nn.ModuleList(
            nn.Conv2d(c, c, 3, stride=2, padding=1) for c in (base_channels * 2**k for k in range(4))
        )

    def pool(self, x, level):
        return self.down[level - 1](x)


# blocks, widths, the output


def _one_convolution(in_ch, out_ch):
    return nn.Sequential(nn.Conv2d(in_ch, out_ch, 3, padding=1), nn.ReLU())


def _bare_convolution(in_ch, out_ch):
    return nn.Conv2d(in_ch, out_ch, 3, padding=1)


def _narrow_convolution(in_ch, out_ch):
    return nn.Conv2d(in_ch, out_ch, 1)


def _normed_convolution(in_ch, out_ch):
    return nn.Sequential(nn.Conv2d(in_ch, out_ch, 3, padding=1), nn.BatchNorm2d(out_ch), nn.ReLU())


def _fixed(**numbers):
    """Constructor arguments that are ignored in favour of numbers."""

    def build(in_channels=3, num_classes=2, base_channels=64):
        return Parts(
            **{**dict(in_channels=in_channels, num_classes=num_classes, base_channels=base_channels), **numbers}
        )

    return build


class _NoBottleneck(Parts):
    widths = (1, 2, 4, 8, 8)

    def __init__(self, in_channels=3, num_classes=2, base_channels=64):
        super().__init__(in_channels, num_classes, base_channels)
        self.bottleneck = nn.Identity()


class _HalfSize(Parts):
    """The last upsampling and its level are missing."""

    def forward(self, images):
        return F.interpolate(super().forward(images), scale_factor=0.5)


class _ThreeUps(Parts):
    def __init__(self, in_channels=3, num_classes=2, base_channels=64):
        super().__init__(in_channels, num_classes, base_channels)
        self.out = nn.Conv2d(2 * base_channels, num_classes, 1)

    def forward(self, images):
        features, x = [], images
        for block in self.encoder:
            features.append(block(x))
            x = F.max_pool2d(features[-1], 2)
        x = self.bottleneck(x)
        for level in (4, 3, 2):
            x = self.decoder[level - 1](self.join(self.up[level - 1](x), features[level - 1], level))
        return self.out(x)


class _SoftmaxInEvaluation(Parts):
    def last(self, x):
        return x if self.training else x.softmax(dim=1)


class _NoGradients(Parts):
    @torch.no_grad()
    def forward(self, images):
        return super().forward(images)


class _PlainList(Parts):
    def __init__(self, in_channels=3, num_classes=2, base_channels=64):
        super().__init__(in_channels, num_classes, base_channels)
        layers = list(self.decoder)
        del self.decoder
        self.decoder = layers


class _PlainLists(_PlainList):
    def __init__(self, in_channels=3, num_classes=2, base_channels=64):
        super().__init__(in_channels, num_classes, base_channels)
        layers = list(self.encoder)
        del self.encoder
        self.encoder = layers


class _NewEachTime(Parts):
    def join(self, up, skip, level):
        both = torch.cat([up, skip], dim=1)
        return nn.Conv2d(both.shape[1], both.shape[1], 1)(both)


class _ForgetsSuper(nn.Module):
    def __init__(self, in_channels=3, num_classes=2, base_channels=64):
        self.enc1 = DoubleConv(in_channels, base_channels)


def _ending_in(function):
    return _with(last=lambda self, x: function(x))


class _DeadSkip(Parts):
    """Cuts the skip off again after the concatenation."""

    def joined(self, channels):
        return channels

    def join(self, up, skip, level):
        return torch.cat([up, skip], dim=1)[:, : up.shape[1]]


# The networks by mistake; `e08_unet.KNOWN` has their names.

NO_SKIPS = [_WithoutSkips]
SKIP_MISSING = [
    _with(_SkipsLeftOut, left_out=levels) for levels in ((1,), (2,), (3,), (4,), (1, 2), (3, 4), (1, 2, 3), (2, 3, 4))
]
UPSAMPLED_TWICE = _joins(lambda up, skip: up)
ZERO_SKIPS = _joins(lambda up, skip: torch.zeros_like(skip))
DETACHED_SKIPS = _joins(lambda up, skip: skip.detach())
DEAD_SKIPS = [_DeadSkip, *_joins(lambda up, skip: 0 * skip)]
OTHER_LEVELS = [
    _with(_OtherSkips, skip=skip)
    for skip in (_reversed, _one_too_deep, _one_too_shallow, _first_for_all, _first_pooled_for_all)
]
BLOCK_INPUTS = [_with(_OtherSkips, skip=_block_inputs)]
POOLED_SKIPS = [_with(skip=_pooled)]
SUMS = [_added(), _added(upsampling=_interpolated)]
CHANNELS_FORGOTTEN = [_with(joined=lambda self, channels: channels)]
WRONG_AXIS = [_concatenated(dim, first=False, joined=lambda self, channels: channels) for dim in (2, 3, -1)]
WRONG_AXIS_FAILING = [
    *(_concatenated(dim, first) for dim in (0, 2, 3) for first in (False, True)),
    *(_concatenated(0, first, joined=lambda self, channels: channels) for first in (False, True)),
]

POOLING_MISSING = [_Shallower, *(_with(_LevelOfSameSize, level=level) for level in (4, 3, 2, 1))]
POOLING_TOO_MANY = [_Deeper]
SIZES_DIFFER = [
    _concatenated(1, first, **changes)
    for level in EVERY
    for first in (False, True)
    for changes in ({"pool": _forgets_pool(level)}, {"pool": _pools_by_4(level)}, {"enlarge": _forgets_up(level)})
]
AVERAGE_POOLING = [_with(pool=lambda self, x, level: F.avg_pool2d(x, 2))]
STRIDED = [_StridedConvolutions]

NO_BOTTLENECK = [_NoBottleneck]
BARE_DECODERS = [
    _with(decoder_block=staticmethod(block))
    for block in (_one_convolution, _bare_convolution, _narrow_convolution, _normed_convolution)
]
OTHER_WIDTHS = [
    _with(widths=widths)
    for widths in ((1, 1, 1, 1, 1), (1, 2, 3, 4, 5), (1, 2, 4, 8, 8), (2, 4, 8, 16, 32), (1, 2, 4, 4, 4))
]
FIXED_IN = [_fixed(in_channels=3), _fixed(in_channels=1)]
NO_HEAD = [_with(head=lambda self, in_ch, num_classes: nn.Identity())]
FIXED_CLASSES = [_fixed(num_classes=number) for number in (1, 2, 7, 21)]
FIXED_BASE = [_fixed(base_channels=number) for number in (8, 16, 64)]

SOFTMAX = [_ending_in(lambda x: x.softmax(dim=1)), _ending_in(lambda x: x.softmax(dim=-1)), _SoftmaxInEvaluation]
LOG_SOFTMAX = [_ending_in(lambda x: x.log_softmax(dim=1))]
SIGMOID = [_ending_in(torch.sigmoid)]
RELU = [_ending_in(F.relu), _ending_in(lambda x: x.clamp(min=0))]
ARGMAX = [_ending_in(lambda x: x.argmax(dim=1)), _ending_in(lambda x: x.argmax(dim=1, keepdim=True))]
BLOCK_LAST = [_with(head=lambda self, in_ch, num_classes: DoubleConv(in_ch, num_classes))]
WIDE_LAST = [_with(head=lambda self, in_ch, num_classes: nn.Conv2d(in_ch, num_classes, 3, padding=1))]
OTHER_SIZE = [_ThreeUps, _HalfSize]

NO_GRADIENT = [_NoGradients, _ending_in(torch.detach)]
PLAIN_LISTS = [_PlainList, _PlainLists, _NewEachTime]
NO_SUPER = [_ForgetsSuper]
