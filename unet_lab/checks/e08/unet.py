"""E08, task 2: the U-Net, judged by what is joined with what, not by names: shapes alone would let empty skips pass.

`unet_wiring.py` reads the wiring; wrong networks stand in `wrong_unets.py`, other right ones in `right_unets.py`.
"""

from __future__ import annotations

import re

import torch

from unet_lab.checks.exercise import Exercise, Mistake
from unet_lab.checks.parts import network_graph as graph
from unet_lab.checks.parts import wrong_unets as wrong
from unet_lab.checks.parts.right_unets import VARIANTS
from unet_lab.checks.parts.size_clash import (
    AFTER_POOLING,
    CLASHING_POOLED_SKIPS,
    NO_STRIDE,
    WITHOUT_STRIDE,
    ClashesNamed,
    PooledOneUp,
)
from unet_lab.checks.parts.unet_wiring import Wiring, activation
from unet_lab.models import UNet

SHAPE, GRADIENT, LOGITS = "shape of the output", "gradient", "after the last convolution"
LOGITS_IN_EVALUATION = f"{LOGITS}, in evaluation mode"
DECODER = tuple(f"level {level} of the decoder" for level in (1, 2, 3, 4))


def _facts(unet_class, in_channels, num_classes, base_channels, images):
    """How the network is wired, in words."""
    model = unet_class(in_channels=in_channels, num_classes=num_classes, base_channels=base_channels)
    with ClashesNamed():
        output = graph.run_model(model, images)
    if output is None:
        return None
    facts = {SHAPE: str(tuple(output.shape)), GRADIENT: "comes back" if output.requires_grad else "none comes back"}
    if not output.requires_grad or output.ndim != 4:
        return facts
    facts |= Wiring(output).facts() | graph.common_facts(model, output, images)
    model.eval()
    return facts | {LOGITS_IN_EVALUATION: activation(model(images.clone()))}


def _probes(rng):
    """Other channels, classes, widths and sizes each time, so that a number, or another name, in place of one shows."""
    settings = [(3, 2, 3, 32, 32), (1, 5, 2, 32, 64)]
    if rng.random() < 0.5:
        settings = [(3, 2, 3, 32, 32), (4, 3, 2, 64, 32)]
    return [(i, c, b, torch.from_numpy(rng.normal(size=(2, i, h, w))).float()) for i, c, b, h, w in settings]


def _setting(in_channels, num_classes, base_channels, images):
    settings = f"in_channels={in_channels}, num_classes={num_classes}, base_channels={base_channels}"
    return f"UNet({settings}) on images {tuple(images.shape)}"


# symptoms: how a mistake shows in the facts


def _numbers(text):
    return [int(number) for number in re.findall(r"\d+", text)]


def _no_gradient(got, expected):
    return all(facts[GRADIENT] == "none comes back" for facts in got)


def _no_gradient_and_no_class_axis(got, expected):
    sizes = [(_numbers(facts[SHAPE]), _numbers(other[SHAPE])) for facts, other in zip(got, expected, strict=True)]
    return _no_gradient(got, expected) and all(a in ([b[0], *b[2:]], [b[0], 1, *b[2:]]) for a, b in sizes)


def _shape_differs(axes):
    def symptom(got, expected):
        pairs = [(_numbers(facts[SHAPE]), _numbers(other[SHAPE])) for facts, other in zip(got, expected, strict=True)]
        if any(len(a) != 4 for a, _ in pairs):
            return False
        differing = {axis for a, b in pairs for axis in range(4) if a[axis] != b[axis]}
        return bool(differing) and differing <= set(axes)

    return symptom


def _as_wide_as_level_1(got, expected):
    """As many channels as the first level has, in all probes."""
    widths = [_numbers(facts["channels on the way down"])[0] for facts in expected]
    return all(_numbers(facts[SHAPE])[1:2] == [width] for facts, width in zip(got, widths, strict=True))


def _activated(name):
    return lambda got, expected: any(name in (facts.get(LOGITS), facts.get(LOGITS_IN_EVALUATION)) for facts in got)


def _fact(name, matches):
    """Whether the fact of that name is there in all probes and matches in one of them."""
    return lambda got, expected: (
        all(name in facts for facts in got)
        and any(matches(facts[name], other[name]) for facts, other in zip(got, expected, strict=True))
    )


def _double_conv_last(got, expected):
    wide = _fact("last convolution", lambda text, _: text != "1×1")
    return wide(got, expected) and _activated("ReLU")(got, expected)


def _number_in_place_of_base(got, expected):
    name = "channels on the way down"
    told, right = ([_numbers(facts.get(name, "")) for facts in these] for these in (got, expected))
    if any(map(_uneven, told, right)):
        return False
    return told != right and all(numbers == told[0] for numbers in told)


def _uneven(numbers, right):
    """Whether the widths are no multiple of the right ones."""
    return len(numbers) != len(right) or len({a / b for a, b in zip(numbers, right, strict=True)}) > 1


def _at_levels(matches):
    """Whether what a level of the decoder joins matches `matches(text, level)`, at any level."""
    return lambda got, expected: any(
        matches(facts.get(name, ""), level) for facts in got for level, name in enumerate(DECODER, start=1)
    )


def _all_join_nothing(got, expected):
    return all(facts.get(name) == "joins nothing" for facts in got for name in DECODER)


def _pooled_skips(got, expected):
    """Pooled and enlarged again, or handed to the level below, so that level 1 gets none."""
    enlarged = _at_levels(lambda text, level: f"level {level} after another pooling, enlarged" in text)
    lower = _at_levels(lambda text, level: f"level {level - 1} after its pooling" in text)
    none_left = all(facts.get(DECODER[0]) == "joins nothing" for facts in got)
    return enlarged(got, expected) or (none_left and lower(got, expected))


def _another_level(text, level):
    return "level" in text and set(_numbers(text)) != {level}


def _fewer_above(text, _):
    """Fewer convolutions in the decoder than in the encoder: the numbers after the bottleneck's."""
    counts = _numbers(text)
    return bool(counts) and min(counts[5:], default=0) < counts[0] <= min(counts[:5])


# Name, symptom, sentence, the networks that show it, those of them that raise. The first symptom found is told.
KNOWN = (
    (
        "argmax in forward",
        _no_gradient_and_no_class_axis,
        "argmax gives class ids, through which no gradient flows; return the logits of all classes.",
        wrong.ARGMAX,
    ),
    (
        "no gradient",
        _no_gradient,
        "No gradient comes back through the network: no torch.no_grad(), .detach() or .data in forward.",
        wrong.NO_GRADIENT,
    ),
    (
        "concatenated along the wrong axis",
        _fact("axis of the concatenations", lambda text, _: text != "1"),
        "Channels are axis 1: torch.cat(..., dim=1) puts the two halves side by side for every pixel.",
        wrong.WRONG_AXIS,
        wrong.WRONG_AXIS_FAILING,
    ),
    (
        "output of another size",
        _shape_differs((2, 3)),
        "The logits are not of the images' size: as many upsamplings as poolings, four, and padded convolutions.",
        wrong.OTHER_SIZE,
    ),
    (
        "no head",
        _as_wide_as_level_1,
        "The output has base_channels channels: no head. After the last DoubleConv comes a 1×1 convolution to num_classes.",
        wrong.NO_HEAD,
    ),
    (
        "num_classes written as a number",
        _shape_differs((1,)),
        "A number stands where num_classes belongs: the output needs as many channels as there are classes.",
        wrong.FIXED_CLASSES,
    ),
    (
        "softmax in forward",
        _activated("softmax"),
        "The network gives logits; the loss applies the softmax itself, and twice is wrong.",
        wrong.SOFTMAX,
    ),
    (
        "log_softmax in forward",
        _activated("log_softmax"),
        "The network gives logits; the loss applies log_softmax itself.",
        wrong.LOG_SOFTMAX,
    ),
    (
        "sigmoid in forward",
        _activated("sigmoid"),
        "The network gives logits, any real numbers; yours come out of a sigmoid, between 0 and 1.",
        wrong.SIGMOID,
    ),
    (
        "DoubleConv as last layer",
        _double_conv_last,
        "The last layer is a block that ends in a ReLU; logits come from a plain 1×1 convolution.",
        wrong.BLOCK_LAST,
    ),
    (
        "ReLU on the output",
        _activated("ReLU"),
        "Logits may be negative; nothing comes after the last convolution.",
        wrong.RELU,
    ),
    (
        "average pooling",
        _fact("poolings", lambda text, _: "average" in text),
        "The encoder of this course pools by the maximum, nn.MaxPool2d(2).",
        wrong.AVERAGE_POOLING,
    ),
    (
        "strided convolutions",
        _fact("poolings", lambda text, _: "strided" in text),
        "The encoder of this course halves the size by nn.MaxPool2d(2), not by a convolution with a stride.",
        wrong.STRIDED,
    ),
    (
        "a pooling is missing",
        _fact("poolings", lambda text, right: text.count("1/") < right.count("1/")),
        "There are four poolings, the last one before the bottleneck, so that it sees 1/16 of each side; you have fewer.",
        wrong.POOLING_MISSING,
    ),
    (
        "a pooling too many",
        _fact("poolings", lambda text, right: text.count("1/") > right.count("1/")),
        "There are four poolings, so that the bottleneck sees 1/16 of each side; you have more.",
        wrong.POOLING_TOO_MANY,
    ),
    (
        "no bottleneck",
        _fact("3×3 convolutions at each level", lambda text, _: _numbers(text)[4:5] == [0]),
        "The lowest level has no DoubleConv: after the last pooling comes one more, to 16 · base_channels.",
        wrong.NO_BOTTLENECK,
    ),
    (
        "base_channels written as a number",
        _number_in_place_of_base,
        "A number stands where base_channels belongs: the width of all levels has to follow it.",
        wrong.FIXED_BASE,
    ),
    (
        "channels don't double",
        _fact("channels on the way down", lambda text, right: _numbers(text) != _numbers(right)),
        "Going down, each level has twice the channels of the one above: b, 2b, 4b, 8b and 16b in the bottleneck.",
        wrong.OTHER_WIDTHS,
    ),
    (
        "no skips",
        _all_join_nothing,
        "The decoder sees nothing but the bottleneck. At each level, concatenate what the encoder had there.",
        wrong.NO_SKIPS,
    ),
    (
        AFTER_POOLING[0],
        _pooled_skips,
        AFTER_POOLING[1],
        [*wrong.POOLED_SKIPS, PooledOneUp],
        CLASHING_POOLED_SKIPS,
    ),
    (WITHOUT_STRIDE[0], None, WITHOUT_STRIDE[1], NO_STRIDE),
    (
        "a skip is missing",
        _at_levels(lambda text, _: text == "joins nothing"),
        "One level of the decoder gets nothing from the encoder; each of the four has its own skip.",
        wrong.SKIP_MISSING,
    ),
    (
        "zeros as skips",
        _at_levels(lambda text, _: "zeros" in text),
        "The shapes fit, but a skip holds zeros: the encoder's features never reach the decoder.",
        wrong.ZERO_SKIPS,
    ),
    (
        "skips detached",
        _at_levels(lambda text, _: "something detached" in text),
        "A skip is cut from the graph by .detach(), .data or no_grad(), so the encoder learns nothing through it.",
        wrong.DETACHED_SKIPS,
    ),
    (
        "upsampled twice in place of a skip",
        _at_levels(lambda text, _: "from below and from below" in text),
        "You concatenate the upsampled features with themselves; the other half has to come from the encoder.",
        wrong.UPSAMPLED_TWICE,
    ),
    (
        "sum in place of concatenation",
        _at_levels(lambda text, level: "sum of from below and" in text),
        "You add the skip to the upsampled features; a U-Net puts them side by side: torch.cat along the channels.",
        wrong.SUMS,
    ),
    (
        "skip taken before the block",
        _at_levels(lambda text, level: f"level {level - 1} after its pooling" in text or "the image" in text),
        "The skip is what goes into the level's DoubleConv, pooled from the level above; take what comes out of it.",
        wrong.BLOCK_INPUTS,
    ),
    (
        "skip from the wrong level",
        _at_levels(_another_level),
        "A skip has to join features of its own level, where the sizes agree by themselves: the deepest with the deepest.",
        wrong.OTHER_LEVELS,
    ),
    (
        "a skip has no effect",
        _fact("skips that reach the output", lambda text, right: text != right),
        "A skip is concatenated, but then multiplied by 0 or cut off again: it does not change the output.",
        wrong.DEAD_SKIPS,
    ),
    (
        "no DoubleConv in the decoder",
        _fact("3×3 convolutions at each level", _fewer_above),
        "After each concatenation stands a DoubleConv, as in the encoder; yours has fewer convolutions there.",
        wrong.BARE_DECODERS,
    ),
    (
        "3×3 last convolution",
        _fact("last convolution", lambda text, _: text not in ("1×1", "none")),
        "The last convolution turns each pixel's channels into logits by itself: its kernel is 1×1.",
        wrong.WIDE_LAST,
    ),
    (
        "layers in a plain list",
        _fact("weights in model.parameters()", lambda text, _: text == "not all"),
        "PyTorch does not look into a Python list, so the optimizer would never find these weights: use nn.ModuleList.",
        wrong.PLAIN_LISTS,
    ),
    (
        "in_channels written as a number",
        None,
        "A number stands where in_channels belongs: the network has to take other images than RGB.",
        wrong.FIXED_IN,
    ),
    (
        "sizes differ at a concatenation",
        None,
        "The upsampled features and the skip differ in size. Each pooling on the way down needs its upsampling on the way "
        "up: one of them is missing, or there twice.",
        wrong.SIZES_DIFFER,
    ),
    (
        "channels of the skip forgotten",
        None,
        "After the concatenation there are twice as many channels; the decoder's DoubleConv has to start from both halves.",
        wrong.CHANNELS_FORGOTTEN,
    ),
    (
        "super().__init__() missing",
        None,
        "__init__ has to start with super().__init__(): nn.Module prepares itself there to keep your layers.",
        wrong.NO_SUPER,
    ),
)


def _mistake(name, symptom, sentence, answers, failing=()):
    return Mistake(name, answers[0], sentence, tuple(answers[1:]), tuple(failing), symptom)


UNET = Exercise(
    key="e08-unet",
    task="UNet(in_channels, num_classes, base_channels): four levels of DoubleConv and 2×2 max-pooling, a bottleneck, and "
    "four times upsampling, concatenation with the encoder's features of that level, DoubleConv; then a 1×1 convolution.",
    reference=UNet,
    probes=_probes,
    measure=_facts,
    setting=_setting,
    limit=30.0,  # a network that ignores base_channels has 31 million weights
    mistakes=tuple(_mistake(*known) for known in KNOWN),
    variants=VARIANTS,
    hints=(
        "Follow the picture from left to right. Going down, keep what each DoubleConv gives before you pool it: the skips "
        "need it on the way up.",
        "Widths going down: b, 2b, 4b, 8b, then 16b in the bottleneck. Going up, at each level: upsample and halve the "
        "channels, concatenate with the features of the same size (the channels double again), DoubleConv. At the end a "
        "1×1 convolution, nothing after it.",
        "e1 = enc1(images), e2 = enc2(pool(e1)), and so on to b = bottleneck(pool(e4)). Then "
        "d4 = dec4(torch.cat([up4(b), e4], dim=1)) with dec4 = DoubleConv(16b, 8b), and the same at levels 3, 2 and 1; "
        "return out(d1).",
    ),
)

EXERCISES = (UNET,)
