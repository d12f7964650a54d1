"""Lesson 4, training: one training step, and validation."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from unet_lab.checks.compare import unfinished
from unet_lab.checks.exercise import Exercise, Mistake
from unet_lab.checks.parts.loops import WatchedSGD, images_masks_and_weights, tiny_model
from unet_lab.checks.parts.wrong_loops import (
    MIOU_MISTAKES,
    STEP_MISTAKES,
    dataset_miou,
    scored,
    scored_with,
    train_step,
)

# train-step


def _after_three_steps(function, images, masks, weights):
    """What three steps on batches of four leave behind."""
    model = tiny_model(weights, num_classes=3)
    events: list[str] = []
    optimizer = WatchedSGD(model.parameters(), events)

    def loss_function(logits, masks):
        loss = F.cross_entropy(logits, masks)
        if loss.requires_grad:
            loss.register_hook(lambda gradient: events.append("backward"))
        return loss

    model.train()
    batches = zip(images.split(4), masks.split(4), strict=True)
    returned = [function(model, i, m, optimizer, loss_function) for i, m in batches]
    if unfinished(returned):
        if not events:
            return None
        returned = ["nothing"] * 3
    graph = any(isinstance(value, torch.Tensor) and value.requires_grad for value in returned)
    return {
        "order of backward and step": ", ".join(events),
        "parameters": torch.cat([parameter.detach().flatten() for parameter in model.parameters()]),
        "running mean of BatchNorm": model[1].running_mean,
        "returned losses": returned,
        "loss returned with its graph": str(graph),
    }


def _with_graph(model, images, masks, optimizer, loss_function):
    optimizer.zero_grad()
    loss = loss_function(model(images), masks)
    loss.backward()
    optimizer.step()
    return loss


def _returns_nothing(model, images, masks, optimizer, loss_function):
    train_step(model, images, masks, optimizer, loss_function)


def _times_batch_size(model, images, masks, optimizer, loss_function):
    return train_step(model, images, masks, optimizer, loss_function) * len(images)


def _clears_afterwards(model, images, masks, optimizer, loss_function):
    model.train()
    loss = loss_function(model(images), masks)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)
    return loss.detach()


def _model_zero_grad(model, images, masks, optimizer, loss_function):
    logits = model(images)
    model.zero_grad()
    loss = loss_function(logits, masks)
    loss.backward()
    optimizer.step()
    return float(loss.detach())


TRAIN_STEP = Exercise(
    key="train-step",
    task="One training step: gradients, update of the parameters, and the loss before the update as a float.",
    reference=train_step,
    probes=lambda rng: [images_masks_and_weights(rng, 12, 3) for _ in range(2)],
    measure=_after_three_steps,
    setting="Three steps of SGD on a tiny network",
    mistakes=(
        *STEP_MISTAKES,
        Mistake(
            "returns the loss with its graph",
            _with_graph,
            "The training is right, but the tensor you return keeps the whole graph in memory: return loss.item().",
        ),
        Mistake("returns nothing", _returns_nothing, "The training is right; return the loss as a float, loss.item()."),
        Mistake(
            "loss times batch size",
            _times_batch_size,
            "The loss function has already taken the mean over the batch; return it as it is.",
        ),
    ),
    variants=(_clears_afterwards, _model_zero_grad),
    hints=(
        "Five things in order: clear the old gradients, predict, compare, go backward, step.",
        "loss = loss_function(model(images), masks) compares; loss.backward() fills the gradients, optimizer.step() "
        "uses them.",
        "optimizer.zero_grad() comes before loss.backward(); loss.item() is the loss as a float.",
    ),
)


# validate


def validate(model, batches, num_classes):
    return scored(model, batches, num_classes)


def _watched_validation(function, images, masks, weights):
    """The score on three batches of unequal size, and what the forward passes saw."""
    model = tiny_model(weights, num_classes=4)
    seen: list[tuple[bool, bool]] = []
    model.register_forward_hook(lambda module, inputs, logits: seen.append((module.training, logits.requires_grad)))
    model.train()
    sizes = (4, 3, 1)
    score = function(model, list(zip(images.split(sizes), masks.split(sizes), strict=True)), 4)
    if unfinished(score):
        if not seen:
            return None
        score = "nothing"
    return {
        "model in evaluation mode": str(not any(training for training, _ in seen)),
        "without gradients": str(not any(graph for _, graph in seen)),
        "training mode restored": str(model.training),
        "mIoU": score,
    }


def _always_back_to_training(model, batches, num_classes):
    from unet_lab.metrics import ConfusionMatrix

    confusion = ConfusionMatrix(num_classes)
    model.eval()
    with torch.inference_mode():
        for images, masks in batches:
            confusion.update(model(images).argmax(dim=1), masks)
    model.train()
    return confusion.scores().mean_iou


VALIDATE = Exercise(
    key="validate",
    task="mIoU over all batches, a list of (images, masks) with void = 255: evaluation mode, no gradients, the mode "
    "put back.",
    reference=validate,
    probes=lambda rng: [images_masks_and_weights(rng, 8, 4, void=0.15) for _ in range(2)],
    measure=_watched_validation,
    setting="Three batches through a tiny network that was in training mode",
    mistakes=(
        *MIOU_MISTAKES,
        Mistake(
            "left in evaluation mode",
            scored_with(restore=False),
            "The score is right, but training would go on in evaluation mode: call model.train() at the end.",
        ),
    ),
    variants=(_always_back_to_training, scored_with(score=lambda p, m, c: torch.tensor(dataset_miou(p, m, c)))),
    hints=(
        "What differs between training and validation? Two switches: model.eval() and torch.no_grad().",
        "Collect one confusion matrix over all batches: ConfusionMatrix(num_classes), then .update(preds, masks) in "
        "the loop.",
        "preds = model(images).argmax(dim=1); the score is .scores().mean_iou; before you return it, model.train().",
    ),
)

EXERCISES = (TRAIN_STEP, VALIDATE)
