"""What exercise E08 hands out: the learner's own scenes, the budget, the broken runs, and cells that step aside."""

import math
import re
from pathlib import Path

import nbformat
import pytest
import torch
from torch import nn

from unet_lab import e08
from unet_lab.e08 import Budget, Learner, broken_runs, learner, points_for, ready
from unet_lab.e08.broken_runs import CHOICES, HEALTHY, LETTERS, looks_like, mistakes_of
from unet_lab.e08.ready import is_stub
from unet_lab.models import UNet

# the learner


def test_the_seed_of_a_name_never_changes():
    assert Learner("Ada").seed == 3216288635
    assert Learner(1815).seed == 343247130


@pytest.mark.parametrize("name", ["ada", " ADA\t", "\uff21\uff44\uff41", "Ada\n"])
def test_case_spaces_and_unicode_forms_make_no_difference(name):
    assert Learner(name).seed == Learner("Ada").seed


def test_accents_may_be_typed_in_two_ways_and_still_count():
    assert Learner("Zoe\u0308").seed == Learner("Zo\u00eb").seed != Learner("Zoe").seed
    assert Learner("ada  lovelace").seed == Learner("Ada Lovelace").seed != Learner("AdaLovelace").seed


def test_a_number_is_its_text_and_names_differ():
    assert Learner(1815).seed == Learner("1815").seed
    assert len({Learner(number).seed for number in range(300)}) == 300


@pytest.mark.parametrize("name", [None, ..., True, 3.5, [], b"Ada", Learner])
def test_what_is_no_name_is_refused_in_words(name):
    with pytest.raises(TypeError, match="expects your name or number"):
        Learner(name)


@pytest.mark.parametrize("name", ["", "  \n"])
def test_without_a_name_one_is_a_guest_and_is_told(name, capsys):
    assert Learner(name).name == "guest"
    assert 'you work as "guest"' in capsys.readouterr().out


def test_scenes_are_the_learners_own_and_the_same_again(monkeypatch):
    for count in ("TRAIN", "VAL", "HELD_OUT"):
        monkeypatch.setattr(learner, count, 3)
    ada, again, grace = Learner("Ada"), Learner("ada"), Learner("Grace")
    assert torch.equal(ada.scenes().train.images, again.scenes().train.images)
    assert torch.equal(ada.held_out().masks, again.held_out().masks)
    assert not torch.equal(ada.scenes().train.images, grace.scenes().train.images)
    assert not torch.equal(ada.held_out().images, grace.held_out().images)
    names = [name for split in (*ada.scenes(), ada.held_out()) for name in split.names]
    assert len(set(names)) == 12, "no scene is in two splits, held-out ones included"
    assert ada.scenes().train.images.shape == (3, 3, 96, 128)


# the budget


def pairs(*numbers, size=(4, 4)):
    return [(torch.zeros(n, 3, *size), torch.zeros(n, *size, dtype=torch.int64)) for n in numbers]


def test_every_pixel_that_is_passed_on_is_counted():
    budget = Budget(1000)
    seen = list(budget.watch(pairs(4, 4, 2)))
    assert [len(images) for images, _ in seen] == [4, 4, 2]
    assert (budget.spent, budget.left, budget.batches) == (160, 840, 3)
    assert budget.share == 0.16
    assert repr(budget) == "Budget: 0.00 of 0.00 million pixels spent"


def test_a_batch_is_counted_before_it_is_trained_on():
    budget = Budget(64)
    shares = [budget.share for _ in budget.watch(pairs(2, 2))]
    assert shares == [0.5, 1.0]


def test_it_ends_the_training_and_is_never_overspent():
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        budget = Budget(int(torch.randint(1, 3000, (), generator=generator)))
        passed = 0
        while budget.left:
            size = (4, 4) if budget.share < 0.5 else (8, 8)
            for images, masks in budget.watch(pairs(3, 5, 2, size=size)):
                assert len(images) == len(masks) > 0
                passed += masks.numel()
        assert budget.pixels - 64 < passed <= budget.pixels
        assert budget.share == 1
        assert list(budget.watch(pairs(1))) == []


def test_the_last_batch_is_cut_to_what_is_left():
    budget = Budget(16 * 3 + 5)
    assert [len(masks) for _, masks in budget.watch(pairs(2, 2, 2))] == [2, 1]
    assert budget.left == 0


def test_no_epoch_of_one_size_is_without_a_batch():
    for pixels in range(16, 200, 7):
        budget = Budget(pixels)
        while budget.left:
            assert list(budget.watch(pairs(2, 1)))


@pytest.mark.parametrize("pixels", [0, -1, 1.5, "many", True, None])
def test_a_budget_is_a_number_of_pixels(pixels):
    with pytest.raises(ValueError, match="whole number of pixels"):
        Budget(pixels)


def test_batches_of_a_stub_are_told():
    with pytest.raises(TypeError, match="Is `batches` written yet"):
        next(Budget().watch(None))


def test_points_rise_evenly_between_the_two_ends():
    assert points_for(e08.ZERO_AT) == points_for(0.0) == 0
    assert points_for(e08.FULL_AT) == points_for(1.0) == e08.POINTS
    assert points_for((e08.ZERO_AT + e08.FULL_AT) / 2) == e08.POINTS / 2
    scale = [points_for(i / 100) for i in range(101)]
    assert scale == sorted(scale)


def test_the_largest_network_fits_the_width_and_no_wider_one():
    def parameters(width):
        return sum(p.numel() for p in UNet(num_classes=7, base_channels=width).parameters())

    assert parameters(e08.BASE_CHANNELS) <= e08.LARGEST_NETWORK < parameters(e08.BASE_CHANNELS + 2)


# what the notebook promises


@pytest.fixture(scope="module")
def prose():
    notebook = nbformat.read(Path(__file__).parents[2] / "solutions" / "E08_unet_segmentation.ipynb", as_version=4)
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_points_difficulty_and_minutes_are_the_same_in_the_table_and_at_the_task(prose):
    rows = re.findall(r"^\| \d \|[^|]+\| (\d+) \| (\d) \| (\d+) \|$", prose, flags=re.MULTILINE)
    heads = re.findall(r"^\*(\d+) points.*difficulty (\d) of 5 · about (\d+) minutes", prose, flags=re.MULTILINE)
    assert rows == heads
    assert len(rows) == 8
    points, _, minutes = (sum(map(int, column)) for column in zip(*rows, strict=True))
    assert points == 100
    assert f"*About {round(minutes, -1)} minutes of work." in prose


def test_the_pixels_of_a_pass_are_as_stated(prose):
    a_pass = learner.TRAIN * (learner.SIZE[0] // 2) * (learner.SIZE[1] // 2)
    assert a_pass < 1_000_000 < e08.PIXELS
    assert f"One pass over your {learner.TRAIN} scenes at half size is {a_pass:,} pixels" in prose


# cells that step aside


def test_stubs_are_recognised():
    def stub(a, b):
        """Says what it would do."""
        ...

    def generator(a):
        yield a

    class Stub(nn.Module):
        def __init__(self):
            super().__init__()

        def forward(self, x): ...

    class Written(nn.Module):
        def forward(self, x):
            return x

    for part in (None, ..., stub, Stub, nn.Module):
        assert is_stub(part)
    for part in (lambda x: x, generator, Written, UNet, torch.relu, 0, nn.CrossEntropyLoss()):
        assert not is_stub(part)


def test_ready_says_what_is_missing(capsys):
    assert ready(a=1, b=len)
    assert capsys.readouterr().out == ""
    assert not ready(a=None, b=len)
    assert capsys.readouterr().out.startswith("Skipped for now: a is still to be written. Write it, or borrow it,")
    assert not ready(a=None, b=len, c=..., d=None)
    assert "a, c and d are still to be written. Write them" in capsys.readouterr().out


# the broken runs


def test_three_different_mistakes_that_depend_on_the_seed_alone():
    assert len(CHOICES) >= 7
    assert mistakes_of(Learner("Ada").seed) == {"A": "softmax twice", "B": "no zero_grad", "C": "step before backward"}
    drawn = [mistakes_of(seed) for seed in range(300)]
    for mistakes in drawn:
        assert tuple(mistakes) == LETTERS
        assert len(set(mistakes.values())) == len(LETTERS)
    for letter in LETTERS:
        assert {mistakes[letter] for mistakes in drawn} == set(CHOICES), "each mistake may stand at each letter"


def test_what_a_mistake_looks_like_does_not_start_a_new_sentence():
    for choice in CHOICES:
        assert looks_like(choice)[0].islower()
        assert looks_like(choice).endswith(".")


@pytest.fixture
def quick(monkeypatch):
    for name, value in (("SIZE", (32, 32)), ("TRAIN", 8), ("VAL", 4), ("EPOCHS", 2)):
        monkeypatch.setattr(broken_runs, name, value)


def test_runs_carry_letters_and_never_the_mistake(quick):
    state = torch.get_rng_state()
    ada = Learner("Ada")
    runs = ada.broken_runs()
    assert torch.equal(torch.get_rng_state(), state)
    assert tuple(runs.runs) == (HEALTHY, *LETTERS)
    shown = " ".join([repr(runs), repr(vars(runs)), *(repr(vars(run)) for run in runs.runs.values())])
    curves, masks = runs.curves(), runs.masks()
    shown += curves.alt_text + masks.alt_text
    for mistake in mistakes_of(ada.seed).values():
        assert mistake not in shown
    for run in runs.runs.values():
        assert len(run.train_loss) == len(run.val_loss) == len(run.val_miou) == 2
        assert run.preds.shape == (4, 32, 32)
    assert len(curves.axes) == 9
    assert [text.get_text() for ax in curves.axes for text in ax.texts] == ["ln 7"] * 6, "on both losses of each run"
    assert len(masks.axes) == 4 * (2 + 1 + len(LETTERS))
    again = ada.broken_runs()
    assert repr(again) == repr(runs)


def trained(seed, *mistakes):
    splits = broken_runs.load(seed=seed, size=broken_runs.SIZE, train=broken_runs.TRAIN, val=broken_runs.VAL, test=1)
    recipes = [broken_runs._Recipe(), *(broken_runs._RECIPES[mistake] for mistake in mistakes)]
    return [broken_runs._train(recipe, splits.train, splits.val, seed) for recipe in recipes]


def test_an_unscaled_validation_changes_no_training(quick):
    healthy, unscaled = trained(0, "validation images not scaled to [0, 1]")
    assert unscaled.train_loss == healthy.train_loss
    assert unscaled.val_loss != healthy.val_loss


def test_a_second_softmax_has_a_floor(quick):
    surest = torch.tensor([[1.0, 0, 0, 0, 0, 0, 0]])
    floor = nn.functional.cross_entropy(surest, torch.tensor([0])).item()
    assert floor == pytest.approx(math.log(math.e + 6) - 1, abs=1e-6) == pytest.approx(1.17, abs=0.01)
    _, twice = trained(0, "softmax twice")
    assert min(twice.train_loss + twice.val_loss) > floor


@pytest.mark.slow
def test_each_mistake_shows_what_its_sentence_says():
    healthy, high, low, step, other, few, twice, swapped, unscaled, piled = trained(7, *CHOICES)
    guess = math.log(7)
    assert high.train_loss[0] > 1.2 * guess
    assert high.train_loss[-1] > 1.5
    assert low.train_loss[0] - low.train_loss[-1] > 0.08
    assert low.train_loss[-1] > 1.5
    assert max(step.train_loss) - min(step.train_loss) < 0.03
    assert other.train_loss[-1] > healthy.train_loss[-1] + 0.2
    assert few.train_loss[-1] < healthy.train_loss[-1]
    assert few.val_loss[-1] > few.train_loss[-1] + 0.4
    assert twice.train_loss[-1] > 1.17
    assert twice.val_miou[-1] > 0.3
    assert abs(swapped.train_loss[-1] - healthy.train_loss[-1]) < 0.15
    assert swapped.val_loss[-1] > 0.8 * guess
    assert unscaled.train_loss == healthy.train_loss
    assert unscaled.val_loss[-1] > 10
    assert healthy.train_loss[-1] + 0.25 < piled.train_loss[-1] < 1.4
    alike = [(other.preds[0] == preds).float().mean() for preds in other.preds[1:]]
    assert min(alike) > 0.8, "without the images, every scene gets the same mask"
