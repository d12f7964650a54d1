"""The checks of E08's task 5, with answers of many hands: the confusion matrix, mean IoU, both over all batches."""

import judging
import numpy as np
import pytest
import sklearn.metrics
import torch
import torch.nn.functional as F

from unet_lab.checks import judge_exercise
from unet_lab.checks.e08.metrics import EXERCISES
from unet_lab.checks.parts.loops import passing_model, validation_probes

CONFUSION_MATRIX, MEAN_IOU, EVALUATE = EXERCISES

# right answers in other hands


def with_masks_of_classes(preds, masks, num_classes):
    counts = torch.zeros(num_classes, num_classes, dtype=torch.long)
    for i in range(num_classes):
        for j in range(num_classes):
            counts[i, j] = ((masks == i) & (preds == j)).sum()
    return counts


def with_numpy_add_at(preds, masks, num_classes):
    preds, masks = np.asarray(preds), np.asarray(masks)
    counts = np.zeros((num_classes, num_classes), dtype=np.int32)
    np.add.at(counts, (masks[masks != 255], preds[masks != 255]), 1)
    return counts


def with_a_histogram(preds, masks, num_classes):
    counted = masks < 255
    table, _, _ = np.histogram2d(preds[counted], masks[counted], bins=num_classes, range=[[0, num_classes]] * 2)
    return table  # transposed, float64


def with_one_hot_and_einsum(preds, masks, num_classes):
    flat, truth = preds[masks != 255], masks[masks != 255]
    p, t = F.one_hot(flat, num_classes), F.one_hot(truth, num_classes)
    return torch.einsum("ni,nj->ij", t, p)


def with_void_cut_off(preds, masks, num_classes):
    """Void has rows of its own, which are cut off."""
    pairs = masks.reshape(-1) * num_classes + preds.reshape(-1)
    return torch.bincount(pairs, minlength=256 * num_classes).reshape(256, num_classes)[:num_classes]


def with_sklearn(preds, masks, num_classes):
    counted = masks.numpy() != 255
    return sklearn.metrics.confusion_matrix(masks.numpy()[counted], preds.numpy()[counted], labels=range(num_classes))


def with_index_put(preds, masks, num_classes):
    counts = torch.zeros((num_classes, num_classes), dtype=torch.int64)
    valid = masks.ne(255)
    return counts.index_put_((masks[valid], preds[valid]), torch.tensor(1), accumulate=True)


def mean_with_a_mask(counts):
    diagonal = counts.diag().double()
    union = counts.sum(0) + counts.sum(1) - diagonal
    return (diagonal[union > 0] / union[union > 0]).mean()


def mean_with_tp_fp_fn(counts):
    scores = []
    for c in range(counts.shape[0]):
        tp = counts[c, c].item()
        fp, fn = counts[:, c].sum().item() - tp, counts[c].sum().item() - tp
        if tp + fp + fn:
            scores.append(tp / (tp + fp + fn))
    return float(np.mean(scores))


def mean_with_a_sum(counts):
    intersection = torch.diagonal(counts)
    union = counts.sum(dim=1) + counts.sum(dim=0) - intersection
    iou = torch.where(union > 0, intersection / union.clamp(min=1), torch.zeros(()))
    return iou.sum() / (union > 0).sum()


def mean_of_any_array(counts):
    counts = np.asarray(counts, dtype=float)
    union = counts.sum(0) + counts.sum(1) - np.diagonal(counts)
    present = union != 0
    return np.mean(np.diagonal(counts)[present] / union[present])


def evaluated_at_the_end(model, batches, num_classes):
    preds, truth = [], []
    model.eval()
    with torch.no_grad():
        for images, masks in batches:
            preds.append(model(images).max(dim=1)[1])
            truth.append(masks)
    return mean_with_a_mask(with_index_put(torch.cat(preds), torch.cat(truth), num_classes))


def evaluated_in_numpy(model, batches, num_classes):
    """Transposed, with the learner's own NumPy functions; the mode is put back."""
    model.train(False)
    counts = 0
    for images, masks in batches:
        with torch.inference_mode():
            preds = model(images).softmax(dim=1).argmax(dim=1)
        counts = counts + with_a_histogram(preds, masks, num_classes)
    model.train()
    return mean_of_any_array(counts)


@torch.no_grad()
def evaluated_with_lists(model, batches, num_classes):
    model.eval()
    total = np.zeros((num_classes, num_classes), dtype=np.int64)
    for batch in list(batches):
        total += np.array(CONFUSION_MATRIX.variants[0](model(batch[0]).argmax(1), batch[1], num_classes))
    return mean_with_tp_fp_fn(total)


VARIANTS = {
    "e08-confusion-matrix": (
        with_masks_of_classes, with_numpy_add_at, with_a_histogram, with_one_hot_and_einsum, with_void_cut_off,
        with_sklearn, with_index_put,
    ),
    "e08-mean-iou": (mean_with_a_mask, mean_with_tp_fp_fn, mean_with_a_sum, mean_of_any_array),
    "e08-evaluate": (evaluated_at_the_end, evaluated_in_numpy, evaluated_with_lists),
}  # fmt: skip
TestEveryAnswer = judging.every_answer(EXERCISES, VARIANTS)


def test_the_signatures_are_the_tasks():
    assert [exercise.signature for exercise in EXERCISES] == [
        "confusion_matrix(preds, masks, num_classes)",
        "mean_iou(counts)",
        "evaluate(model, batches, num_classes)",
    ]


# the same mistakes in other hands


def transposed(answer):
    return lambda preds, masks, num_classes: answer(preds, masks, num_classes).T


def adds_once(preds, masks, num_classes):
    counts = np.zeros((num_classes, num_classes), dtype=int)
    valid = masks != 255
    counts[masks[valid], preds[valid]] += 1
    return counts


def in_uint8(preds, masks, num_classes):
    counts = np.zeros((num_classes, num_classes), dtype=np.uint8)
    valid = masks != 255
    np.add.at(counts, (masks[valid].numpy(), preds[valid].numpy()), 1)
    return counts


def void_by_index(preds, masks, num_classes):
    counts = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    return counts.index_put_((masks, preds), torch.tensor(1), accumulate=True)


def scored_by_batch(model, batches, num_classes):
    model.eval()
    scores = []
    with torch.no_grad():
        for images, masks in batches:
            scores.append(mean_with_a_mask(with_index_put(model(images).argmax(1), masks, num_classes)))
    return torch.stack(scores).mean()


def returns_in_the_loop(model, batches, num_classes):
    model.eval()
    with torch.no_grad():
        for images, masks in batches:
            return mean_with_a_mask(with_index_put(model(images).argmax(1), masks, num_classes))


def overwrites_the_counts(model, batches, num_classes):
    model.eval()
    for images, masks in batches:
        with torch.no_grad():
            counts = with_index_put(model(images).argmax(1), masks, num_classes)
    return mean_with_a_mask(counts)


def forgets_both_switches(model, batches, num_classes):
    counts = sum(with_index_put(model(images).argmax(1), masks, num_classes) for images, masks in batches)
    return mean_with_a_mask(counts)


def with_epsilon(counts):
    diagonal = counts.diagonal()
    return (diagonal / (counts.sum(0) + counts.sum(1) - diagonal + 1e-7)).mean()


def with_epsilon_above_and_below(counts):
    diagonal = counts.diagonal()
    return ((diagonal + 1e-7) / (counts.sum(0) + counts.sum(1) - diagonal + 1e-7)).mean()


@pytest.mark.parametrize(("exercise", "answer", "name"), [
    (CONFUSION_MATRIX, adds_once, "each pair counted once"),
    (CONFUSION_MATRIX, transposed(adds_once), "each pair counted once"),
    (CONFUSION_MATRIX, in_uint8, "8-bit counts"),
    (CONFUSION_MATRIX, void_by_index, "void left in"),
    (CONFUSION_MATRIX, lambda p, m, n: with_index_put(p, m, n).double() / m.ne(255).sum(), "normalised by all pixels"),
    (MEAN_IOU, with_epsilon, "absent as 0"),
    (MEAN_IOU, with_epsilon_above_and_below, "absent as 1"),
    (EVALUATE, scored_by_batch, "mean over batches"),
    (EVALUATE, returns_in_the_loop, "first batch only"),
    (EVALUATE, overwrites_the_counts, "last batch only"),
    (EVALUATE, forgets_both_switches, "neither evaluation mode nor no_grad"),
], ids=judging.name_of)  # fmt: skip
def test_a_mistake_in_another_hand_has_the_same_name(exercise, answer, name):
    for seed in range(5):
        outcome = judge_exercise(exercise, answer, seed=seed)
        assert (outcome.status, outcome.mistake) == ("wrong", name)


def test_a_transposed_matrix_passes_and_is_told():
    said = "Yours has the prediction in the rows: IoU is the same, but say so when you show it."
    for answer in (with_a_histogram, transposed(with_numpy_add_at), CONFUSION_MATRIX.variants[1]):
        outcome = judge_exercise(CONFUSION_MATRIX, answer)
        assert (outcome.status, outcome.message) == ("passed", said)
    for answer in (CONFUSION_MATRIX.reference, with_numpy_add_at, CONFUSION_MATRIX.variants[0]):
        outcome = judge_exercise(CONFUSION_MATRIX, answer)
        assert (outcome.status, outcome.message) == ("passed", "")


@pytest.mark.parametrize(("exercise", "answer", "mistake", "words"), [
    (CONFUSION_MATRIX, lambda p, m, n: with_index_put(p, m, n) * 2, "", "expected [["),
    (CONFUSION_MATRIX, lambda p, m, n: "matrix", "wrong type", "counts: it gave a str; expected one array of shape (2, 2)"),
    (CONFUSION_MATRIX, lambda p, m, n: [[1], [2, 3]], "wrong type", "counts: it gave 2 items"),
    (CONFUSION_MATRIX, lambda p, m, n: with_index_put(p, m.masked_fill_(m == 255, 0), n), "void as class 0", "class 0"),
    (CONFUSION_MATRIX, lambda p, m, n: 2 * with_index_put(p.clamp_(max=0), m, n), "input changed in place", "changes preds"),
    (MEAN_IOU, lambda c: float(c.trace()), "", "expected"),
    (MEAN_IOU, lambda c: c.nothing, "raised AttributeError", "nothing"),
    (EVALUATE, lambda m, b, n: 0.5, "", "mode of the model: it gave never called; expected evaluation"),
    (EVALUATE, lambda m, b, n: mean_with_a_mask(None), "raised AttributeError", "NoneType"),
])  # fmt: skip
def test_wrong_answers_that_are_no_known_mistake(exercise, answer, mistake, words):
    outcome = judge_exercise(exercise, answer)
    assert (outcome.status, outcome.mistake) == ("wrong", mistake)
    assert words in outcome.message


# the references, against what they speak about


def test_the_matrix_and_its_mean_are_sklearns():
    for preds, masks, num_classes in CONFUSION_MATRIX.draw(3):
        counts = CONFUSION_MATRIX.reference(preds, masks, num_classes)
        counted = (masks != 255).numpy()
        truth, predicted = masks.numpy()[counted], preds.numpy()[counted]
        assert (counts.numpy() == with_sklearn(preds, masks, num_classes)).all()
        present = np.union1d(truth, predicted)
        scores = sklearn.metrics.jaccard_score(truth, predicted, labels=present, average=None)
        assert MEAN_IOU.reference(counts) == pytest.approx(scores.mean())


def test_evaluate_is_the_mean_of_the_whole_data_set():
    images, masks, sizes = validation_probes(np.random.default_rng(4))[1]
    preds = images.argmax(dim=1)[masks != 255].numpy()
    scores = sklearn.metrics.jaccard_score(masks[masks != 255].numpy(), preds, average=None)
    batches = zip(images.split(sizes), masks.split(sizes), strict=True)
    assert EVALUATE.reference(passing_model(5), batches, 5) == pytest.approx(scores.mean())
