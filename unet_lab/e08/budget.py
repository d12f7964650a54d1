"""The rules of task 6: how many pixels may be trained on, how large the network may be, what an mIoU is worth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import Tensor

PIXELS = 12_000_000
"""Training pixels that a model may see. Pixels and not seconds, so that a fast computer is no advantage."""

BASE_CHANNELS = 16
"""The widest U-Net of task 6."""

LARGEST_NETWORK = 2_200_000
"""Parameters. U-Net with 16 base channels has 1.94 million; with bilinear upsampling and 3×3 convolutions 2.16."""

POINTS = 20
"""The most that task 6 gives."""

ZERO_AT, FULL_AT = 0.25, 0.65
"""mIoU on held-out scenes that gives no point, and that gives all of them; in between the points grow evenly.

Naming each row's most frequent class gives 0.20 to 0.22. Plain right solutions (AdamW, half the size for 60 % of the
budget, warm-up and cosine) gave 0.73 to 0.78 in eight runs of five learners; the solution as handed out gave 0.729,
0.747 and 0.755. Adam without schedule, class weights and small images gave 0.65.
"""


def points_for(miou: float) -> float:
    """Points of task 6 for an mIoU on held-out scenes, 0 to `POINTS`, to one decimal.

    >>> points_for(ZERO_AT), points_for((ZERO_AT + FULL_AT) / 2), points_for(0.99)
    (0.0, 10.0, 20.0)
    """
    share = (miou - ZERO_AT) / (FULL_AT - ZERO_AT)
    return round(POINTS * min(1.0, max(0.0, share)), 1) + 0.0


class Budget:
    """Counts the pixels that a model is trained on, and ends the training when they are used up.

    A scene of 96 × 128 costs 12,288 pixels, one of half the size a quarter of that, void included. Each time that a
    scene is seen counts.

    Args:
        pixels: how many there are to spend.

    Attributes:
        pixels: how many there are to spend.
        spent: how many were spent so far.
        batches: how many batches were passed on so far.

    >>> import torch
    >>> budget = Budget(pixels=50)
    >>> images, masks = torch.zeros(4, 3, 4, 4), torch.zeros(4, 4, 4)
    >>> [len(images) for images, masks in budget.watch([(images, masks), (images, masks)])]
    [3]
    >>> budget.left, budget.share
    (0, 1.0)
    """

    def __init__(self, pixels: int = PIXELS) -> None:
        if isinstance(pixels, bool) or not isinstance(pixels, int) or pixels < 1:
            raise ValueError(f"Budget expects a whole number of pixels, 1 or more; got {pixels!r}.")
        self.pixels, self.spent, self.batches = pixels, 0, 0

    def __repr__(self) -> str:
        return f"Budget: {self.spent / 1e6:.2f} of {self.pixels / 1e6:.2f} million pixels spent"

    @property
    def left(self) -> int:
        """Pixels that can still be spent; 0 once `watch` has ended for want of them."""
        return self.pixels - self.spent

    @property
    def share(self) -> float:
        """Share of the budget that is spent, 0 to 1: what a learning-rate schedule goes by."""
        return self.spent / self.pixels

    def watch(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Pass batches of images ``(N, C, H, W)`` and masks ``(N, H, W)`` on, count them, and end when the budget does.

        A batch is counted before it is passed on. The last one is cut to the images that the budget still pays for; a
        rest that is too small for one more image is lost.

        Raises:
            TypeError: the batches are None, as a function gives them that is still to be written.
        """
        if batches is None:
            raise TypeError("Budget.watch expects batches of images and masks; got None. Is `batches` written yet?")
        for images, masks in batches:
            pixels_an_image = masks.shape[-2] * masks.shape[-1]
            affordable = min(len(masks), self.left // pixels_an_image)
            self.spent += affordable * pixels_an_image
            if self.left < pixels_an_image:  # now and not at the next batch: an epoch without a batch has no mean loss
                self.spent = self.pixels
            if not affordable:
                return
            self.batches += 1
            yield images[:affordable], masks[:affordable]
