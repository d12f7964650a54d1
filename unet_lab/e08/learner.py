"""Who works on the exercise: their name makes a seed, and the seed makes scenes and broken runs that are theirs alone."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass

from torch import nn

from unet_lab.data import SegmentationDataset, Splits
from unet_lab.data.scenes import draw_scenes, load
from unet_lab.e08.broken_runs import BrokenRuns, Diagnosis, train_broken_runs
from unet_lab.e08.budget import Budget

GUEST = "guest"
"""Who works while no name has been entered."""

SIZE = (96, 128)
"""Height and width of the scenes of the exercise, pixels."""

TRAIN, VAL, HELD_OUT = 192, 48, 64
"""Numbers of scenes to train on, to choose by, and that the points are counted on."""


class Learner:
    """A learner, by name or number.

    The same name gives the same scenes and the same broken runs on every computer. Upper or lower case, outer spaces
    and the way in which an accent is typed make no difference.

    Args:
        name: text or a whole number. An empty text makes the learner "guest", and says so.

    Attributes:
        name: as it is used: without outer spaces, in lower case.
        seed: the whole number made of the name, 0 … 2³²−1.

    Raises:
        TypeError: a name that is neither text nor a whole number.
    """

    def __init__(self, name: str | int) -> None:
        if isinstance(name, bool) or not isinstance(name, (str, int)):
            raise TypeError(
                f"Learner expects your name or number, such as Learner('Ada') or Learner(1815); got {name!r} "
                f"({type(name).__name__})."
            )
        self.name = " ".join(unicodedata.normalize("NFKC", str(name)).casefold().split())
        if not self.name:
            self.name = GUEST
            print(f'No name yet, so you work as "{GUEST}". Enter your own: it gives you scenes that nobody else has.')
        self.seed = _seed(self.name, "scenes")

    def __repr__(self) -> str:
        return f"Learner({self.name!r}), seed {self.seed}"

    def scenes(self) -> Splits:
        """192 scenes to train on and 48 to choose by, 96 × 128 pixels, 7 classes; the test split has 48 more.

        They are the same at every call. None of them is held out.
        """
        return load(seed=self.seed, size=SIZE, train=TRAIN, val=VAL, test=VAL)

    def held_out(self) -> SegmentationDataset:
        """The 64 scenes, of another seed, on which the check of task 6 counts its points. Don't train on them."""
        return draw_scenes(HELD_OUT, seed=_seed(self.name, "held out"), size=SIZE)

    def result(self, model: nn.Module | None, budget: Budget | None) -> Result:
        """A trained model and the budget that it was trained with, for `check("e08-trained-model", ...)`."""
        return Result(self, model, budget)

    def broken_runs(self) -> BrokenRuns:
        """Trains a healthy run and the learner's three broken ones; about 25 seconds on one CPU core."""
        return train_broken_runs(self.seed)

    def diagnosis(self, **answers: str) -> Diagnosis:
        """The learner's answers, such as `A="softmax twice"`, for `check("e08-diagnosis", ...)`."""
        return Diagnosis(self.seed, answers)


@dataclass(frozen=True)
class Result:
    """What task 6 hands in: whose scenes count, the trained model (or None) and its budget."""

    learner: Learner
    model: nn.Module | None
    budget: Budget | None


def _seed(name: str, purpose: str) -> int:
    """A hash, because Python's own `hash` of a text differs from run to run."""
    return int.from_bytes(hashlib.sha256(f"unet-lab E08, {purpose}: {name}".encode()).digest()[:4], "big")
