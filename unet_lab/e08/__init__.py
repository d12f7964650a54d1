"""What exercise E08 hands to the learner: scenes of their own, a budget for the training, and broken runs to explain.

from unet_lab.e08 import Budget, Learner, ready
me = Learner("Ada")
"""

from unet_lab.e08.broken_runs import CHOICES
from unet_lab.e08.budget import (
    BASE_CHANNELS,
    FULL_AT,
    LARGEST_NETWORK,
    PIXELS,
    POINTS,
    ZERO_AT,
    Budget,
    points_for,
)
from unet_lab.e08.learner import Learner
from unet_lab.e08.ready import ready

__all__ = [
    "BASE_CHANNELS",
    "CHOICES",
    "FULL_AT",
    "LARGEST_NETWORK",
    "PIXELS",
    "POINTS",
    "ZERO_AT",
    "Budget",
    "Learner",
    "points_for",
    "ready",
]
