"""unet-lab: a hands-on course on image segmentation with U-Net.

The page of conventions that everything here follows:

* image batches are ``(N, C, H, W)`` float32, raw pixels in [0, 1];
* mask batches are ``(N, H, W)`` int64 class ids; `IGNORE_INDEX` is void and counts nowhere;
* models return logits ``(N, num_classes, H, W)``; softmax or sigmoid is applied once, in the loss or in `predict`.
"""

import os

# Worker threads that wait for each other sleep and don't spin. Spinning threads steal the cores from one another: on two
# busy cores a training step of lesson 4 was 15 times slower with them. OpenMP reads this when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"

IGNORE_INDEX = 255
"""The class id of void pixels: they add nothing to a loss and nothing to a metric."""
