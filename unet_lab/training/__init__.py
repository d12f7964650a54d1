"""Train, evaluate and apply a U-Net.

from unet_lab.training import fit, evaluate, predict
"""

from unet_lab.training.history import Callback, History
from unet_lab.training.inference import classes_of, evaluate, predict
from unet_lab.training.loop import fit
from unet_lab.training.run import Run

__all__ = ["Callback", "History", "Run", "classes_of", "evaluate", "fit", "predict"]
