"""Predict, then run: the learner commits to an answer before the code shows it.

    predict("lazy-ce", choices=[0.5, 0.1, 0.01, 0.001])      # buttons; or predict("lazy-ce", [...], guess=0.1)
    reveal("lazy-ce", 0.01)                                  # "You said 0.1; it is 0.01."
    summary()                                                # at the end of the lesson

Without a kernel, or without ipywidgets, the choices are a list and everything else works the same.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

from unet_lab.checks.display import BLUE, GREEN, ORANGE, Notice, show


class Prediction:
    """One question, its buttons, and what the learner said. Shown as a widget, a list in HTML, or text.

    guess   the choice made so far, or None
    answer  what the lesson has revealed, or None
    """

    def __init__(self, key: str, choices: Sequence[Any], question: str | None = None):
        self.key, self.choices, self.question = key, list(choices), question
        self.guess: Any = None
        self.answer: Any = None
        labels = [str(choice) for choice in self.choices]
        if not labels or len(set(labels)) < len(labels):
            raise ValueError(f"predict({key!r}) needs choices that all differ; got {labels}.")
        self._build_widget()

    def _build_widget(self) -> None:
        try:
            import ipywidgets as widgets
        except ImportError:
            self.buttons = self.status = self.box = None
            return
        labelled = [(str(choice), choice) for choice in self.choices]
        # No index would choose the first for the learner. Wide enough, else ipywidgets cuts long choices off.
        self.buttons = widgets.RadioButtons(options=labelled, index=None, layout=widgets.Layout(width="auto"))
        self.status = widgets.HTML()
        heading = [widgets.HTML(f"<b>{html.escape(self.question)}</b>")] if self.question else []
        self.box = widgets.VBox([*heading, self.buttons, self.status])
        self.buttons.observe(self._chosen, names="value")
        self._update()

    def _chosen(self, change: dict) -> None:
        self.guess = change["new"]
        self._update()

    def _update(self) -> None:
        test_id = html.escape(f"predict-{self.key}")
        self.status.value = f'<span role="status" data-testid="{test_id}">{html.escape(self.said())}</span>'

    def choose(self, guess: Any) -> None:
        """Takes a guess made in code. Raises ValueError if it is none of the choices."""
        self.guess = self.find("predict", guess)
        if self.buttons is not None:
            self.buttons.value = self.guess

    def find(self, caller: str, value: Any) -> Any:
        """The choice that equals the value; a computed 0.30000000000000004 is the choice 0.3."""
        for choice in self.choices:
            if _equal(choice, value):
                return choice
        raise ValueError(f"{caller}({self.key!r}) expects one of {self.choices}; got {value!r}.")

    @property
    def right(self) -> bool:
        """Whether the guess is the answer; both are choices."""
        return self.guess is not None and self.guess == self.answer

    def said(self) -> str:
        return "No prediction yet." if self.guess is None else f"You said {self.guess}."

    def __repr__(self) -> str:
        choices = " / ".join(str(choice) for choice in self.choices)
        return f"{self.question or 'Predict:'} {choices}. {self.said()}"

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{html.escape(str(choice))}</li>" for choice in self.choices)
        return f"<div>{html.escape(self.question or 'Predict:')}<ul>{items}</ul>{html.escape(self.said())}</div>"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": repr(self), "text/html": self._repr_html_()}
        if self.box is not None:
            view = {"model_id": self.box.model_id, "version_major": 2, "version_minor": 0}
            bundle["application/vnd.jupyter.widget-view+json"] = view
        return bundle


class Predictions:
    """The predictions of one lesson, in the order in which they were asked."""

    def __init__(self) -> None:
        self.asked: dict[str, Prediction] = {}

    def ask(self, key: str, choices: Sequence[Any], question: str | None = None, guess: Any = None) -> Prediction:
        """The prediction to display. Asked again, as when a cell is run twice, it keeps the guess and the answer."""
        prediction, earlier = Prediction(key, choices, question), self.asked.get(key)
        if earlier is not None and earlier.choices == prediction.choices:
            prediction.answer = earlier.answer
            guess = earlier.guess if guess is None else guess
        if guess is not None:
            prediction.choose(guess)
        self.asked[key] = prediction
        return prediction

    def reveal(self, key: str, answer: Any) -> Notice:
        """What the learner said and what it is. Raises ValueError if the answer is none of the choices."""
        prediction, test_id = self.asked.get(key), f"reveal-{key}"
        if prediction is not None:
            answer = prediction.answer = prediction.find("reveal", answer)
        if prediction is None or prediction.guess is None:
            return Notice(f"It is {answer}.", "(You made no prediction.)", test_id, BLUE)
        if prediction.right:
            return Notice(f"You said {answer}, and so it is.", "", test_id, GREEN)
        return Notice(f"You said {prediction.guess}; it is {answer}.", "", test_id, ORANGE)

    def summary(self) -> Notice:
        """Every question whose answer was revealed, with right and wrong guesses."""
        revealed = [prediction for prediction in self.asked.values() if prediction.answer is not None]
        guessed = [prediction for prediction in revealed if prediction.guess is not None]
        if not guessed:
            return Notice("Your predictions:", "none in this lesson.", "predictions", BLUE)
        lines = [self._line(prediction) for prediction in revealed]
        head = f"Your predictions: {sum(prediction.right for prediction in guessed)} of {len(guessed)} right."
        return Notice(head, "\n" + "\n".join(lines), "predictions", BLUE)

    @staticmethod
    def _line(prediction: Prediction) -> str:
        name = prediction.question or prediction.key
        if prediction.guess is None:
            return f"no guess: {name}: it is {prediction.answer}."
        if prediction.right:
            return f"right: {name}: {prediction.guess}."
        return f"wrong: {name}: you said {prediction.guess}; it is {prediction.answer}."


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, float) or isinstance(b, float):
        try:
            return math.isclose(a, b, rel_tol=1e-9)
        except TypeError:
            return False
    return bool(a == b)


PREDICTIONS = Predictions()


def predict(key: str, choices: Sequence[Any], *, question: str | None = None, guess: Any = None) -> None:
    """Shows the choices and keeps what the learner picks; `guess` picks in code."""
    show(PREDICTIONS.ask(key, choices, question, guess))


def reveal(key: str, answer: Any) -> None:
    """Shows what the learner said about `key` and what it is."""
    show(PREDICTIONS.reveal(key, answer))


def summary() -> None:
    """Shows the learner's right and wrong guesses."""
    show(PREDICTIONS.summary())
