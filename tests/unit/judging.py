"""What every test of a check wants to know: right answers pass, each mistake has its own name, nothing is left behind."""

import random
import time

import numpy as np
import pytest
import torch

from unet_lab.checks import judge_exercise
from unet_lab.checks.compare import to_data

FEW_SEEDS, MANY_SEEDS = range(2), range(2, 20)


def states():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


def assert_complete(exercise):
    names = [mistake.name for mistake in exercise.mistakes]
    assert len(set(names)) == len(names) >= 10
    assert all(mistake.sentence.endswith((".", "?")) for mistake in exercise.mistakes)
    assert len(set(exercise.hints)) == 3
    sizes = [sum(np.size(to_data(argument)) for argument in probe) for probe in exercise.draw(0)]
    assert sizes[0] == min(sizes), "the first probe is the one that a message prints"


def assert_passes(exercise, answer, seeds):
    for seed in seeds:
        before, start = states(), time.process_time()
        outcome = judge_exercise(exercise, answer, seed=seed)
        assert outcome.status == "passed", f"seed {seed}: {outcome}"
        assert states() == before
        assert time.process_time() - start < 5


def assert_named(exercise, mistake, seeds):
    for seed in seeds:
        for answer in mistake.answers:
            before, start = states(), time.process_time()
            outcome = judge_exercise(exercise, answer, seed=seed)
            assert (outcome.status, outcome.mistake) == ("wrong", mistake.name), f"seed {seed}: {outcome}"
            assert outcome.message == mistake.sentence
            assert states() == before
            assert time.process_time() - start < 5


def assert_stubs_are_not_attempted(exercise):
    def filled_with_ellipsis(*arguments):
        answer = ...
        return answer

    def computes_with_ellipsis(*arguments):
        answer = ...
        return 1 - answer

    def yields_ellipsis(*arguments):
        yield ...

    def not_implemented(*arguments):
        raise NotImplementedError

    stubs = [None, ..., lambda *arguments: None, filled_with_ellipsis, computes_with_ellipsis, not_implemented]
    if exercise.key == "e08-batches":
        stubs.append(yields_ellipsis)
    for stub in stubs:
        assert judge_exercise(exercise, stub).status == "not attempted yet"


def name_of(case):
    """How pytest calls an exercise, a mistake or a function."""
    return getattr(case, "key", None) or getattr(case, "name", None) or getattr(case, "__name__", None)


def every_answer(exercises, variants):
    """A class of tests: every right answer of `exercises` passes and every mistake is named, on twenty seeds.

    `variants` holds right answers by key, besides the exercises' own.
    """
    right = [(e, answer) for e in exercises for answer in (e.reference, *e.variants, *variants[e.key])]
    wrong = [(e, mistake) for e in exercises for mistake in e.mistakes]

    class EveryAnswer:
        @pytest.mark.parametrize("exercise", exercises, ids=name_of)
        def test_an_exercise_is_complete(self, exercise):
            assert_complete(exercise)
            assert_stubs_are_not_attempted(exercise)

        @pytest.mark.parametrize(("exercise", "answer"), right, ids=name_of)
        def test_right_answers_pass(self, exercise, answer):
            assert_passes(exercise, answer, FEW_SEEDS)

        @pytest.mark.slow
        @pytest.mark.parametrize(("exercise", "answer"), right, ids=name_of)
        def test_right_answers_pass_on_many_seeds(self, exercise, answer):
            assert_passes(exercise, answer, MANY_SEEDS)

        @pytest.mark.parametrize(("exercise", "mistake"), wrong, ids=name_of)
        def test_mistakes_are_named(self, exercise, mistake):
            assert_named(exercise, mistake, FEW_SEEDS)

        @pytest.mark.slow
        @pytest.mark.parametrize(("exercise", "mistake"), wrong, ids=name_of)
        def test_mistakes_are_named_on_many_seeds(self, exercise, mistake):
            assert_named(exercise, mistake, MANY_SEEDS)

    return EveryAnswer
