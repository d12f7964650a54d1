"""`unet-lab validate`: what a learner runs before handing in.

run        the notebook in a fresh kernel under nbval, in a process of its own
plugin     part of that process: watches the kernel, writes down what each cell did
own_line   part of the kernel: finds the learner's line of an error
report     the table, task by task
"""

CELL_SECONDS = 300.0
"""A cell may take this long; the longest of E08, training, takes about 90 s on two slow cores."""
