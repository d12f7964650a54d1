"""The confusion matrix and its scores against hand-worked numbers, plain loops, scikit-learn and torchmetrics."""

import dataclasses
import doctest
import json
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex

from unet_lab.metrics import (
    ConfusionMatrix,
    confusion,
    dice_per_class,
    iou_per_class,
    mean_iou,
    mean_iou_per_image,
    panoptic,
    pixel_accuracy,
)

VOID = 255
INTEGER_TYPES = ("uint8", "int8", "int16", "int32", "int64", "uint16", "uint32")


def counted(preds, masks, num_classes, **options):
    matrix = ConfusionMatrix(num_classes, **options)
    matrix.update(preds, masks)
    return matrix


def tensor(*rows):
    return torch.tensor(rows)


@st.composite
def labelled_images(draw, max_classes=6):
    """(num_classes, preds, masks) as uint8 arrays (N, H, W): some classes are absent, some pixels void."""
    num_classes = draw(st.integers(1, max_classes))
    shape = draw(st.tuples(st.integers(0, 3), st.integers(1, 5), st.integers(1, 5)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    occurring = draw(st.integers(1, num_classes))
    preds, masks = rng.integers(0, occurring, (2, *shape), dtype=np.uint8)
    masks[rng.random(shape) < draw(st.sampled_from([0, 0.3, 1]))] = VOID
    return num_classes, preds, masks


def scores_by_loops(preds, masks, num_classes):
    """IoU and Dice of each class with Python sets of pixels."""
    iou, dice = [], []
    pixels = [index for index in np.ndindex(masks.shape) if masks[index] != VOID]
    for c in range(num_classes):
        true = {index for index in pixels if masks[index] == c}
        predicted = {index for index in pixels if preds[index] == c}
        both, either = len(true & predicted), len(true | predicted)
        iou.append(both / either if either else math.nan)
        dice.append(2 * both / (len(true) + len(predicted)) if either else math.nan)
    return iou, dice


def mean_without_nan(values):
    values = [value for value in values if not math.isnan(value)]
    return sum(values) / len(values) if values else math.nan


def test_doctests():
    results = [doctest.testmod(module) for module in (confusion, panoptic)]
    assert sum(result.attempted for result in results) >= 14
    assert all(result.failed == 0 for result in results)


class TestAgainstReferences:
    @given(labelled_images())
    @settings(max_examples=80, deadline=None)
    def test_scores_equal_plain_loops(self, images):
        num_classes, preds, masks = images
        iou, dice = scores_by_loops(preds, masks, num_classes)
        scores = counted(preds, masks, num_classes).scores()
        assert scores.iou == pytest.approx(iou, nan_ok=True)
        assert scores.dice == pytest.approx(dice, nan_ok=True)
        assert scores.mean_iou == pytest.approx(mean_without_nan(iou), nan_ok=True)
        assert scores.mean_dice == pytest.approx(mean_without_nan(dice), nan_ok=True)
        assert scores.pixels == (masks != VOID).sum()

    @pytest.mark.filterwarnings("ignore:A single label was found")  # scikit-learn, where one class is left
    @given(labelled_images())
    @settings(max_examples=50, deadline=None)
    def test_counts_and_scores_equal_scikit_learn(self, images):
        num_classes, preds, masks = images
        matrix = counted(preds, masks, num_classes)
        preds, masks = preds[masks != VOID], masks[masks != VOID]
        if masks.size == 0:
            assert matrix.counts.sum() == 0
            return
        np.testing.assert_array_equal(matrix.counts, confusion_matrix(masks, preds, labels=range(num_classes)))

        present = np.union1d(preds, masks).tolist()
        iou = jaccard_score(masks, preds, labels=present, average=None)
        dice = f1_score(masks, preds, labels=present, average=None)
        np.testing.assert_allclose(iou_per_class(matrix.counts)[present], iou)
        np.testing.assert_allclose(dice_per_class(matrix.counts)[present], dice)
        assert mean_iou(matrix.counts) == pytest.approx(iou.mean())
        assert pixel_accuracy(matrix.counts) == pytest.approx((preds == masks).mean())

    @pytest.mark.parametrize("seed", range(5))
    def test_counts_and_mean_iou_equal_torchmetrics(self, seed):
        generator = torch.Generator().manual_seed(seed)
        masks = torch.randint(0, 5, (2, 7, 8), generator=generator)  # of 6 classes: the last is absent
        preds = masks.where(torch.rand(masks.shape, generator=generator) < 0.7, masks.roll(1))
        masks[:, 0] = VOID
        matrix = counted(preds, masks, 6)
        assert torch.equal(matrix.counts, MulticlassConfusionMatrix(6, ignore_index=VOID)(preds, masks))
        reference = MulticlassJaccardIndex(6, ignore_index=VOID, average="macro")(preds, masks)
        assert mean_iou(matrix.counts) == pytest.approx(reference.item(), abs=1e-6)

    @given(labelled_images())
    @settings(max_examples=40, deadline=None)
    def test_dice_follows_from_iou(self, images):
        num_classes, preds, masks = images
        counts = counted(preds, masks, num_classes).counts
        iou = iou_per_class(counts)
        torch.testing.assert_close(dice_per_class(counts), 2 * iou / (1 + iou), equal_nan=True)


class TestCounting:
    def test_rows_are_truth(self):
        counts = counted(preds=tensor(1, 1, 2), masks=tensor(0, 0, 1), num_classes=3).counts
        assert counts.tolist() == [[0, 2, 0], [0, 0, 1], [0, 0, 0]]
        assert counts.dtype == torch.int64

    @given(labelled_images(), st.integers(1, 4))
    @settings(max_examples=40, deadline=None)
    def test_updates_and_merges_add_up_to_one_update(self, images, parts):
        num_classes, preds, masks = images
        whole = counted(preds, masks, num_classes).counts
        updated, merged = ConfusionMatrix(num_classes), ConfusionMatrix(num_classes)
        for some_preds, some_masks in zip(
            np.array_split(preds.ravel(), parts), np.array_split(masks.ravel(), parts), strict=True
        ):
            updated.update(some_preds, some_masks)
            merged.merge(counted(some_preds, some_masks, num_classes))
        assert torch.equal(updated.counts, whole)
        assert torch.equal(merged.counts, whole)

    def test_merging_leaves_the_other_as_it_was(self):
        first, second = (counted(tensor(0, 1), tensor(0, 0), 2) for _ in range(2))
        first.merge(second)
        first.update(tensor(1), tensor(1))
        assert second.counts.tolist() == [[1, 1], [0, 0]]

    def test_reset_forgets(self):
        matrix = counted(tensor(0, 1), tensor(0, 0), 2)
        matrix.reset()
        assert matrix.counts.tolist() == [[0, 0], [0, 0]]
        matrix.update(tensor(1), tensor(1))
        assert matrix.counts.tolist() == [[0, 0], [0, 1]]

    @pytest.mark.parametrize("pred", [0, 1, VOID, -1, 1000])
    def test_void_counts_nowhere_whatever_is_predicted_there(self, pred):
        matrix = counted(tensor(0, pred), tensor(0, VOID), 2)
        assert matrix.counts.tolist() == [[1, 0], [0, 0]]

    @pytest.mark.parametrize("ignore_index", [-100, -1, 2, 254, 256, 10**12])
    def test_any_id_can_be_void(self, ignore_index):
        matrix = counted(tensor(0, 1, 1), tensor(0, 0, ignore_index), 2, ignore_index=ignore_index)
        assert matrix.counts.tolist() == [[1, 1], [0, 0]]

    def test_a_class_can_be_void(self):
        matrix = counted(tensor(0, 1, 1, 0), tensor(0, 0, 1, 1), 2, ignore_index=0)
        assert matrix.counts.tolist() == [[0, 0], [1, 1]]

    def test_more_classes_than_a_byte_holds(self):
        masks = torch.arange(300)
        matrix = counted(masks.roll(1), masks, 300, ignore_index=-1)
        assert torch.equal(matrix.counts, torch.eye(300, dtype=torch.int64).roll(1, dims=0))

    def test_ids_from_uint8_do_not_wrap(self):
        """19 * 20 + 3 is 383, which a byte turns into 127 = 6 * 20 + 7."""
        preds, masks = np.full(5, 3, np.uint8), np.full(5, 19, np.uint8)
        for matrix in (counted(preds, masks, 20), counted(torch.tensor(preds), torch.tensor(masks), 20)):
            assert matrix.counts[19, 3] == 5
            assert matrix.counts.sum() == 5

    def test_counts_beyond_float32_stay_exact(self):
        matrix = counted(tensor(0), tensor(0), 1)
        for _ in range(40):
            matrix.merge(matrix)
        matrix.update(tensor(0), tensor(0))
        assert matrix.counts.item() == 2**40 + 1
        counts = torch.tensor([[2**24 + 1, 1], [0, 0]])
        assert iou_per_class(counts)[0].item() == (2**24 + 1) / (2**24 + 2)

    @pytest.mark.parametrize("kind", INTEGER_TYPES)
    def test_takes_arrays_and_tensors_of_every_integer_type(self, kind):
        preds, masks = np.array([[0, 1, 2]], kind), np.array([[0, 2, 2]], kind)
        expected = [[1, 0, 0], [0, 0, 0], [0, 1, 1]]
        assert counted(preds, masks, 3).counts.tolist() == expected
        assert counted(torch.tensor(preds), torch.tensor(masks), 3).counts.tolist() == expected
        assert counted(preds, torch.tensor([[0, 2, 2]]), 3).counts.tolist() == expected

    def test_takes_booleans(self):
        probs = np.array([0.2, 0.7, 0.9])
        assert counted(probs > 0.5, np.array([0, 0, 1]), 2).counts.tolist() == [[1, 1], [0, 1]]
        assert counted(torch.tensor(probs) > 0.5, tensor(0, 0, 1), 2).counts.tolist() == [[1, 1], [0, 1]]

    def test_takes_views_and_read_only_arrays_without_a_warning(self):
        masks = np.arange(24, dtype=">i4").reshape(2, 3, 4) % 3
        view = masks[:, ::-1, ::2]
        view.flags.writeable = False
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            matrix = counted(view, view, 3)
        assert matrix.counts.diagonal().tolist() == np.bincount(view.ravel()).tolist()
        channels_last = torch.arange(24).view(2, 3, 4).permute(2, 0, 1) % 3
        assert counted(channels_last, channels_last.contiguous(), 3).counts.tolist() == [
            [8, 0, 0],
            [0, 8, 0],
            [0, 0, 8],
        ]

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_takes_cuda_tensors(self):
        generator = torch.Generator().manual_seed(0)
        preds, masks = torch.randint(0, 12, (2, 4, 64, 64), generator=generator)
        masks[:, :5] = VOID
        expected = counted(preds, masks, 12).counts
        for matrix in (counted(preds.cuda(), masks.cuda(), 12), counted(preds.cuda(), masks, 12)):
            assert torch.equal(matrix.counts, expected)


class TestRefusals:
    @pytest.mark.parametrize(
        ("preds", "masks", "message"),
        [
            (tensor(0, 3), tensor(0, 1), r"preds hold the id 3; .* 0..2 .*num_classes=4 or more"),
            (tensor(0, 1), tensor(0, 7), r"masks hold the id 7; .*ignore_index=7. .*num_classes=8 or more"),
            (tensor(0, VOID), tensor(0, 1), r"preds hold the id 255; .*A prediction is never void"),
            (tensor(0, -1), tensor(0, 1), r"preds hold the id -1; .*A prediction is never void.$"),
            (tensor(0, 1), tensor(0, -100), r"masks hold the id -100; .*Void\? Pass ignore_index=-100.$"),
            (tensor(0, 1, 2), tensor(0, VOID, 99_999), "masks hold the id 99999"),
            (tensor(0, 99_999, 2), tensor(0, 1, VOID), "preds hold the id 99999"),
        ],
    )
    def test_an_id_out_of_range_is_named_and_nothing_is_counted(self, preds, masks, message):
        matrix = counted(tensor(1), tensor(1), 3)
        with pytest.raises(ValueError, match=message):
            matrix.update(preds, masks)
        assert matrix.counts.sum() == 1

    @pytest.mark.parametrize(
        ("preds", "masks", "error", "message"),
        [
            (
                torch.zeros(2, 3, 4, 4),
                torch.zeros(2, 4, 4).long(),
                TypeError,
                r"preds .*torch.float32.*preds.argmax\(1\)",
            ),
            (
                np.zeros((4, 4)),
                np.zeros((4, 4), int),
                TypeError,
                r"preds must hold class ids.*float64 of shape \(4, 4\)",
            ),
            (tensor(0), torch.zeros(1), TypeError, "masks must hold class ids, which are integers; got torch.float32"),
            (tensor(0), [0], TypeError, "masks must be a torch tensor or a numpy array of class ids; got list"),
            (tensor(0, 1), tensor(0), ValueError, r"preds and masks must have the same shape; got \(2,\) and \(1,\).$"),
            (
                torch.zeros(2, 3, 4, 4).long(),
                torch.zeros(2, 4, 4).long(),
                ValueError,
                r"Argmax first: preds.argmax\(1\)",
            ),
        ],
    )
    def test_what_is_not_two_maps_of_ids_is_refused(self, preds, masks, error, message):
        with pytest.raises(error, match=message):
            counted(preds, masks, 3)

    @pytest.mark.parametrize("other", [ConfusionMatrix(3), ConfusionMatrix(2, ignore_index=0)])
    def test_unlike_matrices_do_not_merge(self, other):
        with pytest.raises(ValueError, match="num_classes=2, ignore_index=255, the other"):
            ConfusionMatrix(2).merge(other)

    def test_no_classes(self):
        with pytest.raises(ValueError, match="num_classes must be 1 or more; got 0"):
            ConfusionMatrix(0)

    @pytest.mark.parametrize("function", [iou_per_class, dice_per_class, mean_iou, pixel_accuracy])
    @pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 2, 2)])
    def test_counts_that_are_no_confusion_matrix(self, function, shape):
        with pytest.raises(ValueError, match=r"confusion matrix \(C, C\).*got shape"):
            function(torch.ones(shape))

    def test_names_must_be_as_many_as_classes(self):
        with pytest.raises(ValueError, match="class_names must be 3 names, one a class; got 2"):
            ConfusionMatrix(3).scores(("sky", "road"))

    def test_images_are_needed_for_a_mean_per_image(self):
        with pytest.raises(ValueError, match=r"masks must have shape \(N, H, W\).*got \(2,\)"):
            mean_iou_per_image(tensor(0, 1), tensor(0, 1), 2)


class TestScores:
    def test_an_absent_class_is_nan_and_left_out_of_the_mean(self):
        """The same data give .7222 (kornia, smp), .3889 (scikit-learn) and nan (torchvision) elsewhere."""
        counts = counted(preds=tensor(0, 0, 1, 0), masks=tensor(0, 0, 1, 1), num_classes=3).counts
        assert iou_per_class(counts).tolist() == pytest.approx([2 / 3, 1 / 2, math.nan], nan_ok=True)
        assert dice_per_class(counts).tolist() == pytest.approx([4 / 5, 2 / 3, math.nan], nan_ok=True)
        assert mean_iou(counts) == pytest.approx(0.5833, abs=5e-5)
        assert pixel_accuracy(counts) == 0.75

    @pytest.mark.parametrize(("preds", "masks"), [(tensor(0, 2), tensor(0, 0)), (tensor(0, 0), tensor(0, 2))])
    def test_a_class_in_truth_or_prediction_alone_is_0_and_counts(self, preds, masks):
        counts = counted(preds, masks, 3).counts
        assert iou_per_class(counts).tolist() == pytest.approx([0.5, math.nan, 0], nan_ok=True)
        assert mean_iou(counts) == 0.25

    def test_one_class(self):
        scores = counted(tensor(0, 0), tensor(0, 0), 1).scores()
        assert (scores.iou, scores.mean_iou, scores.pixel_accuracy, scores.pixels) == ((1.0,), 1.0, 1.0, 2)

    @pytest.mark.parametrize("pixels", [torch.zeros(0, dtype=torch.int64), torch.full((2, 3), VOID)])
    def test_nothing_counted_is_nan_without_a_warning(self, pixels):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            scores = counted(pixels, pixels, 3).scores()
        values = (*scores.iou, *scores.dice, scores.mean_iou, scores.mean_dice, scores.pixel_accuracy)
        assert all(math.isnan(value) for value in values)
        assert scores.pixels == 0

    def test_counts_may_be_a_numpy_array(self):
        assert mean_iou(np.array([[2, 0], [1, 1]])) == pytest.approx(7 / 12)

    def test_are_plain_frozen_values(self):
        scores = counted(tensor(0, 1, 1), tensor(0, 1, 0), 2).scores(["sky", "car"])
        assert json.loads(json.dumps(scores.as_dict())) == {
            "class_names": ["sky", "car"],
            "iou": [0.5, 0.5],
            "dice": [2 / 3, 2 / 3],
            "mean_iou": 0.5,
            "mean_dice": 2 / 3,
            "pixel_accuracy": 2 / 3,
            "pixels": 3,
        }
        with pytest.raises(dataclasses.FrozenInstanceError):
            scores.mean_iou = 1.0

    def test_print_as_an_aligned_table(self):
        lines = str(counted(tensor(0, 0), tensor(0, 0), 2).scores(["a long class name", "car"])).splitlines()
        assert lines == [
            "class                IoU   Dice",
            "a long class name  1.000  1.000",
            "car                    -      -",
            "mean               1.000  1.000",
            "pixel accuracy 1.000 over 2 pixels",
        ]

    def test_without_names_classes_are_called_by_their_ids(self):
        assert ConfusionMatrix(3).scores().class_names == ("0", "1", "2")


class TestMeanIouPerImage:
    def test_is_not_the_mean_iou_of_the_data_set(self):
        """Image A: 100 pixels of class 0 and 100 of class 1, all right. Image B: 199 and 1, the one missed."""
        masks, preds = np.zeros((2, 2, 10, 20), np.uint8)
        masks[0, :5] = preds[0, :5] = masks[1, 0, 0] = 1
        per_image = mean_iou_per_image(preds, masks, 2)
        over_the_data_set = mean_iou(counted(preds, masks, 2).counts)
        assert per_image == pytest.approx((1 + (199 / 200 + 0) / 2) / 2)  # 0.749
        assert over_the_data_set == pytest.approx((299 / 300 + 100 / 101) / 2)  # 0.993

    @given(labelled_images())
    @settings(max_examples=40, deadline=None)
    def test_equals_plain_loops(self, images):
        num_classes, preds, masks = images
        each = [mean_without_nan(scores_by_loops(*image, num_classes)[0]) for image in zip(preds, masks, strict=True)]
        value = mean_iou_per_image(preds, masks, num_classes)
        assert value == pytest.approx(mean_without_nan(each), nan_ok=True)

    def test_void_goes_by_ignore_index(self):
        masks, preds = torch.tensor([[[0, 1, -1]]]), torch.tensor([[[0, 1, 0]]])
        assert mean_iou_per_image(preds, masks, 2, ignore_index=-1) == 1
