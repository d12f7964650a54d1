"""unet-lab: a hands-on course on image segmentation with U-Net.

The page of conventions that everything here follows:

* image batches are ``(N, C, H, W)`` float32, raw pixels in [0, 1];
* mask batches are ``(N, H, W)`` int64 class ids; `IGNORE_INDEX` is void and counts nowhere;
* models return logits ``(N, num_classes, H, W)``; softmax or sigmoid is applied once, in the loss or in `predict`.
"""

import os

# Worker threads that wait for each other spin for a moment, then sleep (GNU's OpenMP reads this when torch is imported; it
# is not used on macOS and Windows). A training step of lesson 4, on two idle cores: 66 ms, and 116 ms if they slept at once.
# On two busy cores: 0.25 to 0.4 s, and 3.5 s if they spun on, since spinning threads steal the cores from one another.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "4000")

__version__ = "0.1.0"

IGNORE_INDEX = 255
"""The class id of void pixels: they add nothing to a loss and nothing to a metric."""
