"""unet-lab: a hands-on course on image segmentation with U-Net.

The page of conventions that everything here follows:

* image batches are ``(N, C, H, W)`` float32, raw pixels in [0, 1];
* mask batches are ``(N, H, W)`` int64 class ids; `IGNORE_INDEX` is void and counts nowhere;
* models return logits ``(N, num_classes, H, W)``; softmax or sigmoid is applied once, in the loss or in `predict`.
"""

__version__ = "0.1.0"

IGNORE_INDEX = 255
"""The class id of void pixels: they add nothing to a loss and nothing to a metric."""
