"""Exercise E08, task 4: the batches, one epoch of training, and validation."""

from __future__ import annotations

import itertools
import re
import weakref

import numpy as np
import torch

from unet_lab.checks.compare import unfinished
from unet_lab.checks.e08.batches import BATCHES
from unet_lab.checks.e08.validate import VALIDATE
from unet_lab.checks.exercise import Exercise, Mistake
from unet_lab.checks.parts.loops import (
    WatchedNetwork,
    WatchedSGD,
    counted_pixels,
    cross_entropy,
    images_masks_and_weights,
    in_batches,
    tiny_model,
)
from unet_lab.checks.parts.scores import VOID
from unet_lab.checks.parts.wrong_loops import IN_EVALUATION, STEP_MISTAKES, train_step


def train_one_epoch(model, batches, optimizer, loss_function):
    model.train()
    total, pixels = 0.0, 0
    for images, masks in batches:
        optimizer.zero_grad()
        loss = loss_function(model(images), masks)
        loss.backward()
        optimizer.step()
        counted = (masks != 255).sum().item()
        total, pixels = total + loss.item() * counted, pixels + counted
    return total / max(pixels, 1)


class _WatchedLoss:
    """Cross-entropy that writes each backward pass into `events` and knows which graphs are still in memory.

    A hook on a loss lives as long as the loss or anything computed from it with gradients; `_Alive` lives in the hook.
    """

    class _Alive:
        pass

    def __init__(self, events):
        self.events = events
        self.called = False
        self.largest_number_kept = 0
        self._graphs: list[weakref.ref] = []

    @property
    def kept(self):
        return sum(graph() is not None for graph in self._graphs)

    def __call__(self, logits, masks):
        self.called = True
        self.largest_number_kept = max(self.largest_number_kept, self.kept)
        loss = cross_entropy(logits, masks)
        if loss.requires_grad:
            alive = self._Alive()
            self._graphs.append(weakref.ref(alive))
            loss.register_hook(lambda gradient, alive=alive: self.events.append("backward"))
        return loss


MODE, LOSS_FUNCTION, ORDER = "mode of the model", "loss_function", "order of backward and step"


def _in_order(events):
    """ "5 × (backward, step)" for example: what repeats all along, or else how often each comes in a row."""
    for length in (2, 3):
        if events and events == events[:length] * (len(events) // length) and len(set(events)) > 1:
            return f"{len(events) // length} × ({', '.join(events[:length])})"
    return ", then ".join(f"{len(list(same))} × {event}" for event, same in itertools.groupby(events)) or "neither"


def _everywhere(fact, matches):
    """A symptom: the fact matches in all probes, and the model ran."""
    return lambda got, expected: all(facts and facts[MODE] != "never called" and matches(facts[fact]) for facts in got)


def _after_an_epoch(function, images, masks, weights):
    """What an epoch of five batches of unequal size leaves behind; the model comes in evaluation mode."""
    model = tiny_model(weights, num_classes=3)
    network, events = WatchedNetwork(model), []
    loss_function = _WatchedLoss(events)
    model.eval()
    returned = function(
        model, in_batches(images, masks, (3, 3, 3, 2, 1)), WatchedSGD(model.parameters(), events), loss_function
    )
    if unfinished(returned):
        if not network.ran:
            return None
        returned = "nothing"
    with_graph = isinstance(returned, torch.Tensor) and returned.requires_grad
    # the loss of the batch before is still in a variable when the next one is computed: one is no collection
    kept = with_graph or loss_function.largest_number_kept > 2
    return {
        MODE: network.mode,
        LOSS_FUNCTION: "called" if loss_function.called else "never called",
        ORDER: _in_order(events),
        "parameters": torch.cat([parameter.detach().cpu().flatten() for parameter in model.parameters()]),
        "running mean of BatchNorm": model[1].running_mean.cpu(),
        "mean loss": returned,
        "graphs of earlier batches": "kept in memory" if kept else "freed",
    }


def _epoch(step=train_step, weight=counted_pixels, mean=lambda losses, weights: np.average(losses, weights=weights)):
    """`train_one_epoch` with something changed: `mean` makes a number of the batches' losses and weights."""

    def wrong(model, batches, optimizer, loss_function):
        model.train()
        losses, weights = [], []
        for images, masks in batches:
            losses.append(step(model, images, masks, optimizer, loss_function))
            weights.append(weight(masks))
        return mean(losses, weights)

    return wrong


def _with_graphs(model, batches, optimizer, loss_function):
    model.train()
    total, pixels = 0, 0
    for images, masks in batches:
        optimizer.zero_grad()
        loss = loss_function(model(images), masks)
        loss.backward()
        optimizer.step()
        total, pixels = total + loss * counted_pixels(masks), pixels + counted_pixels(masks)
    return total / pixels


def _first_batch(model, batches, optimizer, loss_function):
    return train_one_epoch(model, [next(iter(batches))], optimizer, loss_function)


def _one_step_at_the_end(model, batches, optimizer, loss_function):
    model.train()
    optimizer.zero_grad()
    losses, weights = [], []
    for images, masks in batches:
        loss = loss_function(model(images), masks)
        loss.backward()
        losses.append(loss.item())
        weights.append(counted_pixels(masks))
    optimizer.step()
    return np.average(losses, weights=weights)


def _one_step_after_the_loop(model, batches, optimizer, loss_function):
    """Its only gradient is that of the last batch."""
    model.train()
    losses, weights = [], []
    for images, masks in batches:
        optimizer.zero_grad()
        loss = loss_function(model(images), masks)
        loss.backward()
        losses.append(loss.item())
        weights.append(counted_pixels(masks))
    optimizer.step()
    return np.average(losses, weights=weights)


def _own_loss(model, images, masks, optimizer, loss_function):
    return train_step(model, images, masks, optimizer, cross_entropy)


def _weighted_before_backward(model, images, masks, optimizer, loss_function):
    counted = counted_pixels(masks)
    return train_step(model, images, masks, optimizer, lambda x, m: loss_function(x, m) * counted) / counted


def _by_modules(model, batches, optimizer, loss_function):
    for module in model.modules():
        module.training = True
    losses, weights = [], []
    for images, masks in batches:
        loss = loss_function(model(images), masks)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        losses.append(loss.detach())
        weights.append((masks != VOID).sum())
    return (torch.stack(losses) * torch.stack(weights)).sum() / sum(weights)


TRAIN_ONE_EPOCH = Exercise(
    key="e08-train-one-epoch",
    task="One epoch over batches, a generator of (images, masks): a step for each batch in training mode. Return the "
    "mean loss, each batch weighted by its pixels that are not void (255).",
    reference=train_one_epoch,
    probes=lambda rng: [
        images_masks_and_weights(rng, 12, 3, void=np.linspace(0.1, 0.8, 12)),
        images_masks_and_weights(rng, 12, 3, void=np.linspace(0.7, 0, 12)),
    ],
    measure=_after_an_epoch,
    setting="Five batches through a small network that came in evaluation mode",
    mistakes=(
        Mistake(
            "evaluation mode",
            _epoch(IN_EVALUATION.answer),
            "The model is in evaluation mode, as validation left it, and BatchNorm learns nothing: call model.train() first.",
            symptom=_everywhere(MODE, lambda mode: mode == "evaluation"),
        ),
        Mistake(
            "loss_function ignored",
            _epoch(_own_loss),
            "loss_function was never called. It is the loss to train with, whichever it is.",
            symptom=_everywhere(LOSS_FUNCTION, lambda called: called == "never called"),
        ),
        *(
            Mistake(wrong.name, _epoch(wrong.answer), wrong.sentence)
            for wrong in STEP_MISTAKES
            if wrong is not IN_EVALUATION
        ),
        Mistake(
            "graph kept by summing tensors",
            _with_graphs,
            "Loss tensors that you add up or collect keep the graph of every batch in memory; add up loss.item().",
        ),
        Mistake(
            "mean over batches",
            _epoch(weight=lambda masks: 1),
            "Each batch weighs the same in your mean, however small it is; weight its loss by its counted pixels.",
        ),
        Mistake(
            "void counted in the mean",
            _epoch(weight=torch.numel),
            "You weight a batch by all its pixels, or by its images; weight it by the pixels that are not 255.",
        ),
        Mistake(
            "last loss only",
            _epoch(mean=lambda losses, weights: losses[-1]),
            "The training is right, but this is the loss of the last batch; return the mean over all of them.",
        ),
        Mistake(
            "sum of the losses",
            _epoch(mean=lambda losses, weights: sum(losses)),
            "This is the sum of the batches' losses, which grows with their number; return the weighted mean.",
        ),
        Mistake(
            "weighted sum, not divided",
            _epoch(mean=np.dot),
            "The weighted losses are added up and not divided: divide by the counted pixels of all batches.",
        ),
        Mistake(
            "divided by the number of batches",
            _epoch(mean=lambda losses, weights: np.dot(losses, weights) / len(losses)),
            "A sum weighted by pixels is divided by the number of pixels, not by the number of batches.",
        ),
        Mistake(
            "first batch only",
            _first_batch,
            "Only the first batch is trained on: does the function return inside the loop?",
        ),
        Mistake(
            "one step for all batches",
            _one_step_at_the_end,
            "There is one optimizer.step() for all batches, after the loop; make one step a batch.",
            others=(_one_step_after_the_loop,),
            symptom=_everywhere(ORDER, lambda order: re.fullmatch(r"\d+ × backward, then 1 × step", order)),
        ),
        Mistake(
            "weighted loss goes backward",
            _epoch(_weighted_before_backward),
            "The loss is multiplied by its pixels before backward(), so each step is far too long. Weight "
            "only the number that you report.",
        ),
        Mistake(
            "returns nothing",
            _epoch(mean=lambda losses, weights: None),
            "The training is right, but the function returns nothing: return the mean loss.",
        ),
    ),
    variants=(_by_modules, _epoch()),
    hints=(
        "Two things run side by side: the step of lesson 4 for each batch, and a sum for the mean. What must be set "
        "before the loop, since validation left the model in evaluation mode?",
        "Mean loss = Σ lossᵦ nᵦ / Σ nᵦ over the batches b, where nᵦ is the number of pixels with masks != 255. "
        "loss.item() is a number without a graph.",
        "model.train(); total, pixels = 0.0, 0; for images, masks in batches: the four lines of the step, then "
        "add loss.item() * n to total and n to pixels; after the loop, total / pixels.",
    ),
)

EXERCISES = (BATCHES, TRAIN_ONE_EPOCH, VALIDATE)
