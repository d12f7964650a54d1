"""The checks of the two losses: wrong ones under their own names, right ones however they are written."""

import time

import pytest
import torch
import torch.nn.functional as F

from unet_lab import losses
from unet_lab.checks import judge
from unet_lab.checks.e08.losses import EXERCISES
from unet_lab.checks.parts.loss_terms import VOID, dice_with

BY_KEY = {exercise.key: exercise for exercise in EXERCISES}
SEEDS = [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 20))]


def test_the_exercises_are_complete():
    assert tuple(BY_KEY) == ("e08-dice-loss", "e08-combined-loss")
    for exercise in EXERCISES:
        names = [mistake.name for mistake in exercise.mistakes]
        assert len(set(names)) == len(names) >= 20
        assert len(exercise.hints) == 3
        assert all(mistake.sentence.endswith((".", "?")) for mistake in exercise.mistakes)
    assert BY_KEY["e08-dice-loss"].signature == "dice_loss(logits, masks)"
    assert BY_KEY["e08-combined-loss"].signature == "combined_loss(logits, masks, class_weights)"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("key", BY_KEY)
def test_every_mistake_is_caught_under_its_own_name(key, seed):
    for mistake in BY_KEY[key].mistakes:
        for i, answer in enumerate(mistake.answers):
            outcome = judge(key, answer, seed=seed)
            assert (outcome.status, outcome.mistake) == ("wrong", mistake.name), f"answer {i}: {outcome}"
            assert outcome.message == mistake.sentence


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("key", BY_KEY)
def test_right_losses_pass(key, seed):
    exercise = BY_KEY[key]
    for i, answer in enumerate((exercise.reference, *exercise.variants)):
        start = time.process_time()
        outcome = judge(key, answer, seed=seed)
        assert outcome.passed, f"variant {i}: {outcome}"
        assert time.process_time() - start < 5


def test_dice_with_nothing_changed_is_the_packages():
    for seed in range(10):
        for logits, masks in BY_KEY["e08-dice-loss"].draw(seed):
            assert torch.allclose(dice_with()(logits, masks), losses.dice_loss(logits, masks), atol=1e-6)


def test_the_probes_hold_what_they_are_for():
    for seed in range(20):
        plain, plain_batch, void, absent, empty, nothing = BY_KEY["e08-dice-loss"].draw(seed)
        for logits, masks in (plain, plain_batch):
            assert masks.unique().tolist() == list(range(logits.shape[1]))
        assert (void[1] == VOID).any()
        assert ((void[1] != VOID).sum((1, 2)) > 0).all()
        logits, masks = absent
        counted, predicted = masks != VOID, logits.argmax(1)
        assert (masks == 2).any()
        assert not (predicted[counted] == 2).any()
        assert not (masks == 3).any()
        assert (predicted[counted] == 3).any()
        assert not (masks == 4).any()
        assert set(predicted[~counted].tolist()) >= {4}
        assert not (predicted[counted] == 4).any()
        assert empty[1].unique().tolist() == empty[0].argmax(1).unique().tolist() == [0]
        assert nothing[1].unique().tolist() == [VOID]


# answers with more than one mistake, and other wrong ones


def plain_and_careless(logits, masks):
    """Plain denominators, no thought of void or of absent classes."""
    probs = logits.softmax(1)
    truth = F.one_hot(masks, logits.shape[1]).permute(0, 3, 1, 2).float()
    return 1 - (2 * (probs * truth).sum((0, 2, 3)) / (probs + truth).sum((0, 2, 3))).mean()


def careless(logits, masks):
    """As in lesson 3: right without void."""
    probs = logits.softmax(1)
    truth = F.one_hot(masks, logits.shape[1]).permute(0, 3, 1, 2).float()
    return 1 - (2 * (probs * truth).sum((0, 2, 3)) / (probs**2 + truth**2).sum((0, 2, 3))).mean()


def careless_with_void(logits, masks):
    """Void counts in no sum; absent classes do."""
    counted = (masks != VOID)[:, None]
    probs = logits.softmax(1) * counted
    truth = F.one_hot(masks.where(masks != VOID, 0), logits.shape[1]).permute(0, 3, 1, 2) * counted
    return 1 - (2 * (probs * truth).sum((0, 2, 3)) / ((probs**2).sum((0, 2, 3)) + truth.sum((0, 2, 3)))).mean()


def void_left_in_probs(logits, masks):
    probs = logits.softmax(1)
    truth = F.one_hot(masks.where(masks != VOID, 0), logits.shape[1]).permute(0, 3, 1, 2) * (masks != VOID)[:, None]
    return 1 - (2 * (probs * truth).sum((0, 2, 3)) / ((probs**2).sum((0, 2, 3)) + truth.sum((0, 2, 3)))).mean()


def cross_entropy_and(dice):
    def combined(logits, masks, class_weights=None):
        return F.cross_entropy(logits, masks, class_weights, ignore_index=VOID) + dice(logits, masks)

    return combined


def two_arguments(logits, masks):
    return losses.dice_loss(logits, masks)


def changes_masks(logits, masks):
    right = losses.dice_loss(logits, masks)
    masks[masks == VOID] = 0
    return right


def in_numpy(logits, masks):
    return losses.dice_loss(logits, masks).detach().numpy()


@pytest.mark.parametrize(("key", "answer", "mistake"), [
    ("e08-dice-loss", plain_and_careless, "plain denominators"),
    ("e08-dice-loss", careless, "void passed to one_hot"),
    ("e08-dice-loss", careless_with_void, "absent classes counted as wrong"),
    ("e08-dice-loss", void_left_in_probs, "void counted"),
    ("e08-dice-loss", lambda x, m: losses.dice_loss(x, m).item(), "no gradient"),
    ("e08-dice-loss", in_numpy, "no gradient"),
    ("e08-dice-loss", lambda x, m: torch.tensor(losses.dice_loss(x, m).item(), requires_grad=True), "no gradient"),
    ("e08-dice-loss", lambda x, m: losses.dice_loss(x, m)[None], "wrong shape"),
    ("e08-dice-loss", lambda x, m: [losses.dice_loss(x, m)], "wrong type"),
    ("e08-dice-loss", lambda x, m: losses.dice_loss(x, m).detach() + 0 * x.sum(), "wrong gradient"),
    ("e08-dice-loss", changes_masks, "input changed in place"),
    ("e08-dice-loss", lambda x, m: losses.dice_loss(x, m) ** 2, ""),
    ("e08-dice-loss", lambda x: x, "raised TypeError"),
    ("e08-dice-loss", losses.DiceLoss, "not a function"),
    ("e08-combined-loss", cross_entropy_and(plain_and_careless), "Dice loss wrong"),
    ("e08-combined-loss", cross_entropy_and(losses.dice_loss), "nan when everything is void"),
    ("e08-combined-loss", two_arguments, "cross-entropy missing"),
    ("e08-combined-loss", lambda x, m, class_weights=None: 0.3 * x.sum(), ""),
])  # fmt: skip
def test_other_wrong_losses(key, answer, mistake):
    outcome = judge(key, answer)
    assert (outcome.status, outcome.mistake) == ("wrong", mistake), outcome


@pytest.mark.parametrize("key", BY_KEY)
@pytest.mark.parametrize(("zero", "verdict"), [
    (lambda logits: torch.tensor(0.0, requires_grad=True), ""),
    (lambda logits: 0 * logits.sum(), ""),
    (lambda logits: torch.tensor(0.0), "no gradient path when everything is void"),
    (lambda logits: 0.0, "no gradient path when everything is void"),
])  # fmt: skip
def test_a_zero_for_nothing_but_void_is_right_if_backward_works(key, zero, verdict):
    def answer(logits, masks, *weights):
        return BY_KEY[key].reference(logits, masks, *weights) if (masks != VOID).any() else zero(logits)

    outcome = judge(key, answer)
    assert outcome.mistake == verdict, outcome
    try:
        zero(torch.zeros(1, 2, 1, 1, requires_grad=True)).backward()
    except (RuntimeError, AttributeError):
        assert "backward() raises: this 0 has no gradient path" in outcome.message
    else:
        assert outcome.passed


def test_no_sentence_calls_class_0_the_background_where_it_is_sky():
    (mistake,) = [mistake for mistake in BY_KEY["e08-dice-loss"].mistakes if mistake.name == "void as class 0"]
    assert mistake.sentence.startswith("Void pixels are counted as class 0; ")


@pytest.mark.parametrize("key", BY_KEY)
@pytest.mark.parametrize("stub", [None, ..., lambda *arguments: None, lambda *arguments: ...])
def test_a_stub_is_not_attempted_yet(key, stub):
    assert judge(key, stub).status == "not attempted yet"


@pytest.mark.parametrize("key", BY_KEY)
def test_random_states_are_untouched(key):
    before = torch.get_rng_state()
    for answer in (BY_KEY[key].reference, BY_KEY[key].mistakes[0].answer, lambda *arguments: torch.rand(1).sum()):
        judge(key, answer)
        assert torch.equal(torch.get_rng_state(), before)
