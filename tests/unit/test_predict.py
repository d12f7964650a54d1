"""Predict, then run: with buttons, in code, and without ipywidgets."""

import sys

import numpy as np
import pytest

from unet_lab.explore import predict, reveal, summary
from unet_lab.explore.predict import Prediction, Predictions

CHOICES = [0.5, 0.1, 0.01, 0.001]
WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def lesson():
    return Predictions()


@pytest.fixture
def without_ipywidgets(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)


def test_nothing_is_chosen_for_the_learner(lesson):
    prediction = lesson.ask("p", CHOICES)
    assert prediction.buttons.index is None
    assert prediction.guess is None
    assert "No prediction yet." in prediction.status.value


def test_a_click_is_kept_and_announced(lesson):
    prediction = lesson.ask("p", CHOICES)
    prediction.buttons.value = 0.1
    assert prediction.guess == 0.1
    assert prediction.status.value == '<span role="status" data-testid="predict-p">You said 0.1.</span>'
    prediction.buttons.value = 0.01
    assert repr(lesson.reveal("p", 0.01)) == "You said 0.01, and so it is."


@pytest.mark.parametrize(("guess", "shown"), [
    (0.1, "You said 0.1; it is 0.01."),
    (0.01, "You said 0.01, and so it is."),
    (None, "It is 0.01. (You made no prediction.)"),
])  # fmt: skip
def test_reveal(lesson, guess, shown):
    lesson.ask("p", CHOICES, guess=guess)
    notice = lesson.reveal("p", 0.01)
    assert repr(notice) == shown
    assert 'role="status"' in notice._repr_html_()
    assert 'data-testid="reveal-p"' in notice._repr_html_()


def test_reveal_of_what_was_never_asked(lesson):
    assert repr(lesson.reveal("p", "void")) == "It is void. (You made no prediction.)"
    assert repr(lesson.summary()) == "Your predictions: none in this lesson."


def test_a_computed_answer_is_the_written_choice(lesson):
    lesson.ask("p", [0.3, 0.4], guess=np.float64(0.1) + 0.2)
    assert repr(lesson.reveal("p", 0.1 + 0.2)) == "You said 0.3, and so it is."
    lesson.ask("q", [0.3, 0.4], guess=0.4)
    assert repr(lesson.reveal("q", 0.1 + 0.2)) == "You said 0.4; it is 0.3."


def test_a_cell_run_twice_keeps_the_guess_and_the_answer(lesson):
    lesson.ask("p", CHOICES).buttons.value = 0.1
    lesson.reveal("p", 0.01)
    again = lesson.ask("p", CHOICES)
    assert again.buttons.value == 0.1
    assert "0 of 1 right" in repr(lesson.summary())
    assert lesson.ask("p", ["other", "choices"]).guess is None


def test_summary(lesson):
    lesson.ask("a", [1, 2], guess=2)
    lesson.ask("b", ["yes", "no"], question="Is it?", guess="no")
    lesson.ask("c", [3, 4])
    lesson.ask("unrevealed", [5, 6], guess=5)
    for key, answer in (("a", 2), ("b", "yes"), ("c", 4)):
        lesson.reveal(key, answer)
    assert repr(lesson.summary()).splitlines() == [
        "Your predictions: 1 of 2 right.",
        "right: a: 2.",
        "wrong: Is it?: you said no; it is yes.",
        "no guess: c: it is 4.",
    ]
    assert lesson.summary()._repr_html_().count("<br>") == 3


def test_bad_arguments_are_named(lesson):
    with pytest.raises(ValueError, match=r"predict\('p'\) expects one of \[1, 2\]; got 3"):
        lesson.ask("p", [1, 2], guess=3)
    for choices in ([], [1, 1], [1, "1"]):
        with pytest.raises(ValueError, match=r"needs choices that all differ"):
            lesson.ask("p", choices)
    lesson.ask("p", [1, 2])
    with pytest.raises(ValueError, match=r"reveal\('p'\) expects one of \[1, 2\]; got 7"):
        lesson.reveal("p", 7)


def test_one_bundle_serves_the_widget_and_the_page_without_a_kernel(lesson):
    bundle = lesson.ask("p", ["a < b", "a > b"], question="Which & why?")._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", WIDGET}
    assert bundle["text/plain"] == "Which & why? a < b / a > b. No prediction yet."
    assert "<li>a &lt; b</li><li>a &gt; b</li>" in bundle["text/html"]
    assert "Which &amp; why?" in bundle["text/html"]
    assert bundle[WIDGET]["model_id"]


def test_text_and_html_are_the_same_in_every_run():
    first, second = (Prediction("p", CHOICES)._repr_mimebundle_() for _ in range(2))
    assert first.pop(WIDGET) != second.pop(WIDGET)
    assert first == second


def test_without_ipywidgets_it_is_text(lesson, without_ipywidgets):
    prediction = lesson.ask("p", CHOICES, guess=0.1)
    assert prediction.box is None
    assert set(prediction._repr_mimebundle_()) == {"text/plain", "text/html"}
    assert repr(prediction) == "Predict: 0.5 / 0.1 / 0.01 / 0.001. You said 0.1."
    assert repr(lesson.reveal("p", 0.01)) == "You said 0.1; it is 0.01."


def test_the_notebooks_functions_show_and_return_nothing(capsys, monkeypatch):
    monkeypatch.setattr(sys.modules["unet_lab.explore.predict"], "PREDICTIONS", Predictions())
    assert predict("p", CHOICES, guess=0.1) is None
    assert reveal("p", 0.01) is None
    assert summary() is None
    assert capsys.readouterr().out.splitlines() == [
        "Predict: 0.5 / 0.1 / 0.01 / 0.001. You said 0.1.",
        "You said 0.1; it is 0.01.",
        "Your predictions: 0 of 1 right.",
        "wrong: p: you said 0.1; it is 0.01.",
    ]
