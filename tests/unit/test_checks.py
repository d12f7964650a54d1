"""The checks, tested with wrong answers: each known mistake is caught under its own name, each right answer passes."""

import dataclasses
import json
import random
import threading
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unet_lab.checks import Exercise, Fault, Mistake, check, exercises, find, hint, judge, judge_exercise, verdict
from unet_lab.checks.compare import same, to_data
from unet_lab.models import DoubleConv

KEYS = (
    "count-things", "panoptic-decode", "one-hot",
    "double-conv-parameters", "bottleneck-size", "receptive-field",
    "dice-loss", "balanced-weight", "masked-cross-entropy",
    "train-step", "validate",
    "iou-from-counts", "mean-iou", "bootstrap-interval",
)  # fmt: skip
SEEDS = {key: (0, 1, 2) for key in KEYS} | {"bootstrap-interval": (0, 1)}


@pytest.fixture(autouse=True)
def forget_failures():
    verdict._failures.clear()
    verdict._hints_shown.clear()


def one_hot(masks, num_classes):
    return masks[:, None] == torch.arange(num_classes).view(1, -1, 1, 1)


def dice(logits, masks):
    probs = logits.softmax(dim=1)
    truth = F.one_hot(masks, logits.shape[1]).permute(0, 3, 1, 2).float()
    return 1 - (2 * (probs * truth).sum((0, 2, 3)) / (probs.square() + truth).sum((0, 2, 3))).mean()


# every registered exercise


def test_the_lessons_keys():
    assert tuple(key for key in exercises() if not key.startswith("e08-")) == KEYS


@pytest.mark.parametrize("key", KEYS)
def test_an_exercise_is_complete(key):
    exercise = find(key)
    names = [mistake.name for mistake in exercise.mistakes]
    assert len(set(names)) == len(names) >= 3
    assert all(mistake.sentence.endswith((".", "?")) for mistake in exercise.mistakes)
    assert len(exercise.hints) == 3
    assert exercise.variants
    sizes = [sum(np.size(to_data(argument)) for argument in probe) for probe in exercise.draw(0)]
    assert sizes[0] == min(sizes), "the first probe is the one that a message prints"
    assert repr(exercise.draw(0)) != repr(exercise.draw(1)) or key == "receptive-field", "the probes are random"


@pytest.mark.parametrize("key", KEYS)
def test_right_answers_pass(key):
    exercise = find(key)
    for seed in SEEDS[key]:
        for i, answer in enumerate((exercise.reference, *exercise.variants)):
            start = time.process_time()
            outcome = judge(key, answer, seed=seed)
            assert outcome.status == "passed", f"right answer {i}, seed {seed}: {outcome}"
            assert time.process_time() - start < 5


@pytest.mark.parametrize("key", KEYS)
def test_every_mistake_is_caught_under_its_own_name(key):
    for seed in SEEDS[key]:
        for mistake in find(key).mistakes:
            outcome = judge(key, mistake.answer, seed=seed)
            assert (outcome.status, outcome.mistake) == ("wrong", mistake.name), f"seed {seed}: {outcome}"
            assert outcome.message == mistake.sentence


def filled_with_ellipsis(*arguments):
    answer = ...
    return answer


def computes_with_ellipsis(*arguments):
    answer = ...
    return 1 - answer


def not_implemented(*arguments):
    raise NotImplementedError


STUBS = (
    None,
    ...,
    lambda *arguments: None,
    filled_with_ellipsis,
    computes_with_ellipsis,
    not_implemented,
    lambda *arguments: (..., ...),
)


@pytest.mark.parametrize("key", KEYS)
def test_a_stub_is_not_attempted_yet(key):
    for stub in STUBS:
        assert judge(key, stub).status == "not attempted yet"


def states():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


@pytest.mark.parametrize("key", KEYS)
def test_random_states_are_untouched(key):
    def draws(*arguments):
        random.random(), np.random.rand(), torch.rand(1)
        raise ValueError

    before = states()
    for answer in (find(key).reference, find(key).mistakes[0].answer, draws, None):
        judge(key, answer)
        assert states() == before


def test_bootstrap_mistakes_are_caught_whatever_generator_draws():
    for mistake in find("bootstrap-interval").mistakes:
        outcome = judge("bootstrap-interval", lambda c, n, seed, wrong=mistake.answer: wrong(c, n, seed + 7))
        assert outcome.mistake == mistake.name


# the references, against what they speak about


def test_receptive_field_is_that_of_the_gradient():
    for depth in (1, 2, 3):
        layers = []
        for level in range(depth + 1):
            layers += [nn.Conv2d(1, 1, 3, padding=1) for _ in range(2)]
            layers += [nn.AvgPool2d(2)] if level < depth else []
        network = nn.Sequential(*layers).double()
        for parameter in network.parameters():
            nn.init.ones_(parameter)
        image = torch.zeros(1, 1, 160, 160, dtype=torch.float64, requires_grad=True)
        output = network(image)
        middle = output.shape[-1] // 2
        output[0, 0, middle, middle].backward()
        assert (image.grad != 0).any(dim=-1).sum() == find("receptive-field").reference(depth)


def test_parameters_and_size_are_those_of_the_layers():
    parameters = find("double-conv-parameters").reference(5, 7)
    assert parameters == sum(parameter.numel() for parameter in DoubleConv(5, 7).parameters())
    maps = torch.zeros(1, 1, 75, 75)
    for _ in range(3):
        maps = F.max_pool2d(maps, 2)
    assert find("bottleneck-size").reference(75, 3) == maps.shape[-1]


def test_balanced_weight_makes_one_half_the_best_constant():
    p = torch.linspace(0.001, 0.999, 999)
    weight = find("balanced-weight").reference(42, 4054)
    assert p[(-42 * weight * p.log() - 4054 * (1 - p).log()).argmin()].item() == pytest.approx(0.5, abs=1e-3)


# what a message says


def divides_by_zero(masks, num_classes):
    share = num_classes / 0
    return masks * share


@pytest.mark.parametrize(("key", "answer", "mistake", "words"), [
    ("one-hot", torch.zeros(1, 3, 1, 2), "not a function", 'check("one-hot", one_hot)'),
    ("one-hot", divides_by_zero, "raised ZeroDivisionError", "division by zero in the line `share = num_classes / 0`"),
    ("one-hot", lambda masks: masks, "raised TypeError", "one_hot(masks=[[["),
    ("one-hot", lambda m, c: [m == k for k in range(c)], "wrong type", "it gave 3 items; expected one array"),
    ("one-hot", lambda m, c: "masks", "wrong type", "it gave a str"),
    ("one-hot", lambda m, c: np.array(["a", "b"]), "wrong type", "it gave an array of dtype <U1"),
    ("one-hot", lambda m, c: one_hot(m, c) + 0j, "wrong type", "it gave a complex tensor"),
    ("one-hot", lambda m, c: one_hot(m, c).to_sparse(), "wrong type", "it gave a sparse tensor"),
    ("one-hot", lambda m, c: one_hot(m, c).to("meta"), "wrong device", "the result is on meta"),
    ("dice-loss", lambda x, m: (dice(x, m), torch.zeros(3, device="meta")), "wrong device", "device=x.device"),
    ("dice-loss", lambda x, m: dice(x, m).bfloat16(), "wrong dtype", "return float32"),
    ("dice-loss", lambda x, m: dice(x, m) + (0 * x).abs().sqrt().sum(), "nan in the gradient", "0 is divided by 0"),
    ("dice-loss", lambda x, m: sum(p.to("cuda:99") for p in x), "raised", ""),
    ("one-hot", lambda m, c: one_hot(m, c)[..., :1], "wrong shape", "shape (1, 3, 1, 1); expected shape (1, 3, 1, 2)"),
    ("one-hot", lambda m, c: one_hot(m, c) * 2, "", "expected [[[["),
    ("one-hot", lambda m, c: one_hot(m.masked_fill_(m == 255, -1), c), "input changed in place", "It changes masks"),
    ("panoptic-decode", lambda p: (np.floor(p / 1000), p % 1000), "wrong dtype", "float64"),
    ("dice-loss", lambda x, m: dice(x, m).item(), "not differentiable", ".item()"),
    ("dice-loss", lambda x, m: dice(x.detach(), m), "not differentiable", ".detach()"),
    ("dice-loss", lambda x, m: dice(x, m).detach() + 0 * x.sum(), "wrong gradient", "cut off"),
    ("dice-loss", lambda x, m: dice(x, m)[None], "wrong shape", "shape (1,); expected one number"),
    ("dice-loss", lambda x, m: m.softmax(dim=1), "raised NotImplementedError", "not implemented for"),
    ("count-things", lambda i, s, c: 3.5, "", "semantic=[[1, 2, 2, 1]], class_id=2): it gave 3.5; expected 2"),
    ("train-step", lambda *arguments: 0.5, "", "order of backward and step: it gave ; expected backward, step"),
    ("mean-iou", lambda p, m, c: None if c == 2 else 0.5, "wrong type", "it gave a NoneType; expected a number"),
])  # fmt: skip
def test_wrong_answers_that_are_no_known_mistake(key, answer, mistake, words):
    outcome = judge(key, answer)
    assert outcome.status == "wrong"
    assert outcome.mistake == mistake or (mistake == "raised" and outcome.mistake.startswith("raised "))
    assert words in outcome.message


def test_half_precision_of_right_numbers_passes_where_it_is_exact():
    assert judge("one-hot", lambda m, c: one_hot(m, c).half()).passed
    assert judge("dice-loss", lambda x, m: dice(x, m).double()).passed


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_nothing_that_an_answer_raises_escapes(error):
    def raises(masks, num_classes):
        raise error

    assert judge("one-hot", raises).mistake == f"raised {error.__name__}"


def test_an_endless_loop_is_reported_and_ended():
    def endless(masks, num_classes):
        while True:
            try:
                masks = masks + 1
            except Exception:
                continue

    threads = threading.active_count()
    outcome = judge_exercise(dataclasses.replace(find("one-hot"), limit=0.2), endless)
    assert (outcome.status, outcome.mistake) == ("wrong", "too slow")
    assert threading.active_count() == threads


def test_a_call_that_cannot_be_ended_is_left_behind():
    start = time.perf_counter()
    exercise = dataclasses.replace(find("one-hot"), limit=0.2)
    assert judge_exercise(exercise, lambda masks, num_classes: time.sleep(6)).mistake == "too slow"
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_mode_of_the_cell_does_not_matter(mode):
    with mode():
        assert judge("dice-loss", dice).passed
        assert judge("train-step", find("train-step").reference).passed


def test_a_changed_default_still_gives_the_same_verdict():
    assert judge("dice-loss", lambda logits, masks, eps=1e-7: dice(logits, masks) + eps).passed


def test_unknown_keys_and_faults_of_ours_raise_nothing():
    assert "Did you mean 'dice-loss'?" in judge("dice-los", dice).message
    for key in ("nothing like it", dice, ["dice-loss"]):
        assert judge(key, dice).status == "no verdict"

    def broken(masks, num_classes):
        raise RuntimeError("ours")

    outcome = judge_exercise(dataclasses.replace(find("one-hot"), reference=broken), one_hot)
    assert outcome.status == "no verdict"
    assert "RuntimeError: ours" in outcome.message


# what an exercise may have besides


def doubled(x, factor=2):
    return x * factor


def growing(rng):
    return [(torch.from_numpy(rng.normal(size=n)).float(), *more) for n, more in ((2, ()), (3, (3,)), (9, (-1,)))]


DOUBLED = Exercise(
    key="doubled",
    task="x times a factor, 2 if none is given.",
    reference=doubled,
    probes=growing,
    mistakes=(
        Mistake("always 2", lambda x, factor=2: 2 * x, "Use factor.", others=(lambda x, factor=2: x + x + 1e-9,)),
        Mistake("always 3", lambda x, factor=2: 3 * x, "Use factor.", others=(lambda x, factor=2: 4 * x,)),
        Mistake("refuses", lambda x, factor: x * factor, "Give factor a default."),
        Mistake("two dimensions", lambda x, factor=2: x[:, 0] * factor, "x has one dimension."),
        Mistake("a hundred", lambda x, factor=2: x.view(100) * factor, "x has any length."),
    ),
)


@pytest.mark.parametrize(("answer", "mistake"), [
    (lambda x, factor=2: 2 * x, "always 2"),
    (lambda x, factor=2: 3 * x, "always 3"),
    (lambda x, factor=2: x * 4, "always 3"),
    (lambda x, factor=2: x[:, 0] + factor, "two dimensions"),
    (lambda x, factor=2: x.view(100) + factor, "a hundred"),
    (lambda x, factor=2: x / 0, ""),
    (lambda x, factor=2: x.view(101), "raised RuntimeError"),
])  # fmt: skip
def test_more_ways_to_make_a_mistake(answer, mistake):
    assert judge_exercise(DOUBLED, answer).mistake == mistake


def test_an_argument_left_to_its_default_is_no_problem_for_the_message():
    assert "doubled(x=[" in judge_exercise(DOUBLED, lambda x, factor=2: x + 17).message
    assert judge_exercise(DOUBLED, doubled).passed


def test_of_two_mistakes_the_first_is_named_where_probes_go_from_easy_to_hard():
    def two_mistakes(x, factor=2):
        return 3 * x if factor == 2 else x - 5

    assert judge_exercise(DOUBLED, two_mistakes).mistake == ""
    assert judge_exercise(dataclasses.replace(DOUBLED, staged=True), two_mistakes).mistake == "always 3"


def test_a_symptom_decides_without_running_the_wrong_answers():
    def never(x, factor=2):
        raise AssertionError("run")

    too_large = Mistake("too large", never, "Smaller.", symptom=lambda got, expected: got[0][0] > 100)
    failing = dataclasses.replace(too_large, name="fails", failing=(lambda x, factor=2: x.nothing,))
    exercise = dataclasses.replace(DOUBLED, mistakes=(too_large, failing))
    assert judge_exercise(exercise, lambda x, factor=2: 0 * x + 101).mistake == "too large"
    assert judge_exercise(exercise, lambda x, factor=2: 0 * x).mistake == ""
    assert judge_exercise(exercise, lambda x, factor=2: x.nothing).mistake == "fails"


def test_a_measure_may_say_what_is_wrong():
    def measure(function, x, factor=2):
        if not isinstance(function(x), torch.Tensor):
            raise Fault("no tensor", "Return a tensor.")
        return function(x)

    outcome = judge_exercise(dataclasses.replace(DOUBLED, measure=measure), lambda x, factor=2: "x")
    assert (outcome.mistake, outcome.message) == ("no tensor", "Return a tensor.")


def test_models_among_the_arguments_are_compared_by_what_can_be_compared():
    model = nn.Linear(2, 2)
    assert same((model, [torch.ones(2)], {"a": "b"}), (nn.Linear(2, 2), [torch.ones(2)], {"a": "b"}))
    for other in (
        (model, [torch.zeros(2)], {"a": "b"}),
        (model, [torch.ones(2)], {"a": "c"}),
        (model, [torch.ones(2)]),
    ):
        assert not same((model, [torch.ones(2)], {"a": "b"}), other)


def test_the_line_that_raised_is_found_in_a_class_and_in_an_object():
    class Loss(nn.Module):
        def forward(self, logits, masks):
            return logits.no_such_thing

    assert "in the line `return logits.no_such_thing`" in judge("dice-loss", Loss()).message


# the log that `unet-lab validate` reads


def test_each_check_adds_a_line_to_the_log(tmp_path, monkeypatch):
    path = tmp_path / "checks.jsonl"
    monkeypatch.setenv("UNET_LAB_CHECK_LOG", str(path))
    check("one-hot", one_hot)
    for _ in range(2):
        check("one-hot", lambda m, c: one_hot(m, c).transpose(2, 3))
    check("dice-loss", None)
    check(["no key"], None)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert lines[0] == {"key": "one-hot", "status": "passed", "mistake": "", "message": ""}
    assert lines[2]["mistake"] == "height and width swapped"
    assert "Stuck?" not in lines[2]["message"]
    assert [line["status"] for line in lines[3:]] == ["not attempted yet", "no verdict"]


def test_a_log_that_cannot_be_written_is_no_problem(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("UNET_LAB_CHECK_LOG", str(tmp_path / "no folder" / "checks.jsonl"))
    check("one-hot", one_hot)
    assert capsys.readouterr().out == "one-hot: passed\n"


# values

PIXELS = Exercise(
    key="pixels", task="How many?", reference=4096, mistakes=(Mistake("one side", 64, "This is one side."),)
)
SHARES = Exercise(key="shares", task="Which?", reference=torch.tensor([0.25, 0.75]), mistakes=(), tolerance=0.01)


@pytest.mark.parametrize(("exercise", "answer", "status", "mistake"), [
    (PIXELS, 4096, "passed", ""),
    (PIXELS, torch.tensor(4096.0), "passed", ""),
    (PIXELS, 4097, "wrong", ""),
    (dataclasses.replace(PIXELS, reference=1_000_000), 1_000_001, "wrong", ""),
    (PIXELS, 64, "wrong", "one side"),
    (PIXELS, "4096", "wrong", "wrong type"),
    (PIXELS, lambda: 4096, "wrong", "not a value"),
    (PIXELS, None, "not attempted yet", ""),
    (PIXELS, ..., "not attempted yet", ""),
    (SHARES, np.array([0.252, 0.75]), "passed", ""),
    (SHARES, [0.25, 0.75], "wrong", "wrong type"),
    (SHARES, torch.tensor([0.25]), "wrong", "wrong shape"),
    (SHARES, torch.tensor([0.25, torch.nan]), "wrong", ""),
])  # fmt: skip
def test_values(exercise, answer, status, mistake):
    outcome = judge_exercise(exercise, answer)
    assert (outcome.status, outcome.mistake) == (status, mistake)


def test_a_wrong_value_is_never_told_the_right_one():
    assert judge_exercise(PIXELS, 4097).message == "It is not 4097."
    assert "0.75" not in judge_exercise(SHARES, torch.tensor([0.5, 0.5])).message


# what is shown


def test_check_prints_one_line_and_returns_nothing(capsys):
    assert check("one-hot", one_hot) is None
    assert check("one-hot", None) is None
    assert check("one-hot", lambda m, c: one_hot(m, c).transpose(2, 3)) is None
    passed, stub, wrong = capsys.readouterr().out.splitlines()
    assert passed == "one-hot: passed"
    assert stub == "one-hot: not attempted yet"
    assert wrong.startswith("one-hot: wrong (height and width swapped). Your axes are (N, C, W, H);")


def test_html_says_the_same_and_escapes():
    outcome = judge("one-hot", lambda m, c: 1 / "<b>")
    shown = outcome._repr_html_()
    assert 'role="status"' in shown
    assert 'data-testid="check-one-hot"' in shown
    assert "one-hot: wrong (raised TypeError)." in shown
    assert "&lt;b&gt;" in shown
    assert "<b>&quot;" not in shown
    assert repr(judge("one-hot", one_hot)) == "one-hot: passed"


def test_a_hint_is_offered_after_failures_and_forgotten_after_success(capsys):
    offers = []
    for _ in range(8):
        check("one-hot", lambda m, c: m)
        offers.append(capsys.readouterr().out.partition("Stuck? Hint ")[2][:6])
    assert offers == ["", "1 of 3", "1 of 3", "2 of 3", "2 of 3", "3 of 3", "3 of 3", "3 of 3"]
    check("one-hot", one_hot)
    check("one-hot", lambda m, c: m)
    assert "Stuck?" not in capsys.readouterr().out


def test_hints_come_one_by_one(capsys):
    for _ in range(4):
        hint("one-hot")
    hint("one-hut")
    first, second, third, again, unknown = capsys.readouterr().out.splitlines()
    assert first == f"Hint 1 of 3: {find('one-hot').hints[0]}"
    assert second.startswith("Hint 2 of 3: ")
    assert third == again
    assert "Did you mean 'one-hot'?" in unknown


def test_signatures_are_what_the_lessons_write():
    assert find("one-hot").signature == "one_hot(masks, num_classes)"
    assert find("train-step").signature == "train_step(model, images, masks, optimizer, loss_function)"
    assert PIXELS.signature == ""
