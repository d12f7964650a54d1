"""E08, task 1: DoubleConv, judged by the layers that its output went through, whatever they are called."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from unet_lab.checks.exercise import Exercise
from unet_lab.checks.parts import network_graph as graph
from unet_lab.checks.parts.wrong_blocks import MISTAKES, VARIANTS
from unet_lab.models import DoubleConv

SIZE = (6, 10)
"""Height and width of the probes' images."""


def _layers(in_ch, out_ch):
    first = f"3×3 convolution {in_ch}→{out_ch}, padding 1 → BatchNorm → ReLU"
    return f"{first} → 3×3 convolution {out_ch}→{out_ch}, padding 1 → BatchNorm → ReLU"


def _facts(block_class, in_ch, out_ch, images):
    """What the block did to a batch in training mode, in words."""
    block = block_class(in_ch, out_ch)
    output = graph.run_model(block, images)
    if output is None:
        return None
    facts = {"shape of the output": str(tuple(output.shape)), "its layers": "no gradient comes back through them"}
    if output.grad_fn is None:
        return facts
    distance = _distance_from_formula(output, images)
    as_asked = distance < 1e-3
    facts["its layers"] = _layers(in_ch, out_ch) if as_asked else graph.layers_in_words(output.grad_fn)
    if facts["its layers"] == _layers(in_ch, out_ch) and distance > 0.1:  # less is another eps of BatchNorm
        facts["its layers"] += ", with other numbers"
    facts["BatchNorms with weights of their own"] = "no" if _shares_weights(output) else "yes"
    facts["layers that never run"] = "none" if as_asked else _idle_layers(block, output)
    return facts | graph.common_facts(block, output, images) | {"in evaluation mode": _in_evaluation(block, images)}


@torch.no_grad()
def _distance_from_formula(output, images):
    """From what its two kernels give in the formula. Where that is nothing, the block may be written in any way."""
    kernels = [weight for weight in graph.weights_of(graph.every_node(output.grad_fn)) if weight.ndim == 4]
    (in_ch, out_ch), x = (images.shape[1], output.shape[1]), images
    if [tuple(kernel.shape) for kernel in kernels] != [(out_ch, in_ch, 3, 3), (out_ch, out_ch, 3, 3)]:
        return math.inf
    for kernel in kernels:  # a bias would cancel in the normalisation
        x = F.conv2d(x, kernel.float(), padding=1)
        x = F.relu(F.batch_norm(x, None, None, training=True))
    return (x - output).abs().max().item() if x.shape == output.shape else math.inf


def _shares_weights(output):
    """Whether two layers use one weight."""
    uses = [id(weight) for weight in graph.weights_of(graph.every_node(output.grad_fn))]
    return len(set(uses)) < len(uses)


def _idle_layers(block, output):
    used = {id(weight) for weight in graph.weights_of(graph.every_node(output.grad_fn))}
    idle = [weight for weight in block.parameters() if id(weight) not in used]
    return f"{len(idle)} weights" if idle else "none"


@torch.no_grad()
def _in_evaluation(block, images):
    block.eval()
    together, alone = block(images.clone())[:1], block(images[:1].clone())
    return "the running statistics" if torch.allclose(together, alone, atol=1e-4) else "the statistics of the batch"


def _probes(rng):
    """Wider, as wide, and narrower: what two channel counts have to do with each other shows in one of them."""
    wider, equal = (3, int(rng.integers(4, 7))), (int(rng.integers(3, 6)),) * 2
    narrower = (int(rng.integers(6, 9)), 2)
    return [
        (*pair, torch.from_numpy(rng.normal(size=(2, pair[0], *SIZE))).float()) for pair in (wider, equal, narrower)
    ]


def _setting(in_ch, out_ch, images):
    return f"DoubleConv({in_ch}, {out_ch}) on images {tuple(images.shape)}"


DOUBLE_CONV = Exercise(
    key="e08-double-conv",
    task="DoubleConv(in_ch, out_ch): a 3×3 convolution with padding 1, BatchNorm and ReLU, twice, "
    "in_ch → out_ch → out_ch channels.",
    reference=DoubleConv,
    probes=_probes,
    measure=_facts,
    setting=_setting,
    mistakes=MISTAKES,
    variants=VARIANTS,
    hints=(
        "Six layers in one line: the same three twice. Which of the six has to know in_ch?",
        "(3×3 convolution with padding=1 → BatchNorm → ReLU) twice; channels in_ch → out_ch in the first convolution, "
        "out_ch → out_ch in the second.",
        "In __init__, after super().__init__(): one nn.Sequential of nn.Conv2d(in_ch, out_ch, 3, padding=1), "
        "nn.BatchNorm2d(out_ch), nn.ReLU(), and then the same three again, starting from out_ch. forward(self, x) returns "
        "what it makes of x.",
    ),
)

EXERCISES = (DOUBLE_CONV,)
