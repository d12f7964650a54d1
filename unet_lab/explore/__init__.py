"""What a learner handles in a lesson: predictions, and one explorer a file, named after what it explains."""

from unet_lab.explore.predict import predict, reveal, summary

__all__ = ["predict", "reveal", "summary"]
