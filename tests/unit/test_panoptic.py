"""Panoptic quality against hand-worked numbers, sets of pixels in plain Python, and torchmetrics."""

import json
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.detection import PanopticQuality as TorchmetricsPanopticQuality

from unet_lab.metrics import panoptic_quality

VOID = 255_000
CAR, SKY = 1000, 0  # class 1 and class 0


def row(*runs):
    """A map (1, W) of runs (id, number of pixels)."""
    return np.concatenate([np.full(length, panoptic_id) for panoptic_id, length in runs])[None]


def segment_counts(quality, class_id):
    entry = next(entry for entry in quality.per_class if entry.class_id == class_id)
    return entry.true_positives, entry.false_positives, entry.false_negatives


def random_maps(seed, num_classes=3, instances=3, void=0.2, size=(3, 8, 9)):
    """preds and truth (N, H, W) that agree in most places, truth partly void."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, num_classes, (size[0], 4, 3)) * 1000 + rng.integers(0, instances, (size[0], 4, 3))
    truth = blocks.repeat(2, axis=1).repeat(3, axis=2)
    preds = truth.copy()
    change = rng.random(preds.shape) < rng.uniform(0, 0.6)
    preds[change] = rng.permutation(preds.ravel())[: change.sum()]
    truth[rng.random(truth.shape) < rng.uniform(0, 2 * void)] = VOID
    return preds, truth


def quality_by_sets(preds, truth, num_classes):
    """(PQ, SQ, RQ) of each class, after Kirillov et al. 2019, with each segment a set of pixels."""
    matched_iou = {c: [] for c in range(num_classes)}
    unmatched = {c: 0 for c in range(num_classes)}  # FP + FN

    def segments(image):
        found = {}
        for pixel, panoptic_id in np.ndenumerate(image):
            found.setdefault(int(panoptic_id), set()).add(pixel)
        return found, found.pop(VOID, set())

    for image_preds, image_truth in zip(preds, truth, strict=True):
        predicted, _ = segments(image_preds)
        true, void = segments(image_truth)
        matched_preds, matched_truth = set(), set()
        for pred_id, pred_pixels in predicted.items():
            for true_id, true_pixels in true.items():
                iou = len(pred_pixels & true_pixels) / len((pred_pixels - void) | true_pixels)
                if pred_id // 1000 == true_id // 1000 and iou > 0.5:
                    matched_iou[true_id // 1000].append(iou)
                    matched_preds.add(pred_id)
                    matched_truth.add(true_id)
        for true_id in true.keys() - matched_truth:
            unmatched[true_id // 1000] += 1
        for pred_id in predicted.keys() - matched_preds:
            if len(predicted[pred_id] & void) / len(predicted[pred_id]) <= 0.5:
                unmatched[pred_id // 1000] += 1

    scores = []
    for c in range(num_classes):
        tp = len(matched_iou[c])
        if tp + unmatched[c] == 0:
            scores.append((math.nan,) * 3)
        else:
            weight = tp + unmatched[c] / 2
            scores.append((sum(matched_iou[c]) / weight, sum(matched_iou[c]) / tp if tp else 0.0, tp / weight))
    return scores


@given(st.integers(0, 2**32), st.integers(1, 4), st.sampled_from([0, 0.2, 0.5]), st.booleans())
@settings(max_examples=100, deadline=None)
def test_equals_sets_of_pixels(seed, num_classes, void, predict_void):
    preds, truth = random_maps(seed, num_classes, void=void)
    if predict_void:
        preds[:, ::3, 1:5] = VOID
    expected = quality_by_sets(preds, truth, num_classes + 1)  # the last class is absent
    quality = panoptic_quality(preds, truth, class_names=[str(c) for c in range(num_classes + 1)])
    for entry, scores in zip(quality.per_class, expected, strict=True):
        assert (entry.pq, entry.sq, entry.rq) == pytest.approx(scores, nan_ok=True)
    for i, field in enumerate(("pq", "sq", "rq")):
        present = [scores[i] for scores in expected if not math.isnan(scores[i])]
        mean = sum(present) / len(present) if present else math.nan
        assert getattr(quality, field) == pytest.approx(mean, nan_ok=True)


@pytest.mark.parametrize("seed", range(12))
def test_equals_torchmetrics_where_nothing_is_predicted_void(seed):
    """Where pixels are predicted void torchmetrics also takes them out of the IoU, which the paper does not."""
    things, stuff = {1, 2}, {0, 3}
    preds, truth = random_maps(seed, 4)
    reference = TorchmetricsPanopticQuality(things, stuff, return_sq_and_rq=True, return_per_class=True)
    category_and_instance = (torch.tensor(np.stack([ids // 1000, ids % 1000], axis=-1)) for ids in (preds, truth))
    expected = reference(*category_and_instance)[[2, 0, 1, 3]]  # things first there; now classes 0, 1, 2, 3

    quality = panoptic_quality(preds, truth, class_names="0123", things=things)
    ours = torch.tensor([[entry.pq, entry.sq, entry.rq] for entry in quality.per_class], dtype=torch.float64)
    assert not ours.isnan().any()
    torch.testing.assert_close(ours, expected.double())
    assert quality.pq_things == pytest.approx(expected[[1, 2], 0].mean().item())
    assert quality.pq_stuff == pytest.approx(expected[[0, 3], 0].mean().item())


class TestMatching:
    def test_iou_of_exactly_one_half_is_no_match(self):
        truth = row((CAR + 1, 4), (SKY, 4))
        assert segment_counts(panoptic_quality(row((CAR + 1, 2), (SKY, 6)), truth), 1) == (0, 1, 1)
        assert segment_counts(panoptic_quality(row((CAR + 1, 3), (SKY, 5)), truth), 1) == (1, 0, 0)

    def test_the_class_must_be_right(self):
        quality = panoptic_quality(row((2001, 4)), row((1001, 4)))
        assert segment_counts(quality, 1) == (0, 0, 1)
        assert segment_counts(quality, 2) == (0, 1, 0)
        assert quality.pq == 0

    def test_the_instance_number_need_not_be_the_same(self):
        quality = panoptic_quality(row((CAR + 7, 4), (CAR + 3, 2)), row((CAR + 1, 4), (CAR + 2, 2)))
        assert segment_counts(quality, 1) == (2, 0, 0)
        assert quality.pq == 1

    def test_two_touching_objects_taken_for_one(self):
        quality = panoptic_quality(row((CAR + 1, 10)), row((CAR + 1, 6), (CAR + 2, 4)))
        assert segment_counts(quality, 1) == (1, 0, 1)
        assert quality.sq == pytest.approx(0.6)
        assert quality.rq == pytest.approx(1 / 1.5)
        assert quality.pq == pytest.approx(0.4)

    def test_segments_match_within_their_own_image(self):
        """The same id in two images is two segments; each is predicted in the other image."""
        truth = np.stack([row((CAR + 1, 4), (SKY, 4)), row((SKY, 4), (CAR + 1, 4))])
        assert segment_counts(panoptic_quality(truth[::-1], truth), 1) == (0, 2, 2)

    def test_segments_are_pooled_over_images_not_averaged_image_by_image(self):
        """Image A: 3 cars, all found. Image B: one car, missed. Over both: RQ = 3 / 3.5; the mean of 1 and 0 is 0.5."""
        cars = row((CAR + 1, 2), (CAR + 2, 2), (CAR + 3, 2), (SKY, 2))
        truth = np.stack([cars, row((CAR + 1, 1), (SKY, 7))])
        preds = np.stack([cars, row((SKY, 8))])
        quality = panoptic_quality(preds, truth, class_names=("sky", "car"))
        assert segment_counts(quality, 1) == (3, 0, 1)
        assert quality.per_class[1].pq == pytest.approx(3 / 3.5)


class TestVoid:
    def test_void_pixels_are_in_no_union(self):
        quality = panoptic_quality(row((CAR + 1, 10)), row((CAR + 1, 4), (VOID, 6)))
        assert segment_counts(quality, 1) == (1, 0, 0)
        assert quality.pq == 1

    @pytest.mark.parametrize(("void_pixels", "false_positives"), [(4, 1), (5, 1), (6, 0)])
    def test_an_unmatched_prediction_mostly_on_void_is_dropped(self, void_pixels, false_positives):
        truth = row((VOID, void_pixels), (SKY, 30 - void_pixels))
        quality = panoptic_quality(row((CAR + 1, 10), (SKY, 20)), truth)
        counts = segment_counts(quality, 1) if len(quality.per_class) > 1 else (0, 0, 0)
        assert counts == (0, false_positives, 0)

    def test_a_class_whose_only_prediction_was_dropped_does_not_occur(self):
        quality = panoptic_quality(row((CAR + 1, 4), (SKY, 4)), row((VOID, 4), (SKY, 4)), class_names=("sky", "car"))
        assert math.isnan(quality.per_class[1].pq)
        assert quality.pq == 1

    def test_predicted_void_is_no_segment_but_fills_no_truth(self):
        quality = panoptic_quality(row((VOID, 4), (SKY, 6)), row((SKY, 10)))
        assert len(quality.per_class) == 1
        assert quality.pq == pytest.approx(0.6)
        missed = panoptic_quality(row((VOID, 8), (SKY, 2)), row((SKY, 10)))
        assert segment_counts(missed, 0) == (0, 1, 1)

    @pytest.mark.parametrize("void_class", [255, 9])
    def test_void_has_any_instance_number(self, void_class):
        truth = row((CAR + 1, 4), (void_class * 1000 + 17, 3), (void_class * 1000 + 999, 3))
        assert panoptic_quality(row((CAR + 1, 10)), truth, void_class=void_class).pq == 1


class TestResult:
    def test_classes_without_names_are_those_that_occur(self):
        quality = panoptic_quality(row((SKY, 4), (7001, 4)), row((SKY, 4), (VOID, 4)))
        assert [(entry.class_id, entry.name) for entry in quality.per_class] == [(0, "0"), (7, "7")]

    def test_a_class_with_no_segment_is_nan_and_left_out_of_the_mean(self):
        quality = panoptic_quality(row((SKY, 4)), row((SKY, 4)), class_names=("sky", "car"))
        assert all(
            math.isnan(value) for value in (quality.per_class[1].pq, quality.per_class[1].sq, quality.per_class[1].rq)
        )
        assert (quality.pq, quality.sq, quality.rq) == (1, 1, 1)

    def test_things_and_stuff_by_id_or_name(self):
        truth = row((SKY, 4), (CAR + 1, 4), (2001, 4))
        preds = row((SKY, 4), (CAR + 1, 4), (2001, 2), (SKY, 2))
        names = ("sky", "car", "person")
        for things in ({1, 2}, ["car", "person"], (1, "person")):
            quality = panoptic_quality(preds, truth, class_names=names, things=things)
            assert quality.pq_things == pytest.approx((1 + 0) / 2)
            assert quality.pq_stuff == pytest.approx(4 / 6)
        without = panoptic_quality(preds, truth, class_names=names)
        assert without.pq_things is None
        assert without.pq_stuff is None
        assert without.pq == quality.pq

    def test_no_stuff_is_nan(self):
        quality = panoptic_quality(row((CAR + 1, 4)), row((CAR + 1, 4)), things=[1])
        assert quality.pq_things == 1
        assert math.isnan(quality.pq_stuff)

    def test_instance_numbers_of_stuff_are_disregarded_if_things_are_given(self):
        preds, truth = row((SKY + 1, 4), (SKY + 2, 4)), row((SKY, 8))
        assert panoptic_quality(preds, truth).pq == 0  # two halves, IoU 0.5 each
        assert panoptic_quality(preds, truth, things=[1]).pq == 1

    @pytest.mark.parametrize("shape", [(0, 4, 4), (0, 4), (2, 0, 0)])
    def test_nothing_to_count_is_nan_without_a_warning(self, shape):
        empty = np.zeros(shape, np.int64)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            quality = panoptic_quality(empty, empty, class_names=("sky",), things=["sky"])
            all_void = panoptic_quality(row((VOID, 4)), row((VOID, 4)))
        for value in (quality.pq, quality.sq, quality.rq, quality.pq_things, quality.pq_stuff, all_void.pq):
            assert math.isnan(value)

    @pytest.mark.parametrize("kind", ["int32", "int64", "uint16"])
    def test_takes_arrays_and_tensors_maps_and_batches(self, kind):
        preds, truth = (ids.astype(kind) for ids in (row((CAR + 1, 6), (SKY, 2)), row((CAR + 1, 5), (SKY, 3))))
        expected = (5 / 6 + 2 / 3) / 2
        assert panoptic_quality(preds, truth).pq == pytest.approx(expected)
        assert panoptic_quality(torch.tensor(preds), torch.tensor(truth)).pq == pytest.approx(expected)
        assert panoptic_quality(preds[None], truth[None]).pq == pytest.approx(expected)

    def test_large_ids_do_not_overflow(self):
        truth = row((254_999, 4), (254_998, 4)).astype(np.int32)
        assert panoptic_quality(truth, truth).pq == 1

    def test_prints_as_a_table_and_becomes_plain_types(self):
        quality = panoptic_quality(
            row((CAR + 1, 3), (SKY, 5)),
            row((CAR + 1, 4), (SKY, 4)),
            class_names=("sky", "car", "person"),
            things=["car"],
        )
        assert str(quality).splitlines() == [
            "class      PQ     SQ     RQ     TP     FP     FN",
            "sky     0.800  0.800  1.000      1      0      0",
            "car     0.750  0.750  1.000      1      0      0",
            "person      -      -      -      0      0      0",
            "mean    0.775  0.775  1.000",
            "things  0.750",
            "stuff   0.800",
        ]
        plain = json.loads(json.dumps(quality.as_dict()))
        assert plain["pq_things"] == 0.75
        assert plain["per_class"][1] == {
            "class_id": 1,
            "name": "car",
            "pq": 0.75,
            "sq": 0.75,
            "rq": 1.0,
            "true_positives": 1,
            "false_positives": 0,
            "false_negatives": 0,
        }


@pytest.mark.parametrize(
    ("preds", "truth", "options", "error", "message"),
    [
        (np.zeros((4, 4)), np.zeros((4, 4)), {}, TypeError, "preds must hold class ids.*float64"),
        (
            row((0, 4)),
            row((0, 5)),
            {},
            ValueError,
            r"preds and truth must have the same shape; got \(1, 4\) and \(1, 5\)",
        ),
        (
            np.zeros(4, int),
            np.zeros(4, int),
            {},
            ValueError,
            r"truth must have shape \(H, W\) or \(N, H, W\); got \(4,\)",
        ),
        (row((-1, 4)), row((0, 4)), {}, ValueError, "preds hold the id -1; a panoptic id is class_id \\* 1000"),
        (row((0, 4)), row((-5, 4)), {}, ValueError, "truth hold the id -5"),
        (
            row((0, 4)),
            row((3001, 4)),
            {"class_names": "abc"},
            ValueError,
            "truth hold the class 3 .*0..2 .*void_class=3",
        ),
        (row((3001, 4)), row((0, 4)), {"class_names": "abc"}, ValueError, "preds hold the class 3"),
        (row((0, 4)), row((0, 4)), {"class_names": ["sky"], "things": ["car"]}, ValueError, "things has 'car'.*'sky'"),
        (row((0, 4)), row((0, 4)), {"class_names": ["sky"], "things": [1]}, ValueError, "things has 1, which is no"),
        (row((0, 4)), row((0, 4)), {"things": ["car"]}, ValueError, "things has 'car'"),
    ],
)
def test_bad_input_is_refused_with_a_mend(preds, truth, options, error, message):
    with pytest.raises(error, match=message):
        panoptic_quality(preds, truth, **options)
