"""Wrong training steps and wrong validations: lesson 4 and exercise E08 make their mistakes of them.

A step is `step(model, images, masks, optimizer, loss_function) -> loss`, so that it serves the check of one step and
that of an epoch. A score takes the lists of predictions and of masks, one entry a batch, and the number of classes.
"""

from __future__ import annotations

import torch

from unet_lab.checks.exercise import Mistake
from unet_lab.checks.parts.scores import mean_over_present, pixel_counts

# wrong training steps


def train_step(model, images, masks, optimizer, loss_function):
    optimizer.zero_grad()
    loss = loss_function(model(images), masks)
    loss.backward()
    optimizer.step()
    return loss.item()


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


def _loss_after_the_step(model, images, masks, optimizer, loss_function):
    train_step(model, images, masks, optimizer, loss_function)
    with torch.no_grad():
        return loss_function(model(images), masks).item()


IN_EVALUATION = Mistake(
    "evaluation mode",
    _in_eval_mode,
    "In evaluation mode BatchNorm uses its running statistics and stops learning them; train with model.train().",
)

STEP_MISTAKES = (
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
    Mistake("no backward", _without_backward, "optimizer.step() finds no gradients: call loss.backward() before it."),
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
    IN_EVALUATION,
    Mistake(
        "softmax before the loss",
        _softmax_first,
        "The loss applies softmax itself; give it the logits as they come from the model.",
    ),
    Mistake(
        "loss after the step",
        _loss_after_the_step,
        "The training step is right, but this loss is computed again after it; return the one that gave the gradients.",
    ),
)


# wrong scores over batches


def dataset_miou(preds, masks, num_classes):
    return mean_over_present(pixel_counts(torch.cat(preds), torch.cat(masks), num_classes))


def most_probable(logits):
    return logits.argmax(dim=1)


def scored(
    model,
    batches,
    num_classes,
    *,
    score=dataset_miou,
    decide=most_probable,
    evaluation=True,
    no_grad=True,
    restore=True,
):
    """`score` of a network over batches; `decide` makes class ids (N, H, W) of logits."""
    was_training = model.training
    if evaluation:
        model.eval()
    preds, masks = [], []
    with torch.set_grad_enabled(not no_grad):
        for images, batch_masks in batches:
            preds.append(decide(model(images)))
            masks.append(batch_masks)
    if restore:
        model.train(was_training)
    return score(preds, masks, num_classes)


def scored_with(**changes):
    return lambda model, batches, num_classes: scored(model, batches, num_classes, **changes)


def mean_over(parts):
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


def pixel_accuracy(preds, masks, num_classes):
    counts = pixel_counts(torch.cat(preds), torch.cat(masks), num_classes)
    return (counts.diagonal().sum() / counts.sum()).item()


MIOU_MISTAKES = (
    Mistake(
        "training mode",
        scored_with(evaluation=False),
        "The model is still in training mode: BatchNorm uses each batch's own statistics and changes its running "
        "ones. Call model.eval().",
    ),
    Mistake(
        "gradients kept",
        scored_with(no_grad=False),
        "The score is right, but every forward pass builds a graph: put the loop under torch.no_grad().",
    ),
    Mistake(
        "neither evaluation mode nor no_grad",
        scored_with(evaluation=False, no_grad=False),
        "Two things are missing: model.eval() for BatchNorm, and torch.no_grad() for memory and speed.",
    ),
    Mistake(
        "mean over batches",
        scored_with(score=mean_over(lambda p, m: zip(p, m, strict=True))),
        "The mean of the batches' mIoU depends on how the images were batched; sum the counts of all batches, "
        "then score once.",
    ),
    Mistake(
        "mean over images",
        scored_with(score=mean_over(_images)),
        "This is the mean of the images' mIoU; sum the counts of all images, then score once.",
    ),
    Mistake(
        "last batch only",
        scored_with(score=mean_over(lambda p, m: [(p[-1], m[-1])])),
        "Only the last batch is scored; collect the counts of all of them.",
    ),
    Mistake(
        "first batch only",
        scored_with(score=mean_over(lambda p, m: [(p[0], m[0])])),
        "Only the first batch is scored: does the function return inside the loop?",
    ),
    Mistake(
        "void counted",
        scored_with(score=_void_counted),
        "Predictions at void pixels are counted as false alarms; leave out the pixels where masks == 255.",
    ),
    Mistake(
        "pixel accuracy",
        scored_with(score=pixel_accuracy),
        "This is the share of right pixels; mIoU takes one IoU for each class and then their mean.",
    ),
    Mistake(
        "returns nothing",
        scored_with(score=lambda preds, masks, num_classes: None),
        "The function runs the model but returns nothing: return the mIoU.",
    ),
)

WRONG_DECISIONS = (
    Mistake(
        "argmax over the batch",
        lambda logits: logits.argmax(0),
        "This argmax runs over the images of the batch; the classes are on axis 1: dim=1.",
    ),
    Mistake(
        "argmax over the rows",
        lambda logits: logits.argmax(2),
        "This argmax runs over the rows of the image; the classes are on axis 1: dim=1.",
    ),
    Mistake(
        "argmax over the columns",
        lambda logits: logits.argmax(-1),
        "This argmax runs over the last axis, the columns of the image; the classes are on axis 1: dim=1.",
    ),
)
"""Class ids over the wrong axis; each answer takes logits (N, C, H, W)."""
