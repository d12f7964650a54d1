"""DoubleConvs for task 1 of E08: wrong ones, and right ones written in other ways."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from unet_lab.checks.exercise import Mistake
from unet_lab.models import DoubleConv


def _block(*parts):
    """A class whose block is `parts`, each a function of (in_ch, out_ch) that gives a layer."""

    class Block(nn.Module):
        def __init__(self, in_ch, out_ch):
            super().__init__()
            self.layers = nn.Sequential(*(part(in_ch, out_ch) for part in parts))

        def forward(self, x):
            return self.layers(x)

    return Block


def _conv(kernel_size=3, padding=1, first=False, second=False, **changes):
    """The first convolution (in → out), the second (out → out), or in → out wherever it stands."""

    def part(in_ch, out_ch):
        channels = (out_ch, out_ch) if second else (in_ch, in_ch) if first else (in_ch, out_ch)
        return nn.Conv2d(*channels, kernel_size, padding=padding, **changes)

    return part


def _norm(in_ch, out_ch):
    return nn.BatchNorm2d(out_ch)


def _norm_in(in_ch, out_ch):
    return nn.BatchNorm2d(in_ch)


def _relu(in_ch, out_ch):
    return nn.ReLU()


def _fixed(part, in_ch=None, out_ch=None):
    """The layer with a channel count written as a number."""
    return lambda i, o: part(in_ch or i, out_ch or o)


def _layer(make):
    return lambda in_ch, out_ch: make(out_ch)


CONV_1, CONV_2 = _conv(), _conv(second=True)


class _ByForward(nn.Module):
    """The right layers by name, for a `forward` of one's own."""

    def __init__(self, in_ch, out_ch):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(in_ch, out_ch, 3, padding=1), nn.BatchNorm2d(out_ch)
        self.conv2, self.norm2 = nn.Conv2d(out_ch, out_ch, 3, padding=1), nn.BatchNorm2d(out_ch)

    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(x)))


class _SecondFedByInput(_ByForward):
    def forward(self, x):
        F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(x)))


class _SecondSizedForInput(_SecondFedByInput):
    def __init__(self, in_ch, out_ch):
        super().__init__(in_ch, out_ch)
        self.conv2 = nn.Conv2d(in_ch, out_ch, 3, padding=1)


class _SumOfTwo(_SecondSizedForInput):
    def forward(self, x):
        return F.relu(self.norm1(self.conv1(x)) + self.norm2(self.conv2(x)))


class _FirstTwice(_ByForward):
    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm1(self.conv1(x)))


class _FirstConvolutionTwice(_ByForward):
    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv1(x)))


class _OneNorm(_ByForward):
    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm1(self.conv2(x)))


class _Shortcut(_ByForward):
    def __init__(self, in_ch, out_ch):
        super().__init__(in_ch, out_ch)
        self.match = nn.Conv2d(in_ch, out_ch, 1)

    def forward(self, x):
        return F.relu(self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))) + self.match(x))


class _PlainList(nn.Module):
    def __init__(self, in_ch, out_ch):
        super().__init__()
        self.layers = list(_ByForward(in_ch, out_ch).children())

    def forward(self, x):
        conv1, norm1, conv2, norm2 = self.layers
        return F.relu(norm2(conv2(F.relu(norm1(conv1(x))))))


class _NewEachTime(nn.Module):
    def __init__(self, in_ch, out_ch):
        super().__init__()
        self.channels = in_ch, out_ch

    def forward(self, x):
        return _ByForward(*self.channels)(x)


class _WithoutGradients(_ByForward):
    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)


class _Detached(_ByForward):
    def forward(self, x):
        return super().forward(x).detach()


class _ForgetsSuper(nn.Module):
    def __init__(self, in_ch, out_ch):
        self.conv1 = nn.Conv2d(in_ch, out_ch, 3, padding=1)


class _BatchStatistics(_ByForward):
    def __init__(self, in_ch, out_ch):
        super().__init__(in_ch, out_ch)
        self.norm1 = nn.BatchNorm2d(out_ch, track_running_stats=False)
        self.norm2 = nn.BatchNorm2d(out_ch, track_running_stats=False)


class _FunctionalStatistics(_ByForward):
    def forward(self, x):
        for conv in (self.conv1, self.conv2):
            x = F.relu(F.batch_norm(conv(x), None, None, training=True))
        return x


class _Reused(_ByForward):
    """A helper, ReLU in place, no bias, padding by name."""

    def __init__(self, in_ch, out_ch):
        super().__init__(in_ch, out_ch)
        self.conv1 = nn.Conv2d(in_ch, out_ch, 3, padding="same", bias=False)
        self.activation = nn.ReLU(inplace=True)

    def step(self, conv, norm, x):
        return self.activation(norm(conv(x)))

    def forward(self, x):
        return self.step(self.conv2, self.norm2, self.step(self.conv1, self.norm1, x))


class _ModuleList(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        pairs = ((in_channels, out_channels), (out_channels, out_channels))
        self.steps = nn.ModuleList(
            nn.ModuleDict({"convolve": nn.Conv2d(*pair, 3, 1, 1), "normalise": nn.BatchNorm2d(pair[1])})
            for pair in pairs
        )

    def forward(self, images):
        for step in self.steps:
            images = step["normalise"](step["convolve"](images)).clamp(min=0)
        return images


class _ByHand(_ByForward):
    """Zeros padded outside the convolution; ReLU as a maximum."""

    def forward(self, x):
        for conv, norm in ((self.conv1, self.norm1), (self.conv2, self.norm2)):
            x = norm(F.conv2d(F.pad(x, (1, 1, 1, 1)), conv.weight, conv.bias))
            x = torch.maximum(x, torch.zeros_like(x))
        return x


class _Double(DoubleConv):
    """Computes in float64."""

    def __init__(self, in_ch, out_ch):
        super().__init__(in_ch, out_ch)
        self.double()

    def forward(self, x):
        return super().forward(x.double())


def _nested(in_ch, out_ch):
    half = lambda i, o: nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(True))  # noqa: E731
    return nn.Sequential(half(in_ch, out_ch), half(out_ch, out_ch))


def _two(change_1, change_2, *rest):
    return _block(change_1, *rest, change_2, *rest)


MISTAKES = (
    Mistake(
        "no padding",
        _two(_conv(padding=0), _conv(padding=0, second=True), _norm, _relu),
        "Each 3×3 convolution takes a border of one pixel away; padding=1 keeps the size.",
        others=(
            _two(_conv(padding=0), CONV_2, _norm, _relu),
            _two(CONV_1, _conv(padding=0, second=True), _norm, _relu),
        ),
    ),
    Mistake(
        "too much padding",
        _two(_conv(padding=2), _conv(padding=2, second=True), _norm, _relu),
        "The maps grow: a 3×3 kernel reaches one pixel beyond the edge, so padding=1 is enough.",
    ),
    Mistake(
        "one convolution",
        _block(CONV_1, _norm, _relu),
        "This is the first half of the block; a second convolution with its BatchNorm and ReLU follows.",
        others=(_block(CONV_1, _norm, _relu, _norm, _relu), _block(CONV_1, _norm, _relu, _relu)),
    ),
    Mistake(
        "three convolutions",
        _block(*(CONV_1, _norm, _relu), *(CONV_2, _norm, _relu) * 2),
        "There is one convolution too many: the block has two, as its name says.",
    ),
    Mistake(
        "no BatchNorm",
        _two(CONV_1, CONV_2, _relu),
        "BatchNorm is missing: nn.BatchNorm2d(out_ch) stands between each convolution and its ReLU.",
    ),
    Mistake(
        "one BatchNorm missing",
        _block(CONV_1, _norm, _relu, CONV_2, _relu),
        "Only one of the two convolutions is followed by BatchNorm; both need their own.",
        others=(_block(CONV_1, _relu, CONV_2, _norm, _relu),),
    ),
    Mistake(
        "one BatchNorm for both",
        _OneNorm,
        "Both convolutions share one BatchNorm, so its averages mix two different maps; make one for each.",
    ),
    Mistake(
        "no ReLU",
        _two(CONV_1, CONV_2, _norm),
        "There is no ReLU. Without it, two convolutions are no more than one larger one.",
    ),
    Mistake(
        "ReLU only at the end",
        _block(CONV_1, _norm, CONV_2, _norm, _relu),
        "The first ReLU is missing: it stands between the first BatchNorm and the second convolution.",
        others=(_SumOfTwo,),
    ),
    Mistake(
        "last ReLU missing",
        _block(CONV_1, _norm, _relu, CONV_2, _norm),
        "The second BatchNorm is not followed by a ReLU; both are.",
    ),
    Mistake(
        "BatchNorm after ReLU",
        _two(CONV_1, CONV_2, _relu, _norm),
        "The order is convolution, BatchNorm, ReLU; you normalise after the ReLU.",
    ),
    Mistake(
        "BatchNorm before the convolution",
        _block(_norm_in, CONV_1, _relu, _norm, CONV_2, _relu),
        "BatchNorm comes after the convolution and normalises what it wrote: out_ch channels.",
        others=(_block(_norm_in, _relu, CONV_1, _norm, _relu, CONV_2),),
    ),
    Mistake(
        "another activation",
        _two(CONV_1, CONV_2, _norm, _layer(lambda o: nn.LeakyReLU(0.1))),
        "The activation of this block is ReLU: max(0, x).",
        others=tuple(
            _two(CONV_1, CONV_2, _norm, _layer(lambda o, make=make: make()))
            for make in (nn.LeakyReLU, nn.GELU, nn.SiLU, nn.ELU, nn.Sigmoid, nn.Tanh)
        ),
    ),
    Mistake(
        "another normalisation",
        _two(CONV_1, CONV_2, _layer(nn.InstanceNorm2d), _relu),
        "This normalises each image by itself; nn.BatchNorm2d takes the statistics of a channel over the batch.",
        others=(
            _two(CONV_1, CONV_2, _layer(lambda o: nn.InstanceNorm2d(o, affine=True)), _relu),
            _two(CONV_1, CONV_2, _layer(lambda o: nn.GroupNorm(1, o)), _relu),
        ),
    ),
    Mistake(
        "second convolution fed by the input",
        _SecondFedByInput,
        "The second convolution reads the block's input again; it has to read what the first half wrote.",
        others=(_SecondSizedForInput,),
    ),
    Mistake(
        "the same layers twice",
        _FirstTwice,
        "The first convolution runs twice. Two steps need two convolutions, each with weights of its own.",
        others=(_FirstConvolutionTwice,),
    ),
    Mistake(
        "second convolution starts from in_ch",
        _two(CONV_1, CONV_1, _norm, _relu),
        "The second convolution reads what the first wrote: it has out_ch input channels, not in_ch.",
    ),
    Mistake(
        "widened by the second convolution",
        _block(_conv(first=True), _norm_in, _relu, CONV_1, _norm, _relu),
        "The first convolution already goes from in_ch to out_ch channels; the second keeps out_ch.",
    ),
    Mistake(
        "in_ch and out_ch swapped",
        lambda in_ch, out_ch: DoubleConv(out_ch, in_ch),
        "The channel counts are swapped: nn.Conv2d takes the input's channels first, then the output's.",
        others=(
            lambda in_ch, out_ch: _two(lambda i, o: nn.Conv2d(o, i, 3, padding=1), CONV_2, _norm, _relu)(in_ch, out_ch),
        ),
    ),
    Mistake(
        "channels written as numbers",
        lambda in_ch, out_ch: DoubleConv(3, 64),
        "A number stands where in_ch or out_ch belongs: the block has to work for any channels.",
        others=(
            lambda in_ch, out_ch: DoubleConv(in_ch, 64),
            lambda in_ch, out_ch: DoubleConv(3, out_ch),
            lambda in_ch, out_ch: DoubleConv(1, out_ch),
            lambda in_ch, out_ch: DoubleConv(64, 64),
            lambda in_ch, out_ch: DoubleConv(1, 64),
        ),
    ),
    Mistake(
        "1×1 kernels",
        _two(_conv(1, 0), _conv(1, 0, second=True), _norm, _relu),
        "A 1×1 convolution sees no neighbours; both kernels are 3×3.",
        others=(
            _two(CONV_1, _conv(1, 0, second=True), _norm, _relu),
            _two(_conv(1, 0), CONV_2, _norm, _relu),
            _two(_conv(1, 1), _conv(1, 1, second=True), _norm, _relu),
        ),
    ),
    Mistake(
        "5×5 kernels",
        _two(_conv(5, 2), _conv(5, 2, second=True), _norm, _relu),
        "The kernels are 5×5; this block has two of 3×3, which together see as far with fewer weights.",
        others=(_two(_conv(5, 1), _conv(5, 1, second=True), _norm, _relu),),
    ),
    Mistake(
        "halves the size",
        _two(CONV_1, _conv(second=True, stride=2), _norm, _relu),
        "The block keeps height and width: no stride and no pooling inside it.",
        others=(
            _two(_conv(stride=2), CONV_2, _norm, _relu),
            _two(_conv(stride=2), _conv(second=True, stride=2), _norm, _relu),
            _block(CONV_1, _norm, _relu, CONV_2, _norm, _relu, _layer(lambda o: nn.MaxPool2d(2))),
        ),
    ),
    Mistake(
        "shortcut added",
        _Shortcut,
        "You add the input to the result, as a residual block does; a DoubleConv is one straight line.",
    ),
    Mistake(
        "layers in a plain list",
        _PlainList,
        "PyTorch does not look into a Python list, so the optimizer would never find these weights: use nn.Sequential.",
    ),
    Mistake(
        "layers made in forward",
        _NewEachTime,
        "Each forward makes new layers with new random weights, so nothing can be learned; make them in __init__.",
    ),
    Mistake(
        "no gradient",
        _WithoutGradients,
        "No gradient comes back through the block: no torch.no_grad(), .detach() or .data in forward.",
        others=(_Detached,),
    ),
    Mistake(
        "statistics of the batch in evaluation mode",
        _BatchStatistics,
        "In evaluation mode an image's result depends on the others of its batch: let BatchNorm keep its running "
        "averages, as nn.BatchNorm2d(out_ch) does.",
        others=(_FunctionalStatistics,),
    ),
    Mistake(
        "super().__init__() missing",
        _ForgetsSuper,
        "__init__ has to start with super().__init__(): nn.Module prepares itself there to keep your layers.",
    ),
)

VARIANTS = (
    _block(CONV_1, _norm, _relu, CONV_2, _norm, _relu),
    _ByForward,
    _Reused,
    _ModuleList,
    _ByHand,
    _Double,
    _nested,
    _two(_conv(bias=False), _conv(second=True, bias=False), _norm, _relu),
    _two(CONV_1, CONV_2, _layer(lambda o: nn.BatchNorm2d(o, momentum=0.01)), _layer(lambda o: nn.ReLU(inplace=True))),
    _two(CONV_1, CONV_2, _layer(lambda o: nn.BatchNorm2d(o, eps=1e-3)), _relu),
    _two(CONV_1, CONV_2, _norm, _layer(lambda o: nn.Threshold(0, 0))),
    _block(_nested),
)
