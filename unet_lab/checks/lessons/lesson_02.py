"""Lesson 2, the architecture: parameters of a double convolution, size at the bottleneck, receptive field."""

from __future__ import annotations

import math

from torch import nn

from unet_lab.checks.exercise import Exercise, Mistake

# double-conv-parameters


def double_conv_parameters(in_ch, out_ch):
    first = 9 * in_ch * out_ch + out_ch  # kernel and bias
    second = 9 * out_ch * out_ch + out_ch
    batch_norm = 2 * out_ch  # scale and shift
    return first + second + 2 * batch_norm


def _channel_probes(rng):
    small = (int(rng.integers(1, 4)), int(rng.integers(5, 9)))
    return [small, (3, 64), (64, 128), (int(rng.integers(20, 40)), int(rng.integers(41, 80)))]


def _counted_by_torch(in_ch, out_ch):
    layers = (nn.Conv2d(in_ch, out_ch, 3), nn.BatchNorm2d(out_ch), nn.Conv2d(out_ch, out_ch, 3), nn.BatchNorm2d(out_ch))
    return sum(parameter.numel() for layer in layers for parameter in layer.parameters())


DOUBLE_CONV_PARAMETERS = Exercise(
    key="double-conv-parameters",
    task="Count the parameters of (3×3 convolution with bias → BatchNorm → ReLU) twice, in_ch → out_ch → out_ch "
    "channels.",
    reference=double_conv_parameters,
    probes=_channel_probes,
    mistakes=(
        Mistake(
            "no bias",
            lambda i, o: 9 * o * (i + o) + 4 * o,
            "2 · out_ch parameters are missing: each convolution has one bias for each output channel.",
        ),
        Mistake(
            "no BatchNorm",
            lambda i, o: 9 * o * (i + o) + 2 * o,
            "4 · out_ch parameters are missing: each BatchNorm learns a scale and a shift for each channel.",
        ),
        Mistake(
            "kernels alone",
            lambda i, o: 9 * o * (i + o),
            "These are the weights of the two kernels; the biases and the BatchNorms' scales and shifts are "
            "parameters too.",
        ),
        Mistake(
            "running statistics counted",
            lambda i, o: 9 * o * (i + o) + 10 * o,
            "BatchNorm's running mean and variance are buffers: no gradient trains them, so they are no parameters.",
        ),
        Mistake(
            "the whole state_dict counted",
            lambda i, o: 9 * o * (i + o) + 10 * o + 2,
            "state_dict() also holds BatchNorm's buffers (running mean, variance and counter); count "
            "model.parameters().",
        ),
        Mistake(
            "second convolution starts from in_ch",
            lambda i, o: 18 * i * o + 6 * o,
            "The second convolution reads what the first wrote: it has out_ch input channels, not in_ch.",
        ),
        Mistake(
            "one convolution",
            lambda i, o: 9 * i * o + 3 * o,
            "This is the first half of the block; a second convolution and its BatchNorm follow.",
        ),
        Mistake(
            "kernel of 1",
            lambda i, o: o * (i + o) + 6 * o,
            "A 3×3 kernel has 9 weights for each pair of channels, not 1.",
        ),
        Mistake(
            "kernel of 3",
            lambda i, o: 3 * o * (i + o) + 6 * o,
            "A 3×3 kernel has 9 weights for each pair of channels, not 3.",
        ),
        Mistake(
            "depthwise",
            lambda i, o: 18 * o + 6 * o,
            "Every output channel looks at every input channel, so the weights number 9 · in · out, not 9 · out.",
        ),
    ),
    variants=(
        lambda i, o: 9 * o * (i + o) + 6 * o,
        _counted_by_torch,
    ),
    hints=(
        "One output channel of a convolution has a 3×3 kernel for each input channel, and one bias.",
        "First convolution: 9 · in_ch · out_ch + out_ch. What changes for the second?",
        "A BatchNorm has two parameters a channel, scale and shift; ReLU has none.",
    ),
)


# bottleneck-size


def bottleneck_size(size, depth):
    for _ in range(depth):
        size = size // 2
    return size


def _unpadded(size, depth):
    for _ in range(depth):
        size = (size - 4) // 2
    return size - 4


def _size_probes(rng):
    """Remainders below and above half of 2^depth, so that rounding down, up and to the nearest all differ."""
    probes = [(64, 4), (int(rng.integers(20, 40)) * 4 + 1, 2)]
    for depth in (3, 4):
        step = 2**depth
        whole = int(rng.integers(12, 40))
        probes += [(whole * step, depth), (whole * step + step // 2 - 1, depth), (whole * step + step - 1, depth)]
    return probes


BOTTLENECK_SIZE = Exercise(
    key="bottleneck-size",
    task="Side of the bottleneck's maps for images of `size` pixels: `depth` 2×2 max-pools, each rounding down, padded "
    "convolutions.",
    reference=bottleneck_size,
    probes=_size_probes,
    mistakes=(
        Mistake(
            "one pool missing",
            lambda s, d: s // 2 ** (d - 1),
            "There are `depth` pools on the way down, the last one just before the bottleneck; you have one fewer.",
        ),
        Mistake(
            "one pool too many",
            lambda s, d: s // 2 ** (d + 1),
            "There are `depth` pools on the way down; the bottleneck itself does not pool.",
        ),
        Mistake(
            "divides by 2 · depth",
            lambda s, d: s // (2 * d),
            "Each pool halves what the one before left, so the divisor is 2 · 2 · … = 2 ** depth, not 2 · depth.",
        ),
        Mistake("divides by depth ** 2", lambda s, d: s // d**2, "The divisor is 2 ** depth; you have depth ** 2."),
        Mistake(
            "divides by 4 at each pool",
            lambda s, d: s // 4**d,
            "A 2×2 pool leaves a quarter of the pixels but half of the side; the question is for the side.",
        ),
        Mistake(
            "not rounded",
            lambda s, d: s / 2**d,
            "There is no half pixel: a pool that meets an odd size drops the last row, //.",
        ),
        Mistake(
            "rounds up",
            lambda s, d: math.ceil(s / 2**d),
            "A pool that meets an odd size drops the last row: it rounds down, //.",
        ),
        Mistake(
            "rounds to the nearest",
            lambda s, d: math.floor(s / 2**d + 0.5),
            "A pool that meets an odd size drops the last row: it always rounds down, //.",
        ),
        Mistake(
            "unpadded convolutions",
            _unpadded,
            "This is the network of the 2015 paper, whose convolutions lose 4 pixels a level; ours pad and keep "
            "the size.",
        ),
        Mistake(
            "unchanged", lambda s, d: s, "The convolutions keep the size, but each of the `depth` pools halves it."
        ),
    ),
    variants=(
        lambda s, d: s // 2**d,
        lambda s, d: s >> d,
        lambda s, d: math.floor(s / 2**d),
        lambda s, d: float(s // 2**d),
    ),
    hints=(
        "Only the pools change the size; take 64 with depth 2 by hand.",
        "Do one pool in a loop, `depth` times: what does a 2×2 pool make of 7 rows?",
        "Whole division, //, rounds down as the pool does.",
    ),
)


# receptive-field


def receptive_field(depth):
    field, stride = 1, 1
    for _ in range(depth):
        field += 2 * 2 * stride  # two 3×3 convolutions
        field += stride  # the 2×2 pool
        stride *= 2
    return field + 2 * 2 * stride  # the bottleneck's two convolutions


def _field(depth, *, convolution=2, convolutions=2, pool=1, grow=2, start=1, early=False, bottleneck=True):
    """`receptive_field` with one number changed: what a convolution and a pool add, how the stride grows, …"""
    field, stride = start, 1
    for _ in range(depth):
        field += convolutions * convolution * stride
        field += pool * stride * (grow if early else 1)
        stride *= grow
    return field + (convolutions * convolution * stride if bottleneck else 0)


RECEPTIVE_FIELD = Exercise(
    key="receptive-field",
    task="Side, in image pixels, of what one bottleneck output sees: `depth` levels of two 3×3 convolutions and a 2×2 "
    "pool, then the bottleneck's two 3×3 convolutions.",
    reference=receptive_field,
    probes=lambda rng: [(1,), (2,), (3,), (4,)],
    mistakes=(
        Mistake(
            "stride growth forgotten",
            lambda d: _field(d, grow=1),
            "After a pool, neighbouring outputs lie twice as far apart in the image, so each later layer adds "
            "twice as much.",
        ),
        Mistake(
            "one convolution a level",
            lambda d: _field(d, convolutions=1),
            "Each level, the bottleneck too, has two convolutions of 2 strides each; you add 2 strides a level.",
        ),
        Mistake(
            "pools add nothing",
            lambda d: _field(d, pool=0),
            "A 2×2 pool looks at two neighbours, so it adds one stride before it doubles it.",
        ),
        Mistake(
            "pool counted at the doubled stride",
            lambda d: _field(d, early=True),
            "The pool reads its two neighbours at the old stride; the stride doubles after it.",
        ),
        Mistake(
            "bottleneck left out",
            lambda d: _field(d, bottleneck=False),
            "This is what the bottleneck's input sees; its own two convolutions add 4 strides more.",
        ),
        Mistake(
            "decoder included",
            lambda d: receptive_field(d) + 4 * (2**d - 1),
            "The question stops at the bottleneck's output; the convolutions of the decoder come after it.",
        ),
        Mistake(
            "adds 3 for a convolution",
            lambda d: _field(d, convolution=3),
            "A 3×3 convolution adds one neighbour on each side, which is 2 strides, not 3.",
        ),
        Mistake(
            "adds the kernel's size",
            lambda d: _field(d, convolution=3, pool=2),
            "A layer adds its kernel size less one, in strides: 2 for a 3×3 convolution, 1 for a 2×2 pool.",
        ),
        Mistake(
            "starts from 0",
            lambda d: _field(d, start=0),
            "Before any layer an output sees one pixel, its own: start from 1.",
        ),
        Mistake(
            "stride alone",
            lambda d: 2**d,
            "This is the stride, how far apart two outputs lie; each sees far more than that.",
        ),
    ),
    variants=(lambda d: 9 * 2**d - 4, lambda d: _field(d), lambda d: float(9 * 2**d - 4)),
    hints=(
        "Keep two numbers: what one output sees (at first 1 pixel) and the stride, how far apart two outputs lie (at "
        "first 1).",
        "A layer with kernel k adds (k − 1) · stride; a pool doubles the stride after that.",
        "Depth 0, the two convolutions alone, sees 5 pixels. Loop over the levels, then add the bottleneck's two "
        "convolutions.",
    ),
)

EXERCISES = (DOUBLE_CONV_PARAMETERS, BOTTLENECK_SIZE, RECEPTIVE_FIELD)
