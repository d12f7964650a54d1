"""Metrics for segmentation: counts first, then pure functions of the counts.

`ConfusionMatrix` counts pixels over a whole data set, in int64; IoU, Dice and accuracy are read off the counts at the
end. `panoptic_quality` counts segments. Everything takes class ids or panoptic ids, never logits, as torch tensors on
any device or as numpy arrays. A class that occurs in neither truth nor prediction has no score: NaN, left out of the
mean.
"""

from unet_lab.metrics.confusion import (
    ConfusionMatrix,
    SegmentationScores,
    dice_per_class,
    iou_per_class,
    mean_iou,
    mean_iou_per_image,
    pixel_accuracy,
)
from unet_lab.metrics.panoptic import ClassPanopticQuality, PanopticQuality, panoptic_quality

__all__ = [
    "ClassPanopticQuality",
    "ConfusionMatrix",
    "PanopticQuality",
    "SegmentationScores",
    "dice_per_class",
    "iou_per_class",
    "mean_iou",
    "mean_iou_per_image",
    "panoptic_quality",
    "pixel_accuracy",
]
