"""A U-Net's wiring, read from the graph of its output, in words that don't depend on how it is written.

Neither names nor the order of a concatenation nor the kind of upsampling show in them.
"""

from __future__ import annotations

import math
from itertools import takewhile

import torch

from unet_lab.checks.parts import network_graph as graph

LEVELS = (1, 2, 3, 4)
POOLINGS = {
    "MaxPool2DWithIndices": "max-pooling",
    "AdaptiveMaxPool2D": "max-pooling",
    "AvgPool2D": "average pooling",
    "AdaptiveAvgPool2D": "average pooling",
    "Convolution": "strided convolution",
}


def activation(output: torch.Tensor) -> str:
    """What was applied to the logits, "softmax" for example, or "nothing"."""
    if output.grad_fn is None:
        return "nothing"
    last = graph.strip(output.grad_fn)
    return "normalisation" if graph.is_normalisation(last) else graph.ACTIVATIONS.get(graph.kind(last), "nothing")


class Wiring:
    """Level 1 has the size of the output, each other half of the one above; level 5 is the bottleneck.

    pools     the nodes that halve the size, in the order in which they ran
    features  what each level of the encoder hands to its pooling
    ups       the nodes that enlarge, the smallest map first
    joins     the nodes where the decoder brings two things together
    """

    def __init__(self, output: torch.Tensor):
        self.output = output
        self.nodes = graph.every_node(output.grad_fn)
        self.ups = sorted(filter(graph.is_enlarging, self.nodes), key=lambda up: graph.shape(up)[-1])
        encoder = graph.every_node(graph.inputs(self.ups[0])[0]) if self.ups else []
        self.decoder = [node for node in self.nodes if node not in set(encoder)]
        self.pools = [node for node in self._trunk() if graph.is_shrinking(node)]
        self.features = [graph.strip(graph.inputs(pool)[0]) for pool in self.pools]
        self.joins = [node for node in self.decoder if self._is_join(node)]

    def facts(self) -> dict[str, str]:
        return {
            "after the last convolution": activation(self.output),
            "axis of the concatenations": self._axes(),
            "poolings": self._poolings(),
            "channels on the way down": self._channels(self.features + self._bottleneck()),
            **{f"level {level} of the decoder": self._joined_at(level) for level in reversed(LEVELS)},
            "skips that reach the output": self._living_skips(),
            "channels on the way up": self._channels(self._decoder_features()),
            "3×3 convolutions at each level": self._convolutions(),
            "last convolution": self._last_convolution(),
        }

    def _trunk(self) -> list:
        """From the image to the lowest upsampling; without one, to the output."""
        smallest = [up for up in self.ups if graph.shape(up)[-1] == graph.shape(self.ups[0])[-1]]
        ways = [list(graph.trunk(graph.inputs(up)[0])) for up in smallest] or [list(graph.trunk(self.output.grad_fn))]
        return max(ways, key=len)[::-1]

    def _pixels(self) -> int:
        return math.prod(self.output.shape[-2:])

    def _axes(self) -> str:
        axes = {node._saved_dim for node in self.nodes if graph.kind(node) == "Cat"}
        # A negative axis is kept as an unsigned number.
        return ", ".join(sorted({str(axis if axis < 4 else axis - 2**64 + 4) for axis in axes})) or "1"

    def _poolings(self) -> str:
        names = sorted({POOLINGS.get(graph.kind(pool), graph.kind(pool)) for pool in self.pools})
        sides = [math.isqrt(self._pixels() // math.prod(graph.shape(pool)[-2:])) for pool in self.pools]
        return f"{' and '.join(names)}, to {', '.join(f'1/{side}' for side in sides)}" if names else "none"

    def _level(self, node) -> int:
        return 1 + round(math.log2(self._pixels() / math.prod(graph.shape(node)[-2:])) / 2)

    def _channels(self, nodes: list) -> str:
        return ", ".join(str(graph.shape(node)[1]) for node in nodes)

    def _bottleneck(self) -> list:
        return [self._block_before(self.ups[0])] if self.ups else []

    def _block_before(self, up):
        """What is upsampled; the convolution that belongs to an interpolation may come before it."""
        node = graph.strip(graph.inputs(up)[0])
        if graph.kind(up) != "Convolution" and graph.is_convolution(node):
            node = graph.strip(graph.inputs(node)[0])
        return node

    def _decoder_features(self) -> list:
        last = self._last()
        ends = [self._block_before(up) for up in self.ups[1:]]
        return ends + ([] if last is None else [graph.strip(graph.inputs(last)[0])])

    def _last(self):
        """The last convolution, or None."""
        return next(filter(graph.is_convolution, graph.chain(self.output.grad_fn)), None)

    def _last_convolution(self) -> str:
        last = self._last()
        return "none" if last is None else "{2}×{3}".format(*last._saved_weight.shape)

    def _is_join(self, node) -> bool:
        """Whether two things come together of which one comes up from below or out of the encoder."""
        sources = graph.inputs(node)
        return len(sources) > 1 and any(self._origin(source) != "its own level" for source in sources)

    def _origin(self, node) -> str:
        """Where an input of a join comes from."""
        changed = ""
        for step in graph.chain(graph.strip(node)):
            if step in self.features:
                return f"level {self.features.index(step) + 1}{changed}"
            if step in self.pools:
                return f"level {self.pools.index(step) + 1} after its pooling{changed}"
            if graph.is_enlarging(step):
                return self._origin_from_below(step)
            if hasattr(step, "variable"):
                return "the image"
            if len(graph.inputs(step)) > 1:
                return "its own level"
            if graph.is_shrinking(step):
                changed = " after another pooling"
            elif graph.kind(step) not in graph.PASSED_THROUGH:
                changed = changed or " after more layers"
        return "nothing with a gradient"

    def _origin_from_below(self, up) -> str:
        origin = self._origin(graph.inputs(up)[0])
        bottleneck = f"level {len(self.pools)} after its pooling after more layers"
        return "from below" if origin in ("its own level", "from below", bottleneck) else f"{origin}, enlarged"

    def _joined_at(self, level: int) -> str:
        found = []
        for join in self.joins:
            if self._level(join) != level:
                continue
            origins = [self._origin(node) for node in graph.inputs(join)]
            origins = [self._constant(join) if origin == "nothing with a gradient" else origin for origin in origins]
            word = {"Cat": "concatenation", "Add": "sum"}.get(graph.kind(join), graph.kind(join))
            found.append(f"{word} of {' and '.join(sorted(origins))}")
        return "; ".join(sorted(found)) or "joins nothing"

    def _constant(self, join) -> str:
        """What the part of a concatenation through which no gradient flows holds: zeros, or detached features."""
        reader = next((node for node in self.nodes if graph.is_convolution(node) and join in graph.inputs(node)), None)
        widths = [None if node is None else graph.shape(node)[1] for node in graph.inputs(join)]
        if reader is None or widths.count(None) != 1:
            return "something without a gradient"
        start = sum(takewhile(bool, widths))
        stop = start + graph.shape(join)[1] - sum(filter(None, widths))
        return "something detached" if reader._saved_input[:, start:stop].any() else "zeros"

    def _living_skips(self) -> str:
        """Levels whose features still move the output when the gradient of every pooling is cut."""
        reached: set = set()
        watched = [(self.features, "encoder"), (self.joins, "join")]

        def note(what, level):
            return lambda gradients: reached.add((what, level)) if _any(gradients) else None

        handles = [pool.register_prehook(lambda gradients: tuple(g * 0 for g in gradients)) for pool in self.pools]
        for nodes, what in watched:
            handles += [node.register_prehook(note(what, self._level(node))) for node in nodes]
        weights = torch.randn(self.output.shape, generator=torch.Generator().manual_seed(0)).to(self.output)
        torch.autograd.grad((self.output * weights).sum(), self._image(), retain_graph=True, allow_unused=True)
        for handle in handles:
            handle.remove()
        # Where not even the join is reached, all ReLUs behind it happen to be at 0: that says nothing about the skip.
        dead = [level for level in LEVELS if ("encoder", level) not in reached and ("join", level) in reached]
        return ", ".join(str(level) for level in LEVELS if level not in dead) or "none"

    def _image(self) -> list:
        return [node.variable for node in self.nodes if hasattr(getattr(node, "variable", None), "is_the_image")]

    def _convolutions(self) -> str:
        """For the levels of the encoder, the bottleneck, and the levels of the decoder from below."""
        counts = [
            self._convolutions_before(end) for end in self.features + self._bottleneck() + self._decoder_features()
        ]
        # A decoder that has more, say beside an interpolation, has none too few.
        encoder = counts[: len(self.features)]
        even = len(set(encoder)) == 1 and min(counts) == encoder[0]
        return "the same number" if even else ", ".join(map(str, counts))

    def _convolutions_before(self, end) -> int:
        """Between the start of a level and its end."""
        count = 0
        for node in graph.chain(end):
            if node in self.pools or node in self.joins or graph.is_enlarging(node):
                break
            count += graph.is_convolution(node) and node._saved_weight.shape[-1] > 1
        return count


def _any(gradients: tuple) -> bool:
    return any(gradient is not None and bool(gradient.any()) for gradient in gradients)
