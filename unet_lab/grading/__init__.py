"""The exercise as a notebook: read it, build it from its solution, hand it out.

`notebook` is what a learner's `unet-lab validate` needs as well, so it is part of the hand-out; the rest of this folder is
the instructor's side and is not.
"""
