"""Small networks, batches and optimizers that tell what a loop did with them: for lesson 4 and exercise E08."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from unet_lab.checks.compare import unfinished
from unet_lab.checks.parts.scores import VOID

# networks and batches


def tiny_model(weights, num_classes):
    """Two convolutions around a BatchNorm, which tells the two modes apart; the weights come from a flat tensor."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, num_classes, 1))
    values = weights.clone()
    with torch.no_grad():
        for tensor in [*model.parameters(), model[1].running_mean, model[1].running_var]:
            tensor.copy_(values[: tensor.numel()].view_as(tensor))
            values = values[tensor.numel() :]
        model[1].running_var.abs_().add_(0.5)
    return model


def images_masks_and_weights(rng, n, num_classes, void=0.0):
    """Grey noise (n, 1, 8, 8), masks (n, 8, 8) and weights of `tiny_model`; `void` is a share, or one an image."""
    images = torch.from_numpy(rng.normal(size=(n, 1, 8, 8))).float()
    masks = torch.from_numpy(rng.integers(0, num_classes, (n, 8, 8)))
    masks[torch.from_numpy(rng.random((n, 8, 8)) < np.reshape(void, (-1, 1, 1)))] = VOID
    return images, masks, torch.from_numpy(rng.normal(size=80)).float()


def passing_model(num_classes):
    """A network whose logits are its images (N, num_classes, H, W), as long as it is in evaluation mode."""
    model = nn.Sequential(nn.Conv2d(num_classes, num_classes, 1), nn.BatchNorm2d(num_classes))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(num_classes)[..., None, None])
        model[0].bias.zero_()
    return model


def logits_and_masks(rng, n, num_classes, h, w, void=0.15):
    """What `passing_model` takes for images, and masks; images differ in difficulty and in their share of void."""
    frequency = np.linspace(3, 1, num_classes) / np.linspace(3, 1, num_classes).sum()
    masks = rng.choice(num_classes, (n, h, w), p=frequency)
    masks.reshape(-1)[rng.permutation(masks.size)[:num_classes]] = range(num_classes)  # every class occurs
    quality = rng.permutation(np.linspace(0.3, 0.9, n)).reshape(-1, 1, 1)
    preds = np.where(rng.random(masks.shape) < quality, masks, rng.integers(0, num_classes, masks.shape))
    margin = rng.uniform(0.3, 2.5, masks.shape)[..., None]
    logits = rng.normal(0, 0.1, (n, h, w, num_classes)) + np.eye(num_classes)[preds] * (0.5 + margin)
    masks[rng.random(masks.shape) < void * np.linspace(0.5, 3, n).reshape(-1, 1, 1)] = VOID
    return torch.from_numpy(logits).float().permute(0, 3, 1, 2).contiguous(), torch.from_numpy(masks)


def validation_probes(rng):
    """Logits, masks and batch sizes. In the first, axes are all of one length, so that argmax over any of them runs."""
    return [
        (*logits_and_masks(rng, 4, 4, 4, 4), (4,)),
        (*logits_and_masks(rng, 7, 5, 6, 7), (3, 2, 2)),
        (*logits_and_masks(rng, 9, 3, 8, 10), (4, 4, 1)),
    ]


def in_batches(images, masks, sizes):
    """A generator of (images, masks), as the learner's own `batches` gives: it has no length and runs once."""
    yield from zip(images.split(sizes), masks.split(sizes), strict=True)


def cross_entropy(logits, masks):
    """The mean over the pixels that are not void."""
    return F.cross_entropy(logits, masks, ignore_index=VOID)


def counted_pixels(masks):
    return (masks != VOID).sum().item()


# watching

WEIGHTS_CHANGED = "its weights changed"


class WatchedSGD(torch.optim.SGD):
    """SGD that writes its steps into `events`."""

    def __init__(self, parameters, events):
        super().__init__(parameters, lr=0.2)
        self.events = events

    def step(self, closure=None):
        loss = super().step(closure)
        self.events.append("step")
        return loss


class WatchedNetwork:
    """Notes in which mode a network ran and whether it built a graph, and finds what has changed in it since."""

    def __init__(self, model):
        self.model = model
        self.modes: list[bool] = []
        self.graphs: list[bool] = []
        self._before = {name: value.clone() for name, value in model.state_dict().items()}
        model.register_forward_hook(self._note)

    def _note(self, module, inputs, logits):
        self.modes.append(module.training)
        self.graphs.append(logits.requires_grad)

    @property
    def ran(self):
        return bool(self.modes)

    @property
    def mode(self):
        if not self.ran:
            return "never called"
        return "training" if all(self.modes) else "both" if any(self.modes) else "evaluation"

    @property
    def graph(self):
        return "built" if any(self.graphs) else "none"

    @property
    def state(self):
        """ "unchanged", or what is different now."""
        parameters = dict(self.model.named_parameters())
        changed = {
            name for name, value in self.model.state_dict().items() if not torch.equal(value.cpu(), self._before[name])
        }
        found = {
            WEIGHTS_CHANGED: changed & parameters.keys(),
            "BatchNorm's averages changed": changed - parameters.keys(),
            "gradients left in it": [p for p in parameters.values() if p.grad is not None],
            "its parameters frozen": [p for p in parameters.values() if not p.requires_grad],
        }
        return ", ".join(words for words, things in found.items() if len(things)) or "unchanged"


def after_validation(validation, images, masks, sizes, result):
    """What `validation(model, batches)` returns, called `result`, and what it did with the model, given in training mode.

    A model that was trained gives numbers that say nothing; then that is all that is reported. None for a stub.
    """
    model = passing_model(images.shape[1])
    network = WatchedNetwork(model)
    model.train()
    returned = validation(model, in_batches(images, masks, sizes))
    if unfinished(returned):
        if not network.ran:
            return None
        returned = "nothing"
    if WEIGHTS_CHANGED in network.state:
        names = ("mode of the model", "graph", result)
        return {"the model afterwards": WEIGHTS_CHANGED} | dict.fromkeys(names, "not compared")
    return {
        "the model afterwards": network.state,
        "mode of the model": network.mode,
        "graph": network.graph,
        result: returned,
    }
