"""Pictures are tested on what is in them: pixels, bars, lines, words. Nobody but a person can test that they are beautiful."""

import io
import itertools
import re
from types import SimpleNamespace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from unet_lab import plots
from unet_lab.models import UNet, describe
from unet_lab.plots.masks import neighbour_colouring
from unet_lab.plots.regions import boundary_segments, runs

NAMES = ("sky", "road", "car")
MASK = np.array([[0, 0, 0, 0], [0, 2, 2, 255], [1, 1, 1, 255]])
RANDOM = np.random.RandomState(0)
IMAGE = RANDOM.rand(3, 3, 4).astype(np.float32)
WIDE = RANDOM.rand(3, 24, 32).astype(np.float32)
WIDE_MASK = np.repeat(np.repeat(MASK, 8, axis=0), 8, axis=1)
HISTORY = SimpleNamespace(train_loss=[0.9, 0.5, 0.4], val_miou=[0.2, 0.6, 0.5])


def every_figure():
    """One of each kind of picture."""
    instances = np.where(WIDE_MASK == 2, 1, 0)
    stages = describe(UNet(base_channels=8), (1, 3, 64, 96))
    gradient = np.pad(np.ones((5, 7)), ((4, 15), (10, 15)))
    return {
        "samples": plots.show_samples([WIDE] * 3, [WIDE_MASK] * 3, [WIDE_MASK] * 3, class_names=NAMES),
        "mask": plots.plot_mask(None, WIDE_MASK, NAMES, title="mask"),
        "instances": plots.plot_instances(None, instances, image=WIDE),
        "panoptic": plots.plot_panoptic(None, WIDE_MASK * 1000 + instances, NAMES),
        "curves": plots.learning_curves({"Dice": HISTORY, "CE": HISTORY}),
        "confusion": plots.confusion_matrix(np.eye(3, dtype=int) * 7, NAMES),
        "bars": plots.class_bars({"a": [0.1, 0.2, np.nan], "b": [0.3, 0.4, 0.5]}, NAMES, errors={"a": [0.1, 0.1, 0.1]}),
        "errors": plots.error_map(WIDE, WIDE_MASK, np.where(WIDE_MASK == 2, 0, 1)),
        "gradient": plots.gradient_map(WIDE, gradient, (2, 8, 9, 11)),
        "diagram": plots.unet_diagram(stages, dropped_skips=(2,)),
    }


@pytest.fixture(scope="module")
def figures():
    return every_figure()


@pytest.fixture(scope="module")
def pngs(figures):
    return {name: figure.to_png() for name, figure in figures.items()}


def legend_texts(figure):
    legends = [legend for legend in (figure.legends + [ax.get_legend() for ax in figure.axes]) if legend]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def words(figure):
    return [text for text in figure.findobj(matplotlib.text.Text) if text.get_text().strip() and text.get_visible()]


def pixels_of(ax):
    return np.asarray(ax.images[0].get_array())


# --- what holds for every picture ------------------------------------------------------------------------------------


def test_every_function_returns_a_figure_that_pyplot_does_not_know(figures, pngs):
    assert all(isinstance(figure, Figure) for figure in figures.values())
    assert not any(figure.canvas.manager for figure in figures.values())
    before = plt.get_fignums()
    plots.show_samples(WIDE, WIDE_MASK, class_names=NAMES).to_png()
    plots.plot_mask(None, MASK, NAMES)
    assert plt.get_fignums() == before


def test_the_users_settings_stay_as_they_were_and_do_not_change_the_picture():
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "text.color": "white"}):
        before = dict(matplotlib.rcParams)
        figure = plots.learning_curves(HISTORY)
        figure.to_png()
        assert dict(matplotlib.rcParams) == before
    assert figure.axes[0].get_facecolor()[:3] == (1, 1, 1)
    assert figure.axes[0].xaxis.label.get_fontsize() == 9.5


def test_no_letter_is_smaller_than_nine_points(figures, pngs):  # drawn: only then are there tick labels
    for name, figure in figures.items():
        assert min(text.get_fontsize() for text in words(figure)) >= 9, name


def test_pictures_fit_a_notebook_in_width_and_in_bytes(pngs):
    for name, data in pngs.items():
        assert len(data) < 60_000, name
        assert 200 < Image.open(io.BytesIO(data)).width <= 920, name


def test_every_picture_says_what_it_shows(figures, pngs):
    for name, figure in figures.items():
        assert figure.alt_text.endswith("."), name
        assert Image.open(io.BytesIO(pngs[name])).text["Description"] == figure.alt_text, name
    assert "sky, road, car, void" in figures["samples"].alt_text
    assert "missed: 128 px" in figures["errors"].alt_text


def test_a_png_of_noisy_images_keeps_the_palette_and_the_paper_exact():
    masks = np.tile(np.arange(64) // 8, (4, 48, 1))
    data = plots.show_samples(RANDOM.rand(4, 3, 48, 64), masks, class_names=[f"class {i}" for i in range(8)]).to_png()
    image = Image.open(io.BytesIO(data)).convert("RGB")
    present = {colour for _, colour in image.getcolors(1 << 24)}
    assert image.getpixel((0, 0)) == (255, 255, 255)
    for colour in plots.OKABE_ITO:
        assert tuple(round(255 * part) for part in to_rgb(colour)) in present


@pytest.mark.parametrize("prelude", ["", "%matplotlib inline"])
def test_a_cell_that_ends_in_a_figure_shows_one_png_with_alt_text(prelude):
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    backend = matplotlib.get_backend()
    shell = InteractiveShell.instance()
    try:
        shell.user_ns.update(plots=plots, history=HISTORY)
        shell.run_cell(prelude)
        with capture_output() as captured:
            result = shell.run_cell("plots.learning_curves(history)")
        result.raise_error()
        assert len(captured.outputs) == 1
        output = captured.outputs[0]
        assert set(output.data) == {"image/png", "text/plain"}
        assert output.metadata["image/png"]["alt"] == output.data["text/plain"]
        assert "best validation mIoU 0.600 at epoch 2" in output.data["text/plain"]
        with capture_output() as captured:
            shell.run_cell("figure = plots.learning_curves(history)")
        assert captured.outputs == []
    finally:
        InteractiveShell.clear_instance()
        matplotlib.use(backend)


# --- colours ---------------------------------------------------------------------------------------------------------


def test_default_colours_are_the_palette_then_differ_up_to_22_classes():
    colours = plots.default_colours(22)
    assert colours.shape == (22, 3)
    assert np.allclose(colours[:8], [to_rgb(colour) for colour in plots.OKABE_ITO])
    assert len(np.unique(colours.round(4), axis=0)) == 22
    assert plots.default_colours(150).shape == (150, 3)
    assert colours.min() >= 0
    assert colours.max() <= 1


def test_sky_is_blue_and_road_black_wherever_they_stand_and_no_colour_is_used_twice():
    sky, road = to_rgb("#56B4E9"), to_rgb("#000000")
    for names in (
        ("sky", "building", "road", "grass", "tree", "car", "person"),
        ("road", "sky", "other"),
        ("a", "b", "c", "d", "e", "f", "g", "h", "road", "sky"),
        ("background", "nucleus"),
    ):
        colours = plots.default_colours(len(names), names)
        assert len(np.unique(colours.round(4), axis=0)) == len(names)
        for name, expected in (("sky", sky), ("road", road)):
            if name in names:
                assert np.allclose(colours[names.index(name)], expected)
    assert np.allclose(colours, plots.default_colours(2))  # names without a natural colour change nothing


# --- overlay ---------------------------------------------------------------------------------------------------------


def test_overlay_mixes_image_and_colour_and_outlines_regions():
    colours = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 1.0]])
    result = plots.overlay(IMAGE, MASK, colours, alpha=0.25)
    assert result.shape == (3, 4, 3)
    assert np.allclose(result[0, 0], 0.75 * IMAGE[:, 0, 0])  # inside: black over the image
    assert np.allclose(result[0, 1], colours[0])  # at the border to the car: the full colour
    assert np.allclose(result[1, 1], colours[2])
    void = result[1:, 3]
    assert np.allclose(void, void[:, :1])  # grey
    assert not np.allclose(void[0], void[1])  # striped


def test_overlay_without_image_is_the_colour():
    assert np.allclose(plots.overlay(None, np.ones((2, 2), int), ["#000000", "#FF0000"]), [1, 0, 0])


def test_images_may_be_torch_or_numpy_first_or_last_grey_bytes_or_floats():
    expected = plots.overlay(WIDE, WIDE_MASK)
    last = np.moveaxis(WIDE, 0, 2)
    tensor = torch.from_numpy(WIDE.copy()).requires_grad_()
    for image in (last, tensor, torch.from_numpy(last.copy())):
        assert np.array_equal(plots.overlay(image, torch.from_numpy(WIDE_MASK)), expected)
    assert np.abs(plots.overlay((last * 255).round().astype(np.uint8), WIDE_MASK) - expected).max() < 0.003
    grey = plots.overlay(WIDE[0], WIDE_MASK)
    for image in (WIDE[:1], last[:, :, :1]):
        assert np.array_equal(plots.overlay(image, WIDE_MASK), grey)
    assert np.abs(plots.overlay(torch.from_numpy(WIDE).bfloat16(), WIDE_MASK) - expected).max() < 0.01


@pytest.mark.parametrize(
    ("image", "mask", "error", "message"),
    [
        (WIDE[None], WIDE_MASK, ValueError, r"got \(1, 3, 24, 32\)\. A batch\? Pass one image"),
        (np.zeros((5, 24, 32)), WIDE_MASK, ValueError, r"got \(5, 24, 32\)\. More channels\?"),
        (np.zeros((3, 24, 3)), WIDE_MASK, ValueError, "channels first or last"),
        (WIDE * 4 - 2, WIDE_MASK, ValueError, "before normalisation"),
        (WIDE * 255, WIDE_MASK, ValueError, "Divide by 255"),
        (WIDE * np.nan, WIDE_MASK, ValueError, "NaN"),
        (np.full((24, 32), 4095), WIDE_MASK, ValueError, "must hold 0 … 255; got 4095"),
        (WIDE, WIDE_MASK[:, :-1], ValueError, "has 24 × 31 pixels, expected 24 × 32"),
        (WIDE, WIDE_MASK[None], ValueError, r"Drop the first dimension: mask\[0\]"),
        (WIDE, np.zeros((2, 3, 24, 32)), ValueError, r"argmax\(dim=1\)"),
        (WIDE, WIDE_MASK.astype(float), TypeError, "whole numbers .ids.; got float64"),
        (WIDE, WIDE_MASK - 1, ValueError, r"got \[-1\]"),
    ],
)
def test_wrong_images_and_masks_are_refused_with_the_likely_mend(image, mask, error, message):
    with pytest.raises(error, match=message):
        plots.overlay(image, mask)


def test_an_alpha_out_of_range_is_refused():
    with pytest.raises(ValueError, match="alpha"):
        plots.overlay(WIDE, WIDE_MASK, alpha=1.5)


# --- regions ---------------------------------------------------------------------------------------------------------


def test_outlines_lie_between_pixels_and_leave_void_out():
    segments = {tuple(map(tuple, segment)) for segment in boundary_segments(MASK, without=255)}
    assert segments == {
        ((0.5, 0.5), (2.5, 0.5)),  # above the car
        ((-0.5, 1.5), (2.5, 1.5)),  # between sky and road, then car and road
        ((0.5, 0.5), (0.5, 1.5)),  # left of the car
    }


def test_outlines_do_not_depend_on_which_side_void_lies():
    for turned in (MASK[::-1], MASK[:, ::-1], MASK.T):
        segments = boundary_segments(turned, without=255)
        assert np.abs(np.diff(segments, axis=1)).sum() == 2 + 3 + 1  # pixel edges


def test_runs_cover_exactly_the_true_pixels():
    marks = RANDOM.rand(9, 13) > 0.5
    again = np.zeros_like(marks)
    for row, start, stop in zip(*runs(marks), strict=True):
        assert not again[row, start:stop].any()
        again[row, start:stop] = True
    assert np.array_equal(again, marks)


# --- masks -----------------------------------------------------------------------------------------------------------


def test_plot_mask_draws_each_class_in_its_colour_and_names_those_that_appear():
    figure, axes = plots.panels(2)
    colours = ["#FF0000", "#00FF00", "#0000FF", "#FFFFFF"]
    assert plots.plot_mask(axes[1], MASK, (*NAMES, "tree"), colours, title="truth") is figure
    assert np.allclose(pixels_of(axes[1])[MASK == 2], [0, 0, 1])
    assert axes[1].images[0].get_interpolation() == "nearest"
    assert legend_texts(figure) == ["sky", "road", "car", "void"]
    assert axes[1].get_title() == "truth"
    assert not axes[0].images


def test_plot_mask_can_name_all_classes():
    figure = plots.plot_mask(None, MASK, (*NAMES, "tree"), all_classes=True)
    assert legend_texts(figure) == ["sky", "road", "car", "tree", "void"]
    assert legend_texts(plots.plot_mask(None, MASK, NAMES, legend=False)) == []


def test_void_is_hatched_in_picture_and_legend():
    figure = plots.plot_mask(None, MASK, NAMES)
    hatched = [patch for patch in figure.axes[0].findobj(matplotlib.patches.Patch) if patch.get_hatch()]
    assert {patch.get_hatch() for patch in hatched} == {"xxxx"}
    assert len(hatched) == 2


def test_ids_without_a_name_are_refused():
    with pytest.raises(ValueError, match=r"class ids 0 … 1 or 255 \(void\); got \[2\]"):
        plots.plot_mask(None, MASK, NAMES[:2])


def test_too_few_colours_are_refused():
    with pytest.raises(ValueError, match="one colour a class, 3 of them; got 2"):
        plots.plot_mask(None, MASK, NAMES, ["#000000", "#FFFFFF"])
    with pytest.raises(ValueError, match="Divide them by 255"):
        plots.plot_mask(None, MASK, NAMES, [(255, 0, 0)] * 3)


def test_touching_instances_never_share_a_colour():
    labels = np.repeat(np.repeat(np.arange(1, 43).reshape(6, 7), 2, axis=0), 2, axis=1)
    colours = np.concatenate([[-1], neighbour_colouring(labels, 42, 7)])[labels]
    for a, b in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        ca, cb = (colours[1:], colours[:-1]) if a.shape[0] < labels.shape[0] else (colours[:, 1:], colours[:, :-1])
        assert (ca != cb)[a != b].all()


def test_plot_instances_colours_objects_only_and_numbers_the_large_ones():
    instances = np.zeros((20, 20), int)
    instances[2:10, 2:10], instances[2:10, 10:18], instances[15, 15] = 7, 900, 3
    figure = plots.plot_instances(None, instances, title="nuclei")
    shown = pixels_of(figure.axes[0])
    assert np.allclose(shown[instances == 0], 0.88)
    assert len(np.unique(shown[2, [0, 5, 15]], axis=0)) == 3
    assert [text.get_text() for text in figure.axes[0].texts] == ["7", "900"]
    assert "3 instances" in figure.alt_text
    with pytest.raises(ValueError, match="positive ids; got -1"):
        plots.plot_instances(None, instances - 1)


def test_an_instance_map_without_zero_has_no_background():
    figure = plots.plot_instances(None, np.array([[4, 4], [9, 9]]))
    assert "2 instances" in figure.alt_text
    assert not (pixels_of(figure.axes[0]) == 0.88).all(axis=2).any()


def test_plot_panoptic_counts_instances_and_keeps_them_apart():
    panoptic = np.array([[0, 0, 0, 0], [2001, 2001, 2002, 255000], [1000, 1000, 1000, 255000]])
    figure = plots.plot_panoptic(None, panoptic, NAMES)
    assert legend_texts(figure) == ["sky", "road", "car (2)", "void"]
    shown = pixels_of(figure.axes[0])
    assert not np.allclose(shown[1, 0], shown[1, 2])
    assert np.allclose(shown[1, 0], shown[1, 1])
    with pytest.raises(ValueError, match=r"A semantic mask\? Use plot_mask"):
        plots.plot_panoptic(None, MASK, NAMES)


# --- samples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 3), (2, 2, 3), (3, 3, 3), (4, 3, 4), (5, 6, 4)])
def test_show_samples_has_one_panel_for_each_picture(count, rows, columns):
    masks = np.repeat(WIDE_MASK[None], count, axis=0)
    figure = plots.show_samples(np.repeat(WIDE[None], count, axis=0), masks, masks, class_names=NAMES)
    grid = figure.axes[0].get_subplotspec().get_gridspec()
    assert (grid.nrows, grid.ncols) == (rows, columns)
    assert len(figure.axes) == 3 * count
    assert legend_texts(figure) == ["sky", "road", "car", "void"]


def test_noise_gets_no_outlines_that_would_hide_it():
    noise = np.random.RandomState(0).randint(0, 3, (24, 32))
    halves = np.repeat([[0, 1]], 24, axis=0).repeat(16, axis=1)
    assert not plots.plot_mask(None, noise, NAMES).axes[0].collections
    assert plots.plot_mask(None, halves, NAMES).axes[0].collections


def test_show_image_takes_either_order_of_the_axes_and_draws_no_ticks():
    image = np.random.RandomState(0).rand(3, 24, 32)
    for given in (image, image.transpose(1, 2, 0), torch.from_numpy(image)):
        ax = plots.show_image(None, given, title="a street").axes[0]
        assert np.allclose(pixels_of(ax), image.transpose(1, 2, 0), atol=1e-6)
        assert (ax.get_title(), len(ax.get_xticks())) == ("a street", 0)


def test_show_samples_puts_each_picture_in_its_place():
    images = [np.full((3, 24, 32), level) for level in (0.2, 0.8, 0.5)]
    masks = [np.full((24, 32), i) for i in range(3)]
    figure = plots.show_samples(images, masks, masks[::-1], class_names=NAMES, titles=["a", "b", "c"], alpha=1)
    panels = [pixels_of(ax)[0, 0] for ax in figure.axes]
    palette = plots.default_colours(3, NAMES)
    assert np.allclose(panels[:3], [[0.2] * 3, [0.8] * 3, [0.5] * 3], atol=0.01)
    assert np.allclose(panels[3:6], palette)
    assert np.allclose(panels[6:], palette[::-1])
    assert [ax.get_title() for ax in figure.axes[:3]] == ["a", "b", "c"]
    assert [figure.axes[i].get_ylabel() for i in (0, 3, 6)] == ["image", "truth", "prediction"]


def test_show_samples_takes_tensors_lists_of_sizes_and_a_single_pair():
    small, small_mask = torch.rand(1, 20, 16), torch.zeros(20, 16, dtype=torch.int64)
    figure = plots.show_samples([WIDE, small], [WIDE_MASK, small_mask], class_names=NAMES)
    assert [pixels_of(ax).shape[:2] for ax in figure.axes] == [(24, 32)] * 2 + [(20, 16)] * 2
    single = plots.show_samples(torch.from_numpy(WIDE), torch.from_numpy(WIDE_MASK), class_names=NAMES)
    assert len(single.axes) == 2
    assert legend_texts(plots.show_samples([small], [small_mask], class_names=NAMES, all_classes=True)) == list(NAMES)


def test_show_samples_refuses_what_does_not_fit_together():
    with pytest.raises(ValueError, match="one of images a mask; got 2 for 1"):
        plots.show_samples([WIDE, WIDE], [WIDE_MASK], class_names=NAMES)
    with pytest.raises(ValueError, match="at least one image"):
        plots.show_samples([], [], class_names=NAMES)
    with pytest.raises(ValueError, match="prediction 0 has 24 × 31"):
        plots.show_samples([WIDE], [WIDE_MASK], [WIDE_MASK[:, 1:]], class_names=NAMES)
    with pytest.raises(TypeError, match="prediction 0 must hold whole numbers"):
        plots.show_samples([WIDE], [WIDE_MASK], [WIDE[0]], class_names=NAMES)


# --- charts ----------------------------------------------------------------------------------------------------------


def test_learning_curves_draw_the_historys_numbers():
    figure = plots.learning_curves(HISTORY)
    loss, miou = figure.axes
    assert list(loss.lines[0].get_xdata()) == [1, 2, 3]
    assert list(loss.lines[0].get_ydata()) == HISTORY.train_loss
    assert list(miou.lines[0].get_ydata()) == HISTORY.val_miou
    assert (list(miou.lines[1].get_xdata()), list(miou.lines[1].get_ydata())) == ([2], [0.6])
    assert legend_texts(figure) == ["best: 0.600 (epoch 2)"]
    assert miou.get_ylim() == (0, 1)
    assert loss.get_ylim()[0] == 0
    assert loss.get_ylim()[1] >= 0.9


def test_learning_curves_leave_out_epochs_without_validation():
    history = SimpleNamespace(train_loss=[3, 2, 1], val_loss=[np.nan, 2.5, np.nan], val_miou=[None, 0.5, float("nan")])
    figure = plots.learning_curves(history)
    assert list(figure.axes[1].lines[0].get_xdata()) == [2]
    assert list(figure.axes[0].lines[1].get_ydata()) == [2.5]
    assert legend_texts(figure)[:2] == ["training", "validation"]
    unvalidated = plots.learning_curves(SimpleNamespace(train_loss=[1.0, 0.5], val_miou=[]))
    assert len(unvalidated.axes) == 1
    with pytest.raises(ValueError, match="at least one epoch"):
        plots.learning_curves({"Dice": SimpleNamespace(train_loss=[], val_miou=[])})


def test_learning_curves_of_several_trainings_differ_in_more_than_colour():
    figure = plots.learning_curves({"Dice": HISTORY, "CE": HISTORY})
    first, second = figure.axes[0].lines
    for look in ("color", "linestyle", "marker"):
        assert plt.getp(first, look) != plt.getp(second, look)
    assert legend_texts(figure) == ["Dice", "CE", "best validation mIoU"]


def test_confusion_matrix_shows_shares_of_the_true_class():
    counts = torch.tensor([[6, 2, 0], [0, 1000, 1], [0, 0, 0]])
    figure = plots.confusion_matrix(counts, NAMES)
    ax = figure.axes[0]
    assert np.allclose(pixels_of(ax)[0], [75, 25, 0])
    cells = {tuple(map(int, text.get_position())): text.get_text() for text in ax.texts}
    assert cells == {(0, 0): "75", (1, 0): "25", (2, 0): "0", (0, 1): "0", (1, 1): ">99", (2, 1): "<1"}
    assert ax.get_ylabel().startswith("true")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["sky  (8)", "road  (1k)", "car  (0)"]
    assert sum(bool(patch.get_hatch()) for patch in ax.patches) == 1  # the absent class
    assert "sky 75%, road 100%." in figure.alt_text


def test_confusion_matrix_refuses_counts_that_do_not_fit():
    with pytest.raises(ValueError, match=r"shape \(3, 3\) for 3 names; got \(2, 2\)"):
        plots.confusion_matrix(np.eye(2), NAMES)
    with pytest.raises(ValueError, match="got -1"):
        plots.confusion_matrix(-np.eye(3, dtype=int), NAMES)


def test_a_large_confusion_matrix_has_a_scale_instead_of_numbers():
    figure = plots.confusion_matrix(np.eye(20, dtype=int), [f"class {i}" for i in range(20)])
    assert len(figure.axes) == 2
    assert not figure.axes[0].texts


def test_class_bars_have_the_height_of_the_values():
    series = {"CE": [0.1, 0.5, np.nan], "Dice": torch.tensor([0.2, 0.25, 0.75])}
    figure = plots.class_bars(series, NAMES, errors={"Dice": [0.01, 0.02, 0.03]}, ylabel="Dice")
    ax = figure.axes[0]
    bars = [container for container in ax.containers if hasattr(container, "patches")]
    for container, row in zip(bars, series.values(), strict=True):
        assert np.allclose([bar.get_height() for bar in container], row, equal_nan=True)
    assert bars[0].patches[0].get_x() + bars[0].patches[0].get_width() <= bars[1].patches[0].get_x()
    assert bars[0].patches[0].get_hatch() != bars[1].patches[0].get_hatch()
    spans = [path.vertices[:, 1] for path in ax.collections[0].get_paths()]
    assert np.allclose(spans, [[0.19, 0.21], [0.23, 0.27], [0.72, 0.78]])
    assert {"absent", "0.50"} <= {text.get_text() for text in ax.texts}
    assert legend_texts(figure) == ["CE", "Dice"]
    assert ax.get_ylabel() == "Dice"


def test_class_bars_of_one_series_may_have_the_class_colours():
    figure = plots.class_bars([0.1, 0.2, 0.3], NAMES, colours=plots.OKABE_ITO[:3])
    colours = [bar.get_facecolor()[:3] for bar in figure.axes[0].containers[0]]
    assert np.allclose(colours, [to_rgb(colour) for colour in plots.OKABE_ITO[:3]])


def test_class_bars_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="3 numbers, one a class name; values CE has 2"):
        plots.class_bars({"CE": [0.1, 0.2]}, NAMES)
    with pytest.raises(ValueError, match=r"errors for \['Dice'\]"):
        plots.class_bars({"CE": [0.1, 0.2, 0.3]}, NAMES, errors={"Dice": [0, 0, 0]})
    with pytest.raises(ValueError, match="at least one series"):
        plots.class_bars({}, NAMES)


# --- pixels ----------------------------------------------------------------------------------------------------------


def test_error_map_counts_and_colours_each_kind():
    truth = np.array([[0, 0, 0, 0, 0], [1, 1, 2, 2, 255], [1, 1, 1, 1, 255]])
    pred = np.array([[0, 0, 1, 1, 1], [0, 1, 1, 2, 0], [0, 1, 1, 1, 2]])
    figure = plots.error_map(np.full((3, 5), 0.5), truth, pred)
    assert legend_texts(figure) == [
        "right: 7 px (53.8%)",
        "missed: 2 px (15.4%)",
        "false: 3 px (23.1%)",
        "confused: 1 px (7.7%)",
        "void, not counted: 2 px",
    ]
    shown = pixels_of(figure.axes[0])
    legend = figure.axes[0].get_legend().get_patches()
    missed, false, confused = (patch.get_facecolor()[:3] for patch in legend[1:4])
    assert np.allclose(shown[(1, 2), (0, 0)], missed)
    assert np.allclose(shown[0, 2:], false)
    assert np.allclose(shown[1, 2], confused)
    assert np.ptp(shown[0, 0]) == 0  # right: grey
    assert len({patch.get_hatch() for patch in legend}) == 5


def test_error_map_without_a_background_only_confuses():
    figure = plots.error_map(np.zeros((2, 2)), np.array([[0, 1], [1, 0]]), np.array([[0, 0], [1, 1]]), background=None)
    assert legend_texts(figure) == ["right: 2 px (50.0%)", "confused: 2 px (50.0%)"]


def test_error_map_of_a_binary_task_has_no_confusion_and_survives_void_alone():
    figure = plots.error_map(np.zeros((2, 2)), np.array([[0, 1], [1, 0]]), np.array([[0, 0], [1, 1]]))
    assert legend_texts(figure) == ["right: 2 px (50.0%)", "missed: 1 px (25.0%)", "false: 1 px (25.0%)"]
    void = plots.error_map(np.zeros((2, 2)), np.full((2, 2), 255), np.zeros((2, 2), int))
    assert legend_texts(void)[0] == "right: 0 px"
    with pytest.raises(ValueError, match="pred has 2 × 1 pixels, expected 2 × 2"):
        plots.error_map(np.zeros((2, 2)), np.zeros((2, 2), int), np.zeros((2, 1), int))


def test_gradient_map_boxes_the_pixels_that_matter():
    gradient = np.zeros((3, 24, 32))
    gradient[1, 4:9, 10:17] = -RANDOM.rand(5, 7) - 0.01
    figure = plots.gradient_map(WIDE, torch.from_numpy(gradient), (2, 8, 9, 11))
    assert legend_texts(figure) == [
        "receptive field by theory: 9 × 11 px",
        "receptive field measured: 5 × 7 px",
    ]
    boxes = [patch.get_bbox().bounds for patch in figure.axes[0].patches]
    assert boxes == [(7.5, 1.5, 11, 9), (9.5, 3.5, 7, 5)]
    for wrong, message in ((gradient * 0, "not zero everywhere"), (gradient[:, 1:], "got .3, 23, 32.")):
        with pytest.raises(ValueError, match=message):
            plots.gradient_map(WIDE, wrong)


# --- diagram ---------------------------------------------------------------------------------------------------------


def stages_of_depth(depth, channels=64, size=256):
    def stage(name, level, factor=1):
        shape = (1, channels * 2 ** (level - 1) * factor, size >> (level - 1), size >> (level - 1))
        return SimpleNamespace(name=name, in_shape=(1, 3, size, size), out_shape=shape, parameters=12_345_678)

    levels = range(1, depth + 1)
    encoder = [stage(f"enc{level}", level) for level in levels]
    decoder = [stage(f"{part}{level}", level) for level in reversed(levels) for part in ("up", "dec")]
    return [*encoder, stage("bottleneck", depth + 1), *decoder, stage("out", 1)]


def test_the_diagram_has_a_box_and_a_label_for_every_stage():
    stages = describe(UNet(base_channels=16, num_classes=7), (1, 3, 96, 128))
    figure = plots.unet_diagram(stages)
    boxes = {
        patch.get_gid(): patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle) and patch.get_gid()
    }
    named = {stage.name: stage for stage in stages if stage.name != "pool"}
    assert set(boxes) == set(named)
    texts = [text.get_text() for text in figure.axes[0].texts]
    for name, stage in named.items():
        shape = " × ".join(str(number) for number in stage.out_shape[1:])
        assert f"{name}\n{shape}\n{stage.parameters:,}" in texts
    assert "image 3 × 96 × 128" in texts
    assert any(f"({sum(stage.parameters for stage in stages):,} in all)" in text for text in texts)
    assert boxes["enc1"].get_height() == pytest.approx(4 * boxes["bottleneck"].get_height())  # √(96 / 6)
    assert boxes["bottleneck"].get_width() == pytest.approx(4 * boxes["enc1"].get_width())  # √(256 / 16)
    arrows = [patch.get_gid() for patch in figure.axes[0].patches]
    assert [arrows.count(kind) for kind in ("pool", "up", "skip", "dropped")] == [4, 4, 4, 0]


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_no_words_of_the_diagram_overlap_at_any_depth(depth):
    figure = plots.unet_diagram(stages_of_depth(depth), dropped_skips=(1,), title="U")
    figure.draw_without_rendering()
    page = figure.bbox
    boxes = [(text.get_text(), text.get_window_extent()) for text in words(figure)]
    for text, box in boxes:
        assert 0 <= box.x0 < box.x1 <= page.x1, text
        assert 0 <= box.y0 < box.y1 <= page.y1, text
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        assert not a.overlaps(b), (one, other)


def test_dropped_skips_are_crossed_out():
    figure = plots.unet_diagram(stages_of_depth(3), dropped_skips=(1, 3))
    kinds = [patch.get_gid() for patch in figure.axes[0].patches]
    assert (kinds.count("skip"), kinds.count("dropped")) == (1, 2)
    assert len(figure.axes[0].lines) == 2
    assert "skip connections: enc2 to dec2." in figure.alt_text
    assert "skip connection left out" in legend_texts(figure)


def test_the_diagram_refuses_what_is_not_a_u():
    stages = stages_of_depth(2)
    with pytest.raises(ValueError, match=re.escape("levels from 1 to 2; got [3]")):
        plots.unet_diagram(stages, dropped_skips=(3,))
    with pytest.raises(ValueError, match="Missing: dec2; unknown: none"):
        plots.unet_diagram([stage for stage in stages if stage.name != "dec2"])
    with pytest.raises(ValueError, match="got none"):
        plots.unet_diagram([])
