"""Exercise E08, task 4: `validate`, mean loss and pixel accuracy of a network that is left alone."""

from __future__ import annotations

import numpy as np
import torch

from unet_lab.checks.exercise import Exercise, Mistake
from unet_lab.checks.parts.loops import after_validation, counted_pixels, cross_entropy, validation_probes
from unet_lab.checks.parts.scores import VOID, pixel_counts, recall
from unet_lab.checks.parts.wrong_loops import WRONG_DECISIONS, most_probable


def validate(model, batches, loss_function):
    model.eval()
    total, right, pixels = 0.0, 0, 0
    with torch.no_grad():
        for images, masks in batches:
            logits = model(images)
            counted = masks != 255
            total += loss_function(logits, masks).item() * counted.sum().item()
            right += ((logits.argmax(dim=1) == masks) & counted).sum().item()
            pixels += counted.sum().item()
    return total / max(pixels, 1), right / max(pixels, 1)


def _watched(function, images, masks, sizes):
    def validation(model, batches):
        return function(model, batches, cross_entropy)

    return after_validation(validation, images, masks, sizes, "mean loss and accuracy")


def _mean_loss(losses, masks):
    return np.average(losses, weights=[counted_pixels(m) for m in masks])


def _accuracy(preds, masks):
    right = sum(((p == m) & (m != VOID)).sum().item() for p, m in zip(preds, masks, strict=True))
    return right / sum(map(counted_pixels, masks))


def _mean_accuracy_of_batches(preds, masks):
    return float(np.mean([_accuracy([p], [m]) for p, m in zip(preds, masks, strict=True)]))


def _accuracy_with_void(preds, masks):
    return (torch.cat(preds) == torch.cat(masks)).double().mean().item()


def _mean_accuracy_with_void(weight):
    """The mean over batches of an accuracy that counts void pixels, weighted by `weight(masks)`."""

    def accuracy(preds, masks):
        shares = [(p == m).double().mean().item() for p, m in zip(preds, masks, strict=True)]
        return np.average(shares, weights=[weight(m) for m in masks])

    return accuracy


_OF_COUNTED, _OF_BATCHES = _mean_accuracy_with_void(counted_pixels), _mean_accuracy_with_void(lambda masks: 1)


def _mean_loss_of_batches(losses, masks):
    return float(np.mean(losses))


def _mean_loss_with_void(losses, masks):
    return np.average(losses, weights=[m.numel() for m in masks])


def _number_right(preds, masks):
    return _accuracy(preds, masks) * sum(map(counted_pixels, masks))


def _mean_recall(preds, masks):
    preds, masks = torch.cat(preds), torch.cat(masks)
    return recall(pixel_counts(preds, masks, int(masks[masks != VOID].max()) + 1)).mean().item()


def _void_is_right(preds, masks):
    preds, masks = torch.cat(preds), torch.cat(masks)
    return ((preds == masks) | (masks == VOID)).double().mean().item()


def _both(loss, accuracy):
    return loss, accuracy


def _validated(
    loss=_mean_loss,
    accuracy=_accuracy,
    decide=most_probable,
    result=_both,
    prepare=torch.nn.Module.eval,
    grad=False,
    each=lambda model, loss: None,
    activation=torch.Tensor.contiguous,
):
    """`validate` with something changed."""

    def wrong(model, batches, loss_function):
        prepare(model)
        losses, preds, all_masks = [], [], []
        with torch.set_grad_enabled(grad):
            for images, masks in batches:
                logits = activation(model(images))
                losses.append(loss_function(logits, masks))
                each(model, losses[-1])
                preds.append(decide(logits))
                all_masks.append(masks)
        losses = [value.item() for value in losses]
        return result(loss(losses, all_masks), accuracy(preds, all_masks))

    return wrong


def _trains(model, loss):
    loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.01 * parameter.grad


def _frozen(model):
    model.eval().requires_grad_(False)


def _first_batch_validated(model, batches, loss_function):
    return validate(model, [next(iter(batches))], loss_function)


def _by_images(model, batches, loss_function):
    """Image by image, in inference mode, with sums in float64 and the mode put back."""
    was_training = model.training
    model.train(False)
    rows = []
    with torch.inference_mode():
        for images, masks in batches:
            for image, mask in zip(images.split(1), masks.split(1), strict=True):
                logits = model(image)
                counted = mask.ne(VOID)
                right = logits.softmax(1).max(1).indices[counted] == mask[counted]
                rows.append(
                    torch.stack([loss_function(logits, mask).double() * counted.sum(), right.sum(), counted.sum()])
                )
    model.train(was_training)
    total, right, pixels = torch.stack(rows).sum(0)
    return total / pixels, right / pixels


VALIDATE = Exercise(
    key="e08-validate",
    task="Mean loss, weighted by counted pixels, and pixel accuracy, the share of counted pixels that are right, over "
    "batches, a generator of (images, masks); void is 255. Evaluation mode, no graph, the model stays as it is.",
    reference=validate,
    probes=validation_probes,
    measure=_watched,
    setting="A few batches through a small network that came in training mode",
    mistakes=(
        Mistake(
            "train mode while validating",
            _validated(prepare=torch.nn.Module.train),
            "The model is in training mode: BatchNorm uses each batch's own statistics, and its averages change. Call "
            "model.eval().",
        ),
        Mistake(
            "no no_grad",
            _validated(grad=True),
            "The figures are right, but every forward pass builds a graph that nobody needs; use torch.no_grad().",
        ),
        Mistake(
            "neither eval mode nor no_grad",
            _validated(prepare=torch.nn.Module.train, grad=True),
            "Two things are missing: model.eval() for BatchNorm, and torch.no_grad() for memory and speed.",
        ),
        Mistake(
            "validation that trains",
            _validated(grad=True, each=_trains),
            "The weights are not what they were: validation must not train. No backward() and no step() here.",
        ),
        Mistake(
            "backward while validating",
            _validated(grad=True, each=lambda model, loss: loss.backward()),
            "backward() leaves gradients of the validation images in the model; validation only looks.",
        ),
        Mistake(
            "parameters frozen",
            _validated(prepare=_frozen),
            "requires_grad is still off afterwards, so the next epoch can't train; torch.no_grad() ends by itself.",
        ),
        Mistake(
            "mean over batches",
            _validated(_mean_loss_of_batches, _mean_accuracy_of_batches),
            "Loss and accuracy are means over batches, in which a small batch weighs as much as a full one. Add up over "
            "pixels and divide once.",
            others=(_validated(_mean_loss_of_batches, _OF_BATCHES),),
        ),
        Mistake(
            "loss averaged over batches",
            _validated(_mean_loss_of_batches),
            "The accuracy is right; the loss is a mean over batches. Weight each batch by its counted pixels.",
        ),
        Mistake(
            "accuracy averaged over batches",
            _validated(accuracy=_mean_accuracy_of_batches),
            "The loss is right; the accuracy is a mean over batches. Count right pixels over all batches, divide once.",
        ),
        Mistake(
            "void counted",
            _validated(_mean_loss_with_void, _accuracy_with_void),
            "Void pixels count in both figures; leave out the pixels where masks == 255.",
            others=(_validated(_mean_loss_with_void, _OF_COUNTED),),
        ),
        Mistake(
            "void counted in the accuracy",
            _validated(accuracy=_accuracy_with_void),
            "Void pixels count as wrong, since no prediction is 255; leave them out of the right ones and of all.",
            others=(_validated(accuracy=_OF_COUNTED), _validated(accuracy=_OF_BATCHES)),
        ),
        Mistake(
            "void counted in the loss",
            _validated(_mean_loss_with_void),
            "You weight a batch's loss by all its pixels, or by its images; weight it by the pixels that are not 255.",
        ),
        Mistake(
            "void counted as right",
            _validated(accuracy=_void_is_right),
            "Void pixels count as right, whatever is predicted there; leave them out, right or wrong.",
        ),
        Mistake(
            "last batch only",
            _validated(lambda losses, masks: losses[-1], lambda preds, masks: _accuracy(preds[-1:], masks[-1:])),
            "These are the figures of the last batch; add up over all of them.",
        ),
        Mistake(
            "first batch only",
            _first_batch_validated,
            "These are the figures of the first batch: does the function return inside the loop?",
        ),
        Mistake(
            "sum of the losses",
            _validated(lambda losses, masks: sum(losses)),
            "The accuracy is right; the losses are added up, not averaged. Divide by the counted pixels.",
        ),
        *(Mistake(wrong.name, _validated(decide=wrong.answer), wrong.sentence) for wrong in WRONG_DECISIONS),
        Mistake(
            "argmax without an axis",
            _validated(decide=torch.argmax),
            "argmax without dim gives one number for the whole batch; you want a class for each pixel: dim=1.",
        ),
        Mistake(
            "softmax before the loss",
            _validated(activation=torch.nn.Softmax(dim=1)),
            "The loss applies softmax itself; give it the logits as they come from the model.",
        ),
        Mistake(
            "accuracy in percent",
            _validated(result=lambda loss, accuracy: (loss, 100 * accuracy)),
            "The accuracy is in percent; return a share between 0 and 1.",
        ),
        Mistake(
            "number of right pixels",
            _validated(accuracy=_number_right),
            "This counts the right pixels; accuracy is their share of the counted ones.",
        ),
        Mistake(
            "mean accuracy of the classes",
            _validated(accuracy=_mean_recall),
            "This averages an accuracy a class; pixel accuracy is one share over all counted pixels.",
        ),
        Mistake(
            "error rate",
            _validated(accuracy=lambda preds, masks: 1 - _accuracy(preds, masks)),
            "This is the share of wrong pixels; accuracy is the share of right ones.",
        ),
        Mistake(
            "loss and accuracy swapped",
            _validated(result=lambda loss, accuracy: (accuracy, loss)),
            "The two figures are right and in the wrong order: the loss comes first.",
        ),
        Mistake(
            "only the loss",
            _validated(result=lambda loss, accuracy: loss),
            "The loss is right; return the pixel accuracy as well: loss, accuracy.",
        ),
        Mistake(
            "only the accuracy",
            _validated(result=lambda loss, accuracy: accuracy),
            "The accuracy is right; return the mean loss as well, before it: loss, accuracy.",
        ),
        Mistake(
            "returns nothing",
            _validated(result=lambda loss, accuracy: None),
            "The function runs the model but returns nothing: return the mean loss and the accuracy.",
        ),
    ),
    variants=(_by_images, _validated()),
    hints=(
        "What may validation not do? Two switches take care of it, one for BatchNorm and one for the graph. Then three "
        "sums run over the batches.",
        "Loss = Σ lossᵦ nᵦ / Σ nᵦ, accuracy = (right pixels) / Σ nᵦ, where nᵦ counts the pixels with masks != 255. The "
        "prediction is logits.argmax(dim=1).",
        "model.eval(); with torch.no_grad(): for images, masks in batches: counted = masks != 255; right pixels are "
        "those with preds == masks and counted; add up loss.item() * n, right and n; divide after the loop.",
    ),
)
