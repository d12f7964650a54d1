"""Every still picture of the course.

The pictures take torch tensors or numpy arrays: images ``(C, H, W)`` or ``(H, W, C)``, floats in [0, 1] or bytes; masks
``(H, W)`` of class ids with 255 for void. Colours are those of Okabe and Ito, which colour-blind readers can tell apart;
regions have outlines and void is hatched besides.

**One picture in a notebook.** Every function returns its figure and shows nothing: end the cell with the call, or
``display(figure)`` in the middle of one. The figures are made without pyplot, so the inline backend doesn't know them and
cannot show them a second time, ``%matplotlib inline`` or not, in JupyterLab, Colab and nbconvert alike. To put several
pictures side by side, take the axes from `panels`, not from ``plt.subplots``, whose figure pyplot would show once more::

    figure, axes = plots.panels(2)
    plots.plot_mask(axes[0], mask, class_names)
    plots.plot_instances(axes[1], instances)     # the last call returns the figure too

**Alt text.** ``figure.alt_text`` says what the picture shows, from the data. In a notebook it is the output's plain text
and stands in its metadata, ``{"image/png": {"alt": …}}``, where IPython keeps it for its own images: nbconvert's classic
template makes that the image's ``alt``. JupyterLab 4 and nbconvert's lab template give a PNG no ``alt``, whatever the
metadata; only an HTML output could carry one there. A second copy of each picture as HTML would double the notebook, and
HTML alone is not sure to survive the cleaning of sites that show notebooks, so the PNG stands alone.

**Size.** PNGs with a palette, at most 900 pixels wide: 3 to 25 KB for charts and diagrams. Photographs weigh most:
about 14 KB an image with its mask, so four samples are some 55 KB, and with predictions 75.
"""

from unet_lab.plots.charts import class_bars, confusion_matrix, learning_curves
from unet_lab.plots.colours import OKABE_ITO, default_colours
from unet_lab.plots.diagram import unet_diagram
from unet_lab.plots.figure import LessonFigure, panels
from unet_lab.plots.masks import overlay, plot_instances, plot_mask, plot_panoptic, show_image, show_samples
from unet_lab.plots.pixels import error_map, gradient_map

__all__ = [
    "OKABE_ITO",
    "LessonFigure",
    "class_bars",
    "confusion_matrix",
    "default_colours",
    "error_map",
    "gradient_map",
    "learning_curves",
    "overlay",
    "panels",
    "plot_instances",
    "plot_mask",
    "plot_panoptic",
    "show_image",
    "show_samples",
    "unet_diagram",
]
