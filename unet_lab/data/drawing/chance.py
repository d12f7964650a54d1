"""Random numbers for the street scenes: the same on every platform and in every numpy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np

Colour = tuple[float, float, float]


class Chance:
    """The random stream of one scene: splitmix64 (Steele, Lea, Flood 2014), counted from a key of the seed and the index.

    Integers modulo 2⁶⁴ all the way, so that no version of a random generator matters; and no set-up, where building a
    `RandomState` for every scene takes as long as drawing a house.
    """

    def __init__(self, seed: int, index: int):
        self._key = _mixed(_mixed(np.array([seed], np.uint64)) + np.uint64(index))
        self._drawn = 0
        self._samples = self._draw()

    def _bits(self, count: int) -> np.ndarray:
        """The next `count` numbers of 64 random bits."""
        counter = np.arange(self._drawn, self._drawn + count, dtype=np.uint64)
        self._drawn += count
        counter += self._key
        return _mixed(counter)

    def _draw(self) -> Iterator[float]:
        while True:
            yield from ((self._bits(512) >> np.uint64(11)) * (1 / 2**53)).tolist()

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * next(self._samples)

    def whole(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + int((high - low + 1) * next(self._samples))

    def happens(self, probability: float) -> bool:
        return next(self._samples) < probability

    def one_of(self, options: Sequence):
        return options[int(len(options) * next(self._samples))]

    def colour(self, options: Sequence[Colour], spread: float) -> Colour:
        """One of the colours, lighter or darker by up to `spread`, and a little redder or bluer."""
        red, green, blue = self.one_of(options)
        level, tint = self.between(-spread, spread), self.between(-0.4, 0.4) * spread
        return red + level + tint, green + level, blue + level - tint

    def noise(self, *shape: int) -> np.ndarray:
        """int16, −128…127, all equally likely."""
        count = prod(shape)
        values = self._bits(-(-count // 8)).astype("<u8", copy=False).view(np.uint8)[:count].astype(np.int16)
        values -= 128
        return values.reshape(shape)


def _mixed(counter: np.ndarray) -> np.ndarray:
    """splitmix64's hash of uint64 counters, which wrap around."""
    bits = (counter + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    bits ^= bits >> np.uint64(30)
    bits *= np.uint64(0xBF58476D1CE4E5B9)
    bits ^= bits >> np.uint64(27)
    bits *= np.uint64(0x94D049BB133111EB)
    bits ^= bits >> np.uint64(31)
    return bits
