"""What a network computed, read from the autograd graph of its output: which layers ran, in which order, fed by what.

Names of modules, nn.Sequential or functions, loops or single lines: the graph is the same, so that an exercise can judge
a network by what it does. All names of nodes are those of PyTorch ("ConvolutionBackward0", "ReluBackward0", …).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from torch import nn

from unet_lab.checks.exercise import Fault, on_wrong_device

ACTIVATIONS = {
    "Relu": "ReLU",
    "Threshold": "ReLU",
    "Clamp": "ReLU",
    "ClampMin": "ReLU",
    "LeakyRelu": "LeakyReLU",
    "PreluKernel": "PReLU",
    "Elu": "ELU",
    "Gelu": "GELU",
    "Silu": "SiLU",
    "Hardtanh": "ReLU",
    "Hardswish": "Hardswish",
    "Mish": "Mish",
    "Softplus": "softplus",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
}
PASSED_THROUGH = (
    "Alias", "Slice", "View", "UnsafeView", "Clone", "Expand", "Squeeze", "Unsqueeze", "ToCopy", "As", "Narrow", "Split",
    "ConstantPadNd", "ReplicationPad2D", "ReflectionPad2D", "NativeDropout", "Mul", "Div",
)  # fmt: skip
"""Nodes that crop, pad, copy, scale or drop out (a product with a random mask): the features stay the same ones."""
CHANGES_NUMBERS = ("ReplicationPad2D", "ReflectionPad2D", "NativeDropout", "Mul", "Div")


def kind(node) -> str:
    """ "Convolution" for a ConvolutionBackward0."""
    return re.sub(r"Backward\d*$", "", node.name())


def shape(node) -> tuple[int, ...]:
    """The shape of what the node's operation returned."""
    return tuple(node._input_metadata[0].shape)


def inputs(node) -> list:
    """The nodes of the data that went in: no weights. None stands for an input through which no gradient flows."""
    found = [source for source, _ in node.next_functions]
    if kind(node) == "Cat":
        return found
    return [source for source in found if source is not None and not _is_weight(source)]


def _is_weight(node) -> bool:
    return hasattr(node, "variable") and not hasattr(node.variable, "is_the_image")


def strip(node):
    """The nearest node from here towards the image that makes something new."""
    while node is not None and kind(node) in PASSED_THROUGH and len(inputs(node)) == 1:
        node = inputs(node)[0]
    return node


def is_convolution(node) -> bool:
    return kind(node) == "Convolution" and not node._saved_transposed


def is_enlarging(node) -> bool:
    """A transposed convolution with a stride, or an interpolation to more pixels."""
    if getattr(node, "_saved_transposed", False):
        return True
    return kind(node).startswith(("Upsample", "PixelShuffle")) and shape(node)[-1] > shape(inputs(node)[0])[-1]


def is_shrinking(node) -> bool:
    """A pooling, or a convolution with a stride."""
    return "Pool2D" in kind(node) or (is_convolution(node) and max(node._saved_stride) > 1)


def is_normalisation(node) -> bool:
    return "Norm" in kind(node)


def every_node(start) -> list:
    """A node and all behind it, weights and image included; each comes before those that feed it."""
    order: list = []
    seen: set = set()
    stack = [(start, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif node is not None and node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack += [(source, False) for source, _ in node.next_functions]
    return order[::-1]


def weights_of(nodes: list) -> list[torch.Tensor]:
    """The parameters that the nodes of `every_node` use, in the order in which they ran; one used twice comes twice."""
    uses = (source for node in reversed(nodes) for source, _ in node.next_functions)
    return [source.variable for source in uses if source is not None and _is_weight(source)]


def chain(node) -> Iterator:
    """Nodes from here towards the image, as long as each has one input, and the one that has more or none."""
    while node is not None:
        yield node
        sources = inputs(node)
        node = sources[0] if len(sources) == 1 else None


def trunk(node) -> Iterator:
    """Nodes from here towards the image; where two come together, as in a residual block, along the first."""
    while node is not None:
        yield node
        node = next(filter(None, inputs(node)), None)


def layers_in_words(node) -> str:
    """All layers up to a node, in the order in which they ran, joined by arrows."""
    nodes = list(chain(node))[::-1]
    words = [layer_in_words(node) for node in nodes if not hasattr(node, "variable")]
    if len(sources := inputs(nodes[0])) > 1:
        parts = sorted(f"({layers_in_words(source)})" if source is not None else "nothing" for source in sources)
        words[0] = f"{words[0]} of {' and '.join(parts)}"
    return " → ".join(filter(None, words)) or "input"


def layer_in_words(node) -> str:
    """ "3×3 convolution 8→16, padding 1" for example; empty for what only crops, copies or reshapes."""
    name = kind(node)
    if name in PASSED_THROUGH and name not in CHANGES_NUMBERS:
        return ""
    if is_convolution(node):
        return _convolution_in_words(node)
    if is_normalisation(node):
        return "BatchNorm" if "BatchNorm" in name and not _is_one_batch(node) else "another normalisation"
    return ACTIVATIONS.get(name, name)


def _is_one_batch(node) -> bool:
    """Instance normalisation is batch normalisation of (1, N·C, H, W)."""
    return shape(node)[0] == 1


def _convolution_in_words(node) -> str:
    out_channels, in_channels, height, width = node._saved_weight.shape
    words = f"{height}×{width} convolution {in_channels}→{out_channels}, padding {max(node._saved_padding)}"
    for name in ("stride", "dilation"):
        if (value := max(getattr(node, f"_saved_{name}"))) > 1:
            words += f", {name} {value}"
    return words + (f", {node._saved_groups} groups" if node._saved_groups > 1 else "")


def run_model(model: nn.Module, images: torch.Tensor) -> torch.Tensor | None:
    """The output, with a graph that reaches back to `images`. None if `forward` returns None.

    Raises `Fault` where the answer is no network, or returns no tensor.
    """
    if not isinstance(model, nn.Module):
        if model is None or model is Ellipsis:
            return None
        raise Fault("not an nn.Module", "The class has to be a network: write class Name(nn.Module).")
    if type(model).forward is nn.Module.forward:
        if not any(True for _ in model.parameters()):
            return None
        raise Fault(
            "forward is missing",
            "Your class has layers, but no method forward(self, x). Is its name spelt right, and is it indented as far as "
            "__init__?",
        )
    leaf = images.detach().clone().requires_grad_()
    leaf.is_the_image = True
    given = leaf.clone()  # a leaf itself may not be changed in place
    handles = [
        module.register_forward_hook(_no_block_returns_nothing) for module in model.modules() if module is not model
    ]
    try:
        output = model(given)
    finally:
        for handle in handles:
            handle.remove()
    if not torch.equal(given.detach(), images):
        images.copy_(given.detach())  # seen by the engine, which compares the arguments with what they were
    if output is not None and output is not Ellipsis and not isinstance(output, torch.Tensor):
        raise Fault("wrong type", f"forward has to return one tensor; it returned a {type(output).__name__}.")
    if isinstance(output, torch.Tensor) and output.device != images.device:
        raise on_wrong_device(output.device)
    return None if output is Ellipsis else output


def _no_block_returns_nothing(module: nn.Module, arguments: tuple, output: object) -> None:
    if output is None or output is Ellipsis:
        name = type(module).__name__
        raise Fault(f"{name} returns nothing", f"A {name} inside it returns None: finish {name} first, or borrow it.")


def common_facts(model: nn.Module, output: torch.Tensor, images: torch.Tensor) -> dict[str, str]:
    """Two things that go wrong in any network: weights that no optimizer would find, and weights made anew each time."""
    registered = {id(parameter) for parameter in model.parameters()}
    used = weights_of(every_node(output.grad_fn))
    hidden = [weight for weight in used if id(weight) not in registered]
    again = {id(weight) for weight in weights_of(every_node(model(images.detach().clone()).grad_fn))}
    return {
        "weights in model.parameters()": "not all" if hidden else "all",
        "weights": "kept" if {id(weight) for weight in used} <= again else "made anew in each forward",
    }
