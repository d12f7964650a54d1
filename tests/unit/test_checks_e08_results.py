"""The checks of E08's last three tasks. Models that know the held-out masks by heart stand in for trained ones."""

import dataclasses
import html
import re
import time
from pathlib import Path

import nbformat
import pytest
import torch
from torch import nn

from unet_lab.checks import exercises, judge_exercise
from unet_lab.checks.e08 import results
from unet_lab.checks.e08.results import EXERCISES, WORDS
from unet_lab.data.scenes import CLASS_NAMES
from unet_lab.e08 import FULL_AT, PIXELS, POINTS, ZERO_AT, Budget, Learner, learner
from unet_lab.e08.broken_runs import CHOICES, LETTERS, looks_like, mistakes_of
from unet_lab.models import UNet

TRAINED, DIAGNOSIS, COMPARISON = EXERCISES


def test_the_exercises_are_complete():
    assert [exercise.key for exercise in EXERCISES] == ["e08-trained-model", "e08-diagnosis", "e08-comparison"]
    assert all(len(exercise.hints) == 3 for exercise in EXERCISES)


def test_the_notebook_folds_the_same_hints_under_each_task():
    notebook = nbformat.read(Path(__file__).parents[2] / "solutions" / "E08_unet_segmentation.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    folded = [html.unescape(re.sub("</?code>", "`", hint)) for hint in re.findall("</summary>(.*)</details>", text)]
    checked = {exercise.key: exercise for exercise in (*exercises().values(), *EXERCISES)}
    known = [hint for key, exercise in checked.items() if key.startswith("e08-") for hint in exercise.hints]
    assert set(known) <= set(folded)
    assert len(folded) == 3 * 13


def test_a_judgement_that_hangs_or_fails_is_told_and_never_raises():
    hangs = dataclasses.replace(COMPARISON, verdict=lambda answer: time.sleep(2), limit=0.1)
    assert judge_exercise(hangs, "text").mistake == "too slow"
    fails = dataclasses.replace(COMPARISON, verdict=lambda answer: 1 / 0)
    assert judge_exercise(fails, "text").status == "no verdict"


# e08-trained-model


@pytest.fixture
def few_scenes(monkeypatch):
    monkeypatch.setattr(learner, "HELD_OUT", 8)


class ByHeart(nn.Module):
    """Gives the true masks of the held-out scenes, changed by `change(masks)`, as logits, changed by `finish(logits)`."""

    def __init__(self, me, change=lambda masks: masks, finish=lambda logits: logits, batches=100):
        super().__init__()
        scenes = me.held_out()
        masks = scenes.masks.long()
        self.masks = change(masks.where(masks != 255, 0))
        self.images, self.finish = scenes.images, finish
        self.norm = nn.BatchNorm2d(1)
        self.norm.num_batches_tracked += batches

    def forward(self, images):
        pixels = (images * 255).round().to(torch.uint8)
        places = [next(i for i, known in enumerate(self.images) if torch.equal(known, image)) for image in pixels]
        return self.finish(nn.functional.one_hot(self.masks[places], 7).permute(0, 3, 1, 2).float() * 9 - 4)


def spent(pixels=PIXELS, batches=100):
    budget = Budget(pixels)
    budget.spent, budget.batches = pixels, batches
    return budget


def verdict(model, budget=None, me=None):
    return judge_exercise(TRAINED, (me or Learner("Ada")).result(model, budget or spent()))


def test_a_good_model_passes_with_figures_class_by_class(few_scenes):
    outcome = verdict(ByHeart(Learner("Ada")))
    assert outcome.passed
    assert f"mIoU 1.000 on 8 held-out scenes: {POINTS} of {POINTS} points." in outcome.message
    assert all(f"{name} 1.00" in outcome.message for name in CLASS_NAMES)


def half_right(masks):
    """The left half is right; the rest is road."""
    changed = masks.clone()
    changed[:, :, 52:] = CLASS_NAMES.index("road")
    return changed


def test_a_middling_model_passes_with_some_points_and_is_told_the_rest(few_scenes):
    outcome = verdict(ByHeart(Learner("Ada"), half_right))
    assert outcome.passed
    points = float(outcome.message.split(" of 20 points")[0].split()[-1])
    assert 0 < points < POINTS
    assert f"All {POINTS} points from mIoU {FULL_AT:.2f} on." in outcome.message


def test_a_short_training_is_told_that_there_is_more(few_scenes):
    words = f"trained on 1,000,000 of the {PIXELS:,} pixels"
    assert words in verdict(ByHeart(Learner("Ada"), half_right), spent(1_000_000)).message
    assert words in verdict(ByHeart(Learner("Ada"), mostly_wrong), spent(1_000_000)).message
    assert words not in verdict(ByHeart(Learner("Ada")), spent(1_000_000)).message


def test_points_are_those_of_the_learner_who_hands_in(few_scenes):
    ada, grace = Learner("Ada"), Learner("Grace")
    with pytest.raises(StopIteration):
        ByHeart(ada)(grace.held_out().images.float() / 255)
    assert verdict(ByHeart(ada), me=grace).mistake == "raised StopIteration"


def without(name):
    return lambda masks: masks.where(masks != CLASS_NAMES.index(name), CLASS_NAMES.index("road"))


def softmax(logits):
    return logits.softmax(dim=1)


def nan_somewhere(logits):
    logits[0, 0, 0, 0] = torch.nan
    return logits


def mostly_wrong(masks):
    """All classes still occur, at a few pixels."""
    changed = torch.full_like(masks, CLASS_NAMES.index("sky"))
    changed[:, 40:60, :60] = masks[:, 40:60, :60]
    return changed


@pytest.mark.parametrize(("name", "words", "options"), [
    ("one class everywhere", "are called grass", {"change": lambda masks: torch.full_like(masks, 3)}),
    ("learned too little", f"Points begin at mIoU {ZERO_AT:.2f}", {"change": mostly_wrong}),
    ("probabilities, not logits", "softmax in the model", {"finish": softmax}),
    ("wrong number of classes", "gives 2 logits a pixel; the scenes have 7", {"finish": lambda x: x[:, :2]}),
    ("wrong shape", "expected logits of shape (8, 7, 96, 128)", {"finish": lambda x: x[:, :, ::2, ::2]}),
    ("wrong shape", "gives shape (8, 96, 128)", {"finish": lambda x: x.argmax(1)}),
    ("not a tensor", "returned a list", {"finish": lambda x: [x]}),
    ("nan in the output", "nan or infinite", {"finish": nan_somewhere}),
    ("trained beyond the budget", "seen 300 batches, but the budget counted 100", {"batches": 300}),
    ("raised ZeroDivisionError", "division by zero", {"finish": lambda x: 1 / 0}),
])  # fmt: skip
def test_mistakes_are_named(few_scenes, name, words, options):
    outcome = verdict(ByHeart(Learner("Ada"), **options))
    assert (outcome.status, outcome.mistake) == ("wrong", name), outcome
    assert words in outcome.message


def test_a_class_that_died_leaves_the_points_and_brings_advice(few_scenes):
    outcome = verdict(ByHeart(Learner("Ada"), without("person")))
    assert (outcome.status, outcome.mistake) == ("passed", "")
    assert "of 20 points. IoU: sky 1.00" in outcome.message
    assert outcome.message.endswith("never finds person. Rare classes need a louder vote: class weights, or Dice.")


def test_a_class_that_died_without_a_point_is_wrong(few_scenes, monkeypatch):
    monkeypatch.setattr(results, "points_for", lambda miou: 0.0)
    assert verdict(ByHeart(Learner("Ada"), without("person"))).mistake == "a class died"


def test_two_classes_that_died_are_both_named(few_scenes):
    two = ByHeart(Learner("Ada"), lambda masks: without("car")(without("person")(masks)))
    assert "never finds car and person." in verdict(two).message


def test_budgets_that_do_not_fit(few_scenes):
    good = ByHeart(Learner("Ada"))
    assert verdict(good, spent(PIXELS + 1)).mistake == "budget overspent"
    assert verdict(good, Budget()).mistake == "budget not used"
    assert judge_exercise(TRAINED, Learner("Ada").result(good, None)).mistake == "no budget"
    assert verdict(good, spent(PIXELS // 2)).passed, "a smaller budget is no mistake"


def test_weights_that_do_not_fit(few_scenes):
    outcome = verdict(UNet(num_classes=7, base_channels=18))
    assert outcome.mistake == "network too large"
    assert "base_channels of 16 at most" in outcome.message
    broken = UNet(num_classes=7, base_channels=4)
    nn.init.constant_(broken.out.bias, torch.nan)
    assert verdict(broken).mistake == "nan in the weights"


def test_a_network_that_was_never_trained(few_scenes):
    torch.manual_seed(0)
    fresh = UNet(num_classes=7, base_channels=4)
    assert verdict(fresh).mistake == "not trained"
    assert verdict(fresh, Budget()).mistake == "not trained"


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_no_mistake_and_is_put_back(few_scenes, training):
    model = ByHeart(Learner("Ada")).train(training)
    model.norm.train(not training)
    before = [tensor.clone() for tensor in model.state_dict().values()]
    assert verdict(model).passed
    assert (model.training, model.norm.training) == (training, not training)
    assert all(torch.equal(a, b) for a, b in zip(before, model.state_dict().values(), strict=True))


@pytest.mark.parametrize("model", [None, ...])
def test_no_model_is_not_attempted_yet(model):
    assert verdict(model, Budget()).status == "not attempted yet"
    assert judge_exercise(TRAINED, model).status == "not attempted yet"


def test_things_that_are_no_result():
    assert judge_exercise(TRAINED, UNet(base_channels=2)).mistake == "not a result"
    assert verdict("U-Net").mistake == "not a model"


def test_it_takes_less_than_five_seconds_and_no_randomness():
    torch.manual_seed(0)
    model, state = UNet(num_classes=7, base_channels=16), torch.get_rng_state()
    start = time.process_time()
    assert verdict(model).mistake == "not trained"
    assert time.process_time() - start < 5
    assert torch.equal(torch.get_rng_state(), state)


# e08-diagnosis

ADA = Learner("Ada")
TRUTH = mistakes_of(ADA.seed)


def diagnosis(**answers):
    return judge_exercise(DIAGNOSIS, ADA.diagnosis(**answers))


def test_the_right_three_pass_however_they_are_typed():
    assert diagnosis(**TRUTH).passed
    assert diagnosis(**{letter: f" '{name.upper()}'. " for letter, name in TRUTH.items()}).passed


def test_the_stub_is_not_attempted_yet():
    assert diagnosis(A="", B="", C="").status == "not attempted yet"
    assert diagnosis().status == "not attempted yet"
    assert judge_exercise(DIAGNOSIS, None).status == "not attempted yet"


@pytest.mark.parametrize("seed", range(20))
def test_a_wrong_answer_is_explained_and_the_right_one_is_not_told(seed):
    truth = mistakes_of(seed)
    for letter in LETTERS:
        for choice in CHOICES:
            if choice == truth[letter]:
                continue
            outcome = judge_exercise(DIAGNOSIS, learner.Diagnosis(seed, {letter: choice}))
            assert (outcome.status, outcome.mistake) == ("wrong", "")
            assert f"{letter} is not {choice!r}; with that mistake, {looks_like(choice)}" in outcome.message
            for name in set(truth.values()) - {choice}:
                assert name not in outcome.message
                assert looks_like(name) not in outcome.message


def test_how_many_are_right_is_told():
    wrong = next(choice for choice in CHOICES if choice not in TRUTH.values())
    assert diagnosis(**{**TRUTH, "B": wrong}).message.startswith("2 of 3 are right. B is not ")
    outcome = diagnosis(**{**TRUTH, "B": wrong, "C": wrong})
    assert outcome.message == f"1 of 3 are right. B is not {wrong!r}; with that mistake, {looks_like(wrong)}"
    assert repr(outcome).startswith("e08-diagnosis: wrong. 1 of 3 are right.")
    outcome = diagnosis(A=TRUTH["A"], B="")
    assert outcome.mistake == "not complete"
    assert outcome.message == "1 of 3 are right. Run B and C: no answer yet."


@pytest.mark.parametrize(("answers", "mistake", "words"), [
    ({"A": "no zerograd"}, "not one of the choices", "Did you mean 'no zero_grad'?"),
    ({"A": "bad luck"}, "not one of the choices", "Copy one from the printed list."),
    ({"D": "softmax twice"}, "no such run", "There is no run D; the runs are A, B and C."),
])  # fmt: skip
def test_answers_that_are_not_in_the_list(answers, mistake, words):
    outcome = diagnosis(**answers)
    assert (outcome.status, outcome.mistake) == ("wrong", mistake)
    assert words in outcome.message


def test_a_bare_answer_is_no_diagnosis():
    assert judge_exercise(DIAGNOSIS, "softmax twice").mistake == "not a diagnosis"


# e08-comparison

TEXT = (
    "With cross-entropy alone the IoU of person was 0.02 and 0.05, with the combined loss 0.18 and 0.21, so the gain is far "
    "larger than what two seeds differ by. The large classes hardly changed. I think Dice gives the few pixels of a person "
    "a voice of their own, while cross-entropy counts every pixel alike. To be surer I would train five seeds and look at "
    "more scenes."
)  # fmt: skip


@pytest.mark.parametrize(("text", "status", "mistake"), [
    (TEXT, "passed", ""),
    (TEXT.replace(".", ","), "passed", ""),
    ("", "not attempted yet", ""),
    (" \n", "not attempted yet", ""),
    (None, "not attempted yet", ""),
    (" ".join(TEXT.split()[:40]), "wrong", "too short"),
    ("".join(letter for letter in TEXT if not letter.isdigit()), "wrong", "no figure of your own"),
    ("The loss was 0.5. " * 20, "wrong", "repeated words"),
    (5, "wrong", "not a text"),
])  # fmt: skip
def test_comparisons(text, status, mistake):
    outcome = judge_exercise(COMPARISON, text)
    assert (outcome.status, outcome.mistake) == (status, mistake)


def test_words_are_counted_and_an_instructor_is_announced():
    assert f"It has 5 words; write at least {WORDS}." in judge_exercise(COMPARISON, "One two three four five").message
    assert "Your instructor reads it" in judge_exercise(COMPARISON, TEXT).message
