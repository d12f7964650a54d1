"""Exercise E08, tasks 6, 7 and 8: the trained model, the diagnosis of broken runs, the written comparison.

There is nothing to compare with a reference here: each check judges the answer whole.
"""

from __future__ import annotations

import difflib
import re
from typing import Any

import torch
from torch import Tensor, nn

from unet_lab.checks.exercise import Exercise
from unet_lab.data import SegmentationDataset
from unet_lab.e08.broken_runs import CHOICES, LETTERS, Diagnosis, looks_like, mistakes_of
from unet_lab.e08.budget import (
    BASE_CHANNELS,
    FULL_AT,
    LARGEST_NETWORK,
    PIXELS,
    POINTS,
    ZERO_AT,
    Budget,
    points_for,
)
from unet_lab.e08.learner import Result
from unet_lab.metrics import ConfusionMatrix, SegmentationScores

Verdict = tuple[str, str, str]
"""Status, name of the mistake, message."""


class _Wrong(Exception):
    """Ends a judgement: the name of the mistake and the sentence for the learner."""

    def __init__(self, name: str, sentence: str):
        super().__init__(name, sentence)
        self.verdict: Verdict = ("wrong", name, sentence)


# e08-trained-model

IMAGES_AT_ONCE = 16
ONE_CLASS = 0.99  # of all pixels: then the network has collapsed to one class


def judge_trained_model(answer: Any) -> Verdict:
    """mIoU, points and IoU by class on the learner's held-out scenes, or what keeps the model from being scored."""
    if not isinstance(answer, Result):
        sentence = 'Hand in the model with its budget: check("e08-trained-model", me.result(model, budget)).'
        return "wrong", "not a result", sentence
    if answer.model is None or answer.model is ...:
        return "not attempted yet", "", ""
    try:
        _refuse_foul_model(answer.model, answer.budget)
        scenes = answer.learner.held_out()
        scores, preds = _score(answer.model, scenes)
        _refuse_untrained(answer, scores, preds)
    except _Wrong as wrong:
        return wrong.verdict
    points = points_for(scores.mean_iou)
    by_class = ", ".join(f"{name} {iou:.2f}" for name, iou in zip(scenes.class_names, scores.iou, strict=True))
    figures = (
        f"mIoU {scores.mean_iou:.3f} on {len(scenes)} held-out scenes: {points:g} of {POINTS} points. IoU: {by_class}."
    )
    dead = [name for name, iou in zip(scenes.class_names, scores.iou, strict=True) if iou == 0]
    if scores.mean_iou < ZERO_AT:
        sentence = (
            f"Points begin at mIoU {ZERO_AT:.2f}; naming each row's most frequent class already gives about 0.21."
        )
        return "wrong", "learned too little", f"{sentence} {figures}{_left_over(answer.budget)}"
    if dead:
        sentence = f"The network never finds {_listed(dead)}. Rare classes need a louder vote: class weights, or Dice."
        return ("passed", "", f"{figures} {sentence}") if points else ("wrong", "a class died", f"{sentence} {figures}")
    if points == POINTS:
        return "passed", "", figures
    return "passed", "", f"{figures} All {POINTS} points from mIoU {FULL_AT:.2f} on.{_left_over(answer.budget)}"


def _left_over(budget: Budget) -> str:
    if budget.spent > 0.95 * PIXELS:
        return ""
    return f" It was trained on {budget.spent:,} of the {PIXELS:,} pixels that the budget allows."


def _refuse_foul_model(model: Any, budget: Any) -> None:
    """What can be said without running the model."""
    if not isinstance(model, nn.Module):
        raise _Wrong(
            "not a model", f"model must be your trained U-Net, an nn.Module; it is of type {type(model).__name__}."
        )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if parameters > LARGEST_NETWORK:
        raise _Wrong(
            "network too large",
            f"It has {parameters:,} parameters; {LARGEST_NETWORK:,} are allowed. Build it with base_channels of "
            f"{BASE_CHANNELS} at most.",
        )
    if not all(torch.isfinite(tensor).all() for tensor in model.state_dict().values()):
        raise _Wrong(
            "nan in the weights",
            "Some weights are nan or infinite: the loss was, at some step. Print it step by step; a lower learning rate "
            "often helps.",
        )
    if not isinstance(budget, Budget):
        raise _Wrong("no budget", "Hand in the budget that the training was watched by: me.result(model, budget).")
    if budget.pixels > PIXELS or budget.spent > PIXELS:
        raise _Wrong(
            "budget overspent",
            f"{max(budget.pixels, budget.spent):,} training pixels; {PIXELS:,} are allowed. Budget() has the right size.",
        )
    seen = _training_batches(model)
    if budget.spent and seen is not None and seen > 1.02 * budget.batches + 10:
        raise _Wrong(
            "trained beyond the budget",
            f"In training mode the model has seen {seen:,} batches, but the budget counted {budget.batches:,}. Build model "
            "and budget anew in the cell that trains, and pass every batch through budget.watch.",
        )


def _training_batches(model: nn.Module) -> int | None:
    """How many batches batch normalisation has met in training mode; None for a network without it."""
    counts = [
        int(module.num_batches_tracked)
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.num_batches_tracked is not None
    ]
    return max(counts, default=None)


def _score(model: nn.Module, scenes: SegmentationDataset) -> tuple[SegmentationScores, Tensor]:
    """Scores and predictions (N, H, W); the model is put back into the mode it came in."""
    modes = [(module, module.training) for module in model.modules()]
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    matrix, preds = ConfusionMatrix(scenes.num_classes), []
    model.eval()
    try:
        with torch.no_grad():
            for images, masks in zip(
                scenes.images.split(IMAGES_AT_ONCE), scenes.masks.split(IMAGES_AT_ONCE), strict=True
            ):
                logits = _checked_logits(model, images.to(device).float() / 255, scenes.num_classes)
                preds.append(logits.argmax(dim=1).cpu())
                matrix.update(preds[-1], masks.long())
    finally:
        for module, training in modes:
            module.training = training
    return matrix.scores(scenes.class_names), torch.cat(preds)


def _checked_logits(model: nn.Module, images: Tensor, num_classes: int) -> Tensor:
    try:
        logits = model(images)
    except Exception as error:
        first_line = str(error).strip().split("\n")[0][:200]
        raise _Wrong(
            f"raised {type(error).__name__}",
            f"On images of shape {tuple(images.shape)} your model raised {type(error).__name__}: {first_line}.",
        ) from None
    if not isinstance(logits, Tensor):
        raise _Wrong(
            "not a tensor", f"The model must return logits, one tensor; it returned a {type(logits).__name__}."
        )
    expected = (len(images), num_classes, *images.shape[2:])
    if logits.ndim == 4 and logits.shape[1] != num_classes:
        raise _Wrong(
            "wrong number of classes",
            f"The model gives {logits.shape[1]} logits a pixel; the scenes have {num_classes} classes.",
        )
    if tuple(logits.shape) != expected:
        raise _Wrong(
            "wrong shape", f"The model gives shape {tuple(logits.shape)}; expected logits of shape {expected}."
        )
    if not torch.isfinite(logits).all():
        raise _Wrong("nan in the output", "The weights are finite, but the model's output is nan or infinite.")
    sums = logits.sum(dim=1)
    if logits.min() >= 0 and torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        raise _Wrong(
            "probabilities, not logits",
            "In every pixel the outputs sum to 1: there is a softmax in the model. The loss applies it already, so it "
            "trained with two.",
        )
    return logits


def _refuse_untrained(answer: Result, scores: SegmentationScores, preds: Tensor) -> None:
    poor = scores.mean_iou < ZERO_AT
    if poor and (answer.budget.spent == 0 or _training_batches(answer.model) == 0):
        raise _Wrong(
            "not trained",
            f"The model still has its random weights, mIoU {scores.mean_iou:.3f}. Train it with batches that pass through "
            "budget.watch, then check again.",
        )
    if answer.budget.spent == 0:
        raise _Wrong(
            "budget not used",
            f"The model is trained, but the budget counted nothing. Train on budget.watch(batches(...)), with a Budget() "
            f"of {PIXELS:,} pixels.",
        )
    share, class_id = max((float((preds == c).float().mean()), c) for c in range(len(scores.iou)))
    if share > ONE_CLASS:
        raise _Wrong(
            "one class everywhere",
            f"{share:.1%} of all pixels are called {scores.class_names[class_id]}. The training collapsed: look at the "
            "learning rate, and draw five pairs of image and mask as your batches give them.",
        )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


# e08-diagnosis


def judge_diagnosis(answer: Any) -> Verdict:
    """How many of the three answers are right; of one that is wrong, what that mistake would have looked like."""
    if not isinstance(answer, Diagnosis):
        sentence = 'Give your three answers as me.diagnosis(A="...", B="...", C="...").'
        return "wrong", "not a diagnosis", sentence
    given = {letter: _plain(text) for letter, text in answer.answers.items() if _plain(text)}
    if not given:
        return "not attempted yet", "", ""
    if unknown := [letter for letter in given if letter not in LETTERS]:
        return "wrong", "no such run", f"There is no run {_listed(unknown)}; the runs are {_listed(list(LETTERS))}."
    known = {_plain(choice): choice for choice in CHOICES}
    for letter, text in given.items():
        if text not in known:
            near = difflib.get_close_matches(text, known, n=1, cutoff=0.5)
            mend = f"Did you mean {known[near[0]]!r}?" if near else "Copy one from the printed list."
            return "wrong", "not one of the choices", f"{letter}: {answer.answers[letter]!r} is not in the list. {mend}"
    truth = mistakes_of(answer.seed)
    wrong = [letter for letter in LETTERS if letter in given and known[given[letter]] != truth[letter]]
    missing = [letter for letter in LETTERS if letter not in given]
    right = len(LETTERS) - len(wrong) - len(missing)
    if right == len(LETTERS):
        return "passed", "", f"All {len(LETTERS)} are right."
    sentences = [f"{right} of {len(LETTERS)} are right."]
    if wrong:  # of one alone, so that three tries don't do for looking
        mistake = known[given[wrong[0]]]
        sentences.append(f"{wrong[0]} is not {mistake!r}; with that mistake, {looks_like(mistake)}")
    if missing:
        sentences.append(f"Run {_listed(missing)}: no answer yet.")
    return "wrong", "" if wrong else "not complete", " ".join(sentences)


def _plain(text: Any) -> str:
    """Case, quotes and spaces don't make an answer wrong."""
    return "" if text is None or text is ... else " ".join(str(text).casefold().strip("'\" .").split())


# e08-comparison

WORDS = 60
FIGURE = re.compile(r"\d+[.,]\d+|\d+\s?(%|per cent|percent)")


def judge_comparison(answer: Any) -> Verdict:
    """Whether the text is there, is long enough and rests on figures. An instructor reads it."""
    if not isinstance(answer, str):
        return (
            "wrong",
            "not a text",
            f'comparison must be a text between """ and """; it is of type {type(answer).__name__}.',
        )
    words = re.findall(r"\w[\w.,'’%-]*", answer)
    if not words:
        return "not attempted yet", "", ""
    if len(words) < WORDS:
        return "wrong", "too short", f"It has {len(words)} words; write at least {WORDS}."
    if len({word.casefold() for word in words}) < WORDS // 3:
        return "wrong", "repeated words", "The same few words come again and again; write it in sentences."
    if not FIGURE.search(answer):
        sentence = (
            "There is no figure in it. Name at least one IoU from your own table, such as the one of the rarest class."
        )
        return "wrong", "no figure of your own", sentence
    return "passed", "", f"Ready: {len(words)} words, with figures. Your instructor reads it and gives the points."


EXERCISES = (
    Exercise(
        key="e08-trained-model",
        task=f"A U-Net of at most {BASE_CHANNELS} base channels, trained on {PIXELS:,} pixels, scored on held-out scenes.",
        reference=None,
        mistakes=(),
        verdict=judge_trained_model,
        hints=(
            "Start from the loop of lesson 4. Only two things change on the way: the size of the images from one pass to the "
            "next, and the learning rate from one batch to the next. Both can go by budget.share.",
            "While budget.left is above 0: one pass over budget.watch(batches(...)). Half the size, (48, 64), until "
            "budget.share is about 0.6, then (96, 128). The rate at share s: highest · min(1, s / 0.1) · (1 + cos πs) / 2.",
            'A small generator sets the rate for each batch: for pair in budget.watch(...), then optimizer.param_groups[0]["lr"] '
            "= ..., then yield pair. Give it to train_one_epoch. AdamW, a highest rate of 0.01 and batches of 16 are a good "
            "start; losses.class_weights(pixels of each class, power=0.5) may help the rare classes.",
        ),
        limit=60.0,
    ),
    Exercise(
        key="e08-diagnosis",
        task="Which mistake made each of three broken runs.",
        reference=None,
        mistakes=(),
        verdict=judge_diagnosis,
        hints=(
            "Take one run at a time. First the training loss alone: does it move at all, where does it rest, is it above or "
            "below the healthy one? Only then look at the others.",
            "Training loss as the healthy one, validation bad: the mistake is in what is validated, or in what the labels "
            "mean. Training loss below, validation above: learned by heart. Training loss resting high: the masks, or a "
            "softmax, or the learning rate. Flat: nothing is learned. BatchNorm's running averages move even where no weight "
            "does, so a validation loss or mIoU that moves a little proves no learning.",
            "Cross off by numbers: ln 7 = 1.95 is guessing. The least loss after a second softmax is 1.17. A rate far too "
            "high starts above guessing. A flat line and a line that falls a little are two different mistakes. Then "
            "confirm: Do the masks differ from scene to scene? Is each thing called by its own class?",
        ),
        limit=10.0,
    ),
    Exercise(
        key="e08-comparison",
        task=f"At least {WORDS} words on what two losses do, from the learner's own figures.",
        reference=None,
        mistakes=(),
        verdict=judge_comparison,
        hints=(
            "Which classes gained, which lost, and how many pixels have they? Is the difference larger than the one between "
            "two seeds of the same loss?",
            "Four parts: what you see in your table, why the losses push like that (lesson 3: the votes), what cannot be told "
            "apart because two things changed, and what you would need to be surer.",
            "With the combined loss the IoU of ... was ... and ..., with cross-entropy ... and .... The two seeds differ by "
            ".... I think that ..., because .... I can't say whether ... or ..., because .... To be surer I would ....",
        ),
        limit=10.0,
    ),
)
