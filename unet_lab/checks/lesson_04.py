"""Lesson 4, training: one training step, and validation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from unet_lab.checks.compare import unfinished
from unet_lab.checks.exercise import Exercise, Mistake
from unet_lab.checks.scores import mean_over_present, pixel_counts

VOID = 255


def _tiny_model(weights, num_classes):
    """Two convolutions around a BatchNorm, which tells the two modes apart; the weights come from a flat tensor."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, num_classes, 1))
    values = weights.clone()
    with torch.no_grad():
        for tensor in [*model.parameters(), model[1].running_mean, model[1].running_var]:
            tensor.copy_(values[: tensor.numel()].view_as(tensor))
            values = values[tensor.numel() :]
        model[1].running_var.abs_().add_(0.5)
    return model


def _images_weights_and_masks(rng, n, num_classes, void=0.0):
    images = torch.from_numpy(rng.normal(size=(n, 1, 8, 8))).float()
    masks = torch.from_numpy(rng.integers(0, num_classes, (n, 8, 8)))
    masks[torch.from_numpy(rng.random((n, 8, 8)) < void)] = VOID
    return images, masks, torch.from_numpy(rng.normal(size=80)).float()


# train-step


def train_step(model, images, masks, optimizer, loss_function):
    optimizer.zero_grad()
    loss = loss_function(model(images), masks)
    loss.backward()
    optimizer.step()
    return loss.item()


class _WatchedSGD(torch.optim.SGD):
    """SGD that writes its steps into `events`."""

    def __init__(self, parameters, events):
        super().__init__(parameters, lr=0.2)
        self.events = events

    def step(self, closure=None):
        loss = super().step(closure)
        self.events.append("step")
        return loss


def _after_three_steps(function, images, masks, weights):
    """What three steps on batches of four leave behind."""
    model = _tiny_model(weights, num_classes=3)
    events: list[str] = []
    optimizer = _WatchedSGD(model.parameters(), events)

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


def _without_zero_grad(model, images, masks, optimizer, loss_function):
    loss = loss_function(model(images), masks)
    loss.backward()
    optimizer.step()
    return loss.item()


def _without_step(model, images, masks, optimizer, loss_function):
    optimizer.zero_grad()
    loss = loss_function(model(images), masks)
    loss.backward()
    return loss.item()


def _without_backward(model, images, masks, optimizer, loss_function):
    optimizer.zero_grad()
    loss = loss_function(model(images), masks)
    optimizer.step()
    return loss.item()


def _step_before_backward(model, images, masks, optimizer, loss_function):
    optimizer.zero_grad()
    loss = loss_function(model(images), masks)
    optimizer.step()
    loss.backward()
    return loss.item()


def _zero_grad_between(model, images, masks, optimizer, loss_function):
    loss = loss_function(model(images), masks)
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()
    return loss.item()


def _steps_twice(model, images, masks, optimizer, loss_function):
    optimizer.zero_grad()
    loss = loss_function(model(images), masks)
    loss.backward()
    optimizer.step()
    optimizer.step()
    return loss.item()


def _in_eval_mode(model, images, masks, optimizer, loss_function):
    model.eval()
    return train_step(model, images, masks, optimizer, loss_function)


def _softmax_first(model, images, masks, optimizer, loss_function):
    return train_step(model, images, masks, optimizer, lambda logits, m: loss_function(logits.softmax(1), m))


def _with_graph(model, images, masks, optimizer, loss_function):
    optimizer.zero_grad()
    loss = loss_function(model(images), masks)
    loss.backward()
    optimizer.step()
    return loss


def _returns_nothing(model, images, masks, optimizer, loss_function):
    train_step(model, images, masks, optimizer, loss_function)


def _loss_after_the_step(model, images, masks, optimizer, loss_function):
    train_step(model, images, masks, optimizer, loss_function)
    with torch.no_grad():
        return loss_function(model(images), masks).item()


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
    probes=lambda rng: [_images_weights_and_masks(rng, 12, 3) for _ in range(2)],
    measure=_after_three_steps,
    setting="Three steps of SGD on a tiny network",
    mistakes=(
        Mistake(
            "no zero_grad",
            _without_zero_grad,
            "The gradients of earlier batches are still there and add up: call optimizer.zero_grad() in each step.",
        ),
        Mistake(
            "no step",
            _without_step,
            "The gradients are computed but never used: call optimizer.step() after loss.backward().",
        ),
        Mistake(
            "no backward", _without_backward, "optimizer.step() finds no gradients: call loss.backward() before it."
        ),
        Mistake(
            "step before backward",
            _step_before_backward,
            "optimizer.step() comes before loss.backward(), so it finds no gradients; swap the two.",
        ),
        Mistake(
            "gradients cleared before the step",
            _zero_grad_between,
            "zero_grad() between backward() and step() throws the new gradients away; clear them before backward().",
        ),
        Mistake("two steps", _steps_twice, "optimizer.step() is called twice for one gradient; once is right."),
        Mistake(
            "evaluation mode",
            _in_eval_mode,
            "In evaluation mode BatchNorm uses its running statistics and stops learning them; train with "
            "model.train().",
        ),
        Mistake(
            "softmax before the loss",
            _softmax_first,
            "The loss applies softmax itself; give it the logits as they come from the model.",
        ),
        Mistake(
            "returns the loss with its graph",
            _with_graph,
            "The training is right, but the tensor you return keeps the whole graph in memory: return loss.item().",
        ),
        Mistake("returns nothing", _returns_nothing, "The training is right; return the loss as a float, loss.item()."),
        Mistake(
            "loss after the step",
            _loss_after_the_step,
            "The training step is right, but this loss is computed again after it; return the one that gave the "
            "gradients.",
        ),
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
    return _validate(model, batches, num_classes)


def _dataset_miou(preds, masks, num_classes):
    return mean_over_present(pixel_counts(torch.cat(preds), torch.cat(masks), num_classes))


def _validate(model, batches, num_classes, *, score=_dataset_miou, evaluation=True, no_grad=True, restore=True):
    """`validate` with one thing changed; `score` takes the lists of preds and of masks, and num_classes."""
    was_training = model.training
    if evaluation:
        model.eval()
    with torch.set_grad_enabled(not no_grad):
        preds = [model(images).argmax(1) for images, _ in batches]
    if restore:
        model.train(was_training)
    return score(preds, [masks for _, masks in batches], num_classes)


def _watched_validation(function, images, masks, weights):
    """The score on three batches of unequal size, and what the forward passes saw."""
    model = _tiny_model(weights, num_classes=4)
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


def _mean_over(parts):
    """Scores part by part, then their mean."""

    def score(preds, masks, num_classes):
        scores = [mean_over_present(pixel_counts(p, m, num_classes)) for p, m in parts(preds, masks)]
        return sum(scores) / len(scores)

    return score


def _images(preds, masks):
    return zip(torch.cat(preds), torch.cat(masks), strict=True)


def _void_counted(preds, masks, num_classes):
    preds, masks = torch.cat(preds), torch.cat(masks)
    pairs = [(preds == c, masks == c) for c in range(num_classes)]
    return sum(((p & m).sum() / (p | m).sum()).item() for p, m in pairs) / num_classes


def _pixel_accuracy(preds, masks, num_classes):
    counts = pixel_counts(torch.cat(preds), torch.cat(masks), num_classes)
    return (counts.diagonal().sum() / counts.sum()).item()


def _changed(**changes):
    return lambda model, batches, num_classes: _validate(model, batches, num_classes, **changes)


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
    probes=lambda rng: [_images_weights_and_masks(rng, 8, 4, void=0.15) for _ in range(2)],
    measure=_watched_validation,
    setting="Three batches through a tiny network that was in training mode",
    mistakes=(
        Mistake(
            "training mode",
            _changed(evaluation=False),
            "The model is still in training mode: BatchNorm uses each batch's own statistics and changes its "
            "running ones. Call model.eval().",
        ),
        Mistake(
            "gradients kept",
            _changed(no_grad=False),
            "The score is right, but every forward pass builds a graph: put the loop under torch.no_grad().",
        ),
        Mistake(
            "neither evaluation mode nor no_grad",
            _changed(evaluation=False, no_grad=False),
            "Two things are missing: model.eval() for BatchNorm, and torch.no_grad() for memory and speed.",
        ),
        Mistake(
            "left in evaluation mode",
            _changed(restore=False),
            "The score is right, but training would go on in evaluation mode: call model.train() at the end.",
        ),
        Mistake(
            "mean over batches",
            _changed(score=_mean_over(lambda p, m: zip(p, m, strict=True))),
            "The mean of the batches' mIoU depends on how the images were batched; sum the counts of all batches, "
            "then score once.",
        ),
        Mistake(
            "mean over images",
            _changed(score=_mean_over(_images)),
            "This is the mean of the images' mIoU; sum the counts of all images, then score once.",
        ),
        Mistake(
            "last batch only",
            _changed(score=_mean_over(lambda p, m: [(p[-1], m[-1])])),
            "Only the last batch is scored; collect the counts of all of them.",
        ),
        Mistake(
            "first batch only",
            _changed(score=_mean_over(lambda p, m: [(p[0], m[0])])),
            "Only the first batch is scored: does the function return inside the loop?",
        ),
        Mistake(
            "void counted",
            _changed(score=_void_counted),
            "Predictions at void pixels are counted as false alarms; leave out the pixels where masks == 255.",
        ),
        Mistake(
            "pixel accuracy",
            _changed(score=_pixel_accuracy),
            "This is the share of right pixels; mIoU takes one IoU for each class and then their mean.",
        ),
        Mistake(
            "returns nothing",
            _changed(score=lambda preds, masks, num_classes: None),
            "The function runs the model but returns nothing: return the mIoU.",
        ),
    ),
    variants=(_always_back_to_training, _changed(score=lambda p, m, c: torch.tensor(_dataset_miou(p, m, c)))),
    hints=(
        "What differs between training and validation? Two switches: model.eval() and torch.no_grad().",
        "Collect one confusion matrix over all batches: ConfusionMatrix(num_classes), then .update(preds, masks) in "
        "the loop.",
        "preds = model(images).argmax(dim=1); the score is .scores().mean_iou; before you return it, model.train().",
    ),
)

EXERCISES = (TRAIN_STEP, VALIDATE)
