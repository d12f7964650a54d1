"""U-Nets with a skip from after the pooling, or without a stride: told by what clashes where sizes no longer fit."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from unet_lab.checks.exercise import Fault
from unet_lab.checks.parts import network_graph as graph
from unet_lab.checks.parts.wrong_unets import Parts
from unet_lab.models import DoubleConv

AFTER_POOLING = (
    "skip taken after the pooling",
    "The skip is taken after the pooling, where half of each side is gone: keep the features before you pool them.",
)
WITHOUT_STRIDE = (
    "transposed convolution without a stride",
    "A transposed convolution doubles the size only with stride=2; without it a 2×2 kernel adds one pixel a side.",
)


class ClashesNamed(TorchFunctionMode):
    """Inside it a join of maps of different sizes raises a `Fault`, where their origin tells the mistake."""

    def __torch_function__(self, function, types, arguments=(), named=None):
        named = named or {}
        try:
            return function(*arguments, **named)
        except RuntimeError:
            maps = [x for x in _tensors((*arguments, *named.values())) if x.ndim == 4 and x.grad_fn is not None]
            if len({x.shape[2:] for x in maps}) > 1:
                sources = [graph.strip(x.grad_fn) for x in maps]
                if any(map(_lacks_stride, sources)):
                    raise Fault(*WITHOUT_STRIDE) from None
                if any("Pool2D" in graph.kind(source) for source in sources):
                    raise Fault(*AFTER_POOLING) from None
            raise


def _tensors(values):
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _tensors(value)


def _lacks_stride(node):
    return getattr(node, "_saved_transposed", False) and max(node._saved_stride) == 1


# networks that fail like this


class _SkipFirst(Parts):
    def join(self, up, skip, level):
        return torch.cat([skip, up], dim=1)


class PooledOneUp(Parts):
    """The pooled features where their size fits, one level up; level 1 is left without any."""

    def __init__(self, in_channels=3, num_classes=2, base_channels=64):
        super().__init__(in_channels, num_classes, base_channels)
        self.decoder = nn.ModuleList(
            DoubleConv(base_channels * width, base_channels * out)
            for width, out in ((1, 1), (2 + 1, 2), (4 + 2, 4), (8 + 4, 8))
        )

    def skip(self, features, inputs, level):
        return inputs[level - 1]

    def join(self, up, skip, level):
        return up if level == 1 else super().join(up, skip, level)


def _with(base, **changes):
    return type("WrongUNet", (base,), changes)


def _after_pooling(self, features, inputs, level):
    return F.max_pool2d(features[level - 1], 2)


def _without_stride(self, in_ch, out_ch):
    return nn.ConvTranspose2d(in_ch, out_ch, 2)


def _of_the_same_size(self, in_ch, out_ch):
    return nn.ConvTranspose2d(in_ch, out_ch, 3, padding=1)


CLASHING_POOLED_SKIPS = [_with(base, skip=_after_pooling) for base in (Parts, _SkipFirst)]
NO_STRIDE = [
    _with(base, upsampling=upsampling)
    for base in (Parts, _SkipFirst)
    for upsampling in (_without_stride, _of_the_same_size)
]
