"""A short message that reads well as text and as HTML, and needs no front end."""

from __future__ import annotations

import html
from dataclasses import dataclass

GREEN, ORANGE, BLUE = "#009E73", "#D55E00", "#0072B2"  # Okabe-Ito; the words say the same as the colour


@dataclass(frozen=True)
class Notice:
    """`head` in bold, then `body`, which may have several lines; `test_id` is how a browser test finds it."""

    head: str
    body: str = ""
    test_id: str = ""
    colour: str = BLUE

    def __repr__(self) -> str:
        return f"{self.head} {self.body}".replace(" \n", "\n").strip()

    def _repr_html_(self) -> str:
        body = html.escape(self.body).replace("\n", "<br>")
        return (
            f'<div role="status" data-testid="{html.escape(self.test_id)}" '
            f'style="border-left: 4px solid {self.colour}; padding: 0.2em 0.8em">'
            f"<b>{html.escape(self.head)}</b> {body}</div>"
        )


def show(thing: object) -> None:
    """Displays it in a notebook, prints it anywhere else; works on any line of a cell."""
    try:
        from IPython.display import display
    except ImportError:
        print(repr(thing))
    else:
        display(thing)
