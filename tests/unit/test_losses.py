"""The losses against hand-worked numbers, a plain Python loop, and the libraries that define the same thing."""

import contextlib
import doctest
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import sigmoid_focal_loss

from unet_lab import losses
from unet_lab.losses import (
    CrossEntropyDiceLoss,
    DiceLoss,
    class_weights,
    cross_entropy,
    dice_loss,
    dice_loss_from_probs,
    focal_loss,
)

VOID = 255
EVERY_LOSS = (dice_loss, cross_entropy, focal_loss, CrossEntropyDiceLoss())


def name_of(loss):
    return getattr(loss, "__name__", type(loss).__name__)


every_loss = pytest.mark.parametrize("loss", EVERY_LOSS, ids=name_of)


def random_batch(seed, num_classes=4, size=(3, 9, 11), void=0.0, dtype=torch.float32):
    """Logits (N, C, H, W), C = 1 for two classes by one logit, and masks (N, H, W) in which every class occurs."""
    generator = torch.Generator().manual_seed(seed)
    num_images, height, width = size
    logits = 2 * torch.randn(num_images, num_classes, height, width, generator=generator, dtype=dtype)
    masks = torch.randint(0, max(num_classes, 2), size, generator=generator)
    masks[torch.rand(size, generator=generator) < void] = VOID
    masks[0, 0, : max(num_classes, 2)] = torch.arange(max(num_classes, 2))
    return logits, masks


def as_column(logits, masks):
    """The pixels that are not void as one image of one column: logits (1, C, K, 1) and masks (1, K, 1)."""
    counted = masks != VOID
    return logits.movedim(1, -1)[counted].T[None, :, :, None], masks[counted][None, :, None]


def one_hot(masks, num_classes):
    return F.one_hot(masks, num_classes).movedim(-1, 1)


def hard_logits(preds, num_classes):
    """Logits whose softmax is 0 or 1 in float32."""
    return 200.0 * one_hot(preds, num_classes)


def dice_by_loops(logits, masks, include_background=True):
    """Soft Dice loss in plain Python, one pixel at a time."""
    num_images, num_classes, height, width = logits.shape
    both, predicted, true = ([0.0] * num_classes for _ in range(3))
    present = set()
    for n in range(num_images):
        for y in range(height):
            for x in range(width):
                if masks[n, y, x] == VOID:
                    continue
                exponentials = [math.exp(value) for value in logits[n, :, y, x].tolist()]
                probs = [value / sum(exponentials) for value in exponentials]
                label = int(masks[n, y, x])
                present |= {label, probs.index(max(probs))}
                both[label] += probs[label]
                true[label] += 1
                for c in range(num_classes):
                    predicted[c] += probs[c] ** 2
    counted = [c for c in sorted(present) if include_background or c > 0]
    return sum(1 - 2 * both[c] / (predicted[c] + true[c]) for c in counted) / len(counted)


def test_doctests():
    result = doctest.testmod(losses)
    assert result.attempted >= 15
    assert result.failed == 0


class TestDice:
    @pytest.mark.parametrize("include_background", [True, False])
    @pytest.mark.parametrize("void", [0.0, 0.3])
    @pytest.mark.parametrize("num_classes", [2, 5])
    def test_equals_plain_loops(self, num_classes, void, include_background):
        logits, masks = random_batch(1, num_classes, (2, 4, 5), void, torch.float64)
        expected = dice_by_loops(logits, masks, include_background)
        loss = dice_loss(logits, masks, include_background=include_background)
        assert loss.item() == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("seed", range(5))
    def test_equals_plain_loops_when_classes_are_absent(self, seed):
        logits, masks = random_batch(seed, 7, (1, 1, 8), 0.2, torch.float64)
        masks = masks.where(masks == VOID, masks % 3)
        loss = dice_loss(logits, masks).item()
        assert loss == pytest.approx(dice_by_loops(logits, masks), rel=1e-12)

    @pytest.mark.parametrize("include_background", [True, False])
    def test_equals_monai_where_every_class_occurs(self, include_background):
        monai = pytest.importorskip("monai.losses")
        logits, masks = random_batch(2, 4)
        reference = monai.DiceLoss(
            include_background=include_background,
            to_onehot_y=True,
            softmax=True,
            squared_pred=True,
            batch=True,
            smooth_nr=0,
            smooth_dr=0,
        )
        loss = dice_loss(logits, masks, include_background=include_background)
        torch.testing.assert_close(loss, reference(logits, masks[:, None]))

    def test_with_one_logit_equals_monai_with_sigmoid(self):
        monai = pytest.importorskip("monai.losses")
        logits, masks = random_batch(3, 1)
        reference = monai.DiceLoss(sigmoid=True, squared_pred=True, batch=True, smooth_nr=0, smooth_dr=0)
        torch.testing.assert_close(dice_loss(logits, masks), reference(logits, masks[:, None].float()))

    def test_with_void_equals_monai_on_the_other_pixels(self):
        monai = pytest.importorskip("monai.losses")
        logits, masks = random_batch(4, 4, void=0.4)
        reference = monai.DiceLoss(
            to_onehot_y=True, softmax=True, squared_pred=True, batch=True, smooth_nr=0, smooth_dr=0
        )
        column, labels = as_column(logits, masks)
        torch.testing.assert_close(dice_loss(logits, masks), reference(column, labels[:, None]))

    def test_equals_smp_for_hard_predictions_only_as_smp_does_not_square(self):
        smp = pytest.importorskip("segmentation_models_pytorch")
        reference = smp.losses.DiceLoss(mode="multiclass", from_logits=True, smooth=0)
        soft, masks = random_batch(5, 4)
        hard = hard_logits(soft.argmax(dim=1), 4)  # p is 0 or 1, so p² = p
        torch.testing.assert_close(dice_loss(hard, masks), reference(hard, masks))
        assert abs(dice_loss(soft, masks) - reference(soft, masks)) > 0.01

    @pytest.mark.parametrize("include_background", [True, False])
    def test_one_logit_is_the_foreground_of_two(self, include_background):
        logits, masks = random_batch(6, 1, void=0.2)
        pair = torch.cat([torch.zeros_like(logits), logits], dim=1)
        one = dice_loss(logits, masks, include_background=include_background)
        torch.testing.assert_close(one, dice_loss(pair, masks, include_background=False))

    def test_right_is_0_and_wrong_is_1(self):
        masks = torch.tensor([[[0, 1], [2, 0]]])
        assert dice_loss(hard_logits(masks, 3), masks).item() == 0
        assert dice_loss(hard_logits((masks + 1) % 3, 3), masks).item() == 1

    def test_sharper_right_predictions_cost_less(self):
        masks = torch.tensor([[[0, 1], [1, 0]]])
        right = one_hot(masks, 2).float()
        costs = [dice_loss(sharpness * right, masks).item() for sharpness in (0.0, 1.0, 2.0, 4.0)]
        assert costs == sorted(costs, reverse=True)
        assert len(set(costs)) == 4

    def test_module_is_the_function(self):
        logits, masks = random_batch(7, 3, void=0.2)
        masks[masks == VOID] = -1
        module = DiceLoss(include_background=False, ignore_index=-1)
        assert module(logits, masks) == dice_loss(logits, masks, include_background=False, ignore_index=-1)
        assert module(logits, masks) != dice_loss(logits, masks, ignore_index=-1)


class TestTraps:
    """One test for each line of the list of known traps that a loss can fall into."""

    def test_softmax_is_applied_exactly_once(self):
        logits, masks = random_batch(10, 4, void=0.1)
        loss = dice_loss(logits, masks)
        torch.testing.assert_close(loss, dice_loss_from_probs(logits.softmax(dim=1), masks))
        assert abs(loss - dice_loss(logits.softmax(dim=1), masks)) > 0.01  # twice

    def test_sigmoid_is_applied_exactly_once(self):
        logits, masks = random_batch(11, 1, void=0.1)
        torch.testing.assert_close(dice_loss(logits, masks), dice_loss_from_probs(logits.sigmoid(), masks))

    def test_logits_where_probabilities_belong_are_refused(self):
        logits, masks = random_batch(12, 3)
        with pytest.raises(ValueError, match=r"probs must lie in \[0, 1\].*Call dice_loss"):
            dice_loss_from_probs(logits, masks)

    @every_loss
    @pytest.mark.parametrize("channels", [1, 3])
    def test_void_is_left_out_after_the_activation(self, loss, channels):
        """Logits set to 0 before the softmax would count with p = 1/C (MONAI#8655)."""
        logits, masks = random_batch(13, channels, void=0.4)
        elsewhere = logits.where((masks != VOID)[:, None], 50 * torch.randn_like(logits))
        assert not torch.equal(logits, elsewhere)
        assert loss(logits, masks) == loss(elsewhere, masks)
        torch.testing.assert_close(loss(logits, masks), loss(*as_column(logits, masks)))

    @every_loss
    def test_a_class_can_be_void(self, loss):
        logits, masks = random_batch(17, 3)
        logits[:, 1] = -50  # never predicted
        without = masks.where(masks != 1, VOID)
        if isinstance(loss, nn.Module):
            assert CrossEntropyDiceLoss(ignore_index=1)(logits, masks) == loss(logits, without)
        else:
            assert loss(logits, masks, ignore_index=1) == loss(logits, without)

    def test_void_masked_before_the_activation_would_give_another_number(self):
        probs = torch.tensor([[[[1.0, 1.0, 0.9, 0.9]]]])
        masks = torch.tensor([[[1, 0, VOID, VOID]]])
        logits = torch.tensor([[[[200.0, 200.0, math.log(9), math.log(9)]]]])
        assert dice_loss(logits, masks).item() == pytest.approx(1 - 2 * 1 / (2 + 1))
        assert dice_loss_from_probs(probs, masks).item() == pytest.approx(1 - 2 * 1 / (2 + 1))
        too_early = (logits * (masks != VOID)).sigmoid()
        wrong = 1 - 2 * 1 / (too_early.square().sum() + 1)  # 2 + 2 · 0.25 + 1
        assert wrong.item() == pytest.approx(1 - 2 / 3.5)

    def test_dice_is_a_mean_over_classes_not_one_over_all_of_them(self):
        logits, masks = random_batch(14, 3)
        masks = masks.where(masks < 2, 0)
        masks[0, 0, 2] = 2  # one pixel of class 2
        logits = logits + 3 * one_hot(masks % 2, 3)  # never seen
        probs, truth = logits.softmax(dim=1), one_hot(masks, 3)
        micro = 1 - 2 * (probs * truth).sum() / (probs + truth).sum()
        mean_p_true = probs.gather(1, masks[:, None]).mean()
        torch.testing.assert_close(micro, 1 - mean_p_true)  # all that such a Dice measures

        each = [1 - 2 * (probs * truth)[:, c].sum() / (probs**2 + truth)[:, c].sum() for c in range(3)]
        torch.testing.assert_close(dice_loss(logits, masks), sum(each) / 3)
        assert abs(dice_loss(logits, masks) - micro) > 0.05

    def test_dice_is_taken_over_the_batch_not_image_by_image(self):
        """Image A: 4 pixels, all found. Image B: 2 pixels, one found, one false alarm."""
        masks = torch.tensor([[[1, 1, 1, 1, 0, 0]], [[1, 1, 0, 0, 0, 0]]])
        preds = torch.tensor([[[1, 1, 1, 1, 0, 0]], [[1, 0, 1, 0, 0, 0]]])
        logits = (400.0 * preds - 200)[:, None]
        a_image = [dice_loss(logits[i : i + 1], masks[i : i + 1]).item() for i in range(2)]
        assert a_image == pytest.approx([0, 0.5])  # mean 0.25
        assert dice_loss(logits, masks).item() == pytest.approx(1 - 2 * 5 / (6 + 6))  # 0.1667

    def test_denominators_are_squared(self):
        probs = torch.tensor([[[[0.6, 0.4]]]])
        masks = torch.tensor([[[1, 0]]])
        assert dice_loss_from_probs(probs, masks).item() == pytest.approx(1 - 1.2 / (0.36 + 0.16 + 1))  # 0.2105
        assert dice_loss_from_probs(probs, masks).item() != pytest.approx(1 - 1.2 / (0.6 + 0.4 + 1), abs=0.1)  # 0.4

    @every_loss
    @pytest.mark.parametrize("autocast", [False, True], ids=["plain", "autocast"])
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
    @pytest.mark.parametrize("channels", [1, 2])
    def test_half_precision_logits_give_float32_sums(self, loss, dtype, autocast, channels):
        generator = torch.Generator().manual_seed(15)
        masks = torch.ones(1, 512, 512, dtype=torch.int64)
        masks[:, :8] = 0
        logits = (
            one_hot(masks, 2)[:, 2 - channels :] * 3 + torch.randn(1, channels, 512, 512, generator=generator)
        ).to(dtype)
        context = torch.autocast("cpu", dtype=dtype) if autocast else contextlib.nullcontext()
        with context:
            result = loss(logits, masks)
        assert result.dtype == torch.float32
        torch.testing.assert_close(result.double(), loss(logits.double(), masks), rtol=1e-5, atol=1e-6)

    @every_loss
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
    def test_half_precision_logits_get_a_gradient(self, loss, dtype):
        logits, masks = random_batch(16, 2, (1, 128, 128))
        logits = logits.to(dtype).requires_grad_()
        loss(logits, masks).backward()
        reference = logits.detach().double().requires_grad_()
        loss(reference, masks).backward()
        assert logits.grad.dtype == dtype
        difference = (logits.grad.double() - reference.grad).norm() / reference.grad.norm()
        assert difference < 0.01

    @every_loss
    @pytest.mark.parametrize("channels", [1, 3])
    def test_everything_void_is_0_with_a_gradient_path(self, loss, channels):
        logits = torch.randn(2, channels, 4, 4, requires_grad=True)
        result = loss(logits, torch.full((2, 4, 4), VOID))
        result.backward()
        assert result.item() == 0
        assert torch.equal(logits.grad, torch.zeros_like(logits))

    @every_loss
    def test_an_empty_batch_is_0_with_a_gradient_path(self, loss):
        logits = torch.randn(0, 3, 4, 4, requires_grad=True)
        result = loss(logits, torch.zeros(0, 4, 4, dtype=torch.int64))
        result.backward()
        assert result.item() == 0

    def test_the_mean_divides_by_the_pixels_that_count(self):
        """Three pixels that cost 1.35 each and one void pixel: 1.35, not 1.0125."""
        logits = torch.full((1, 1, 2, 2), -math.log(math.exp(1.35) - 1))
        masks = torch.tensor([[[1, 1], [1, VOID]]])
        assert cross_entropy(logits, masks).item() == pytest.approx(1.35, abs=1e-6)
        focal = (1 - math.exp(-1.35)) ** 2 * 1.35
        assert focal_loss(logits, masks).item() == pytest.approx(focal, abs=1e-6)

    def test_a_class_absent_from_target_and_prediction_is_left_out(self):
        probs = torch.tensor([[[[0.6, 0.3]], [[0.3, 0.6]], [[0.1, 0.1]]]])  # (1, 3, 1, 2)
        masks = torch.tensor([[[0, 1]]])
        each = 1 - 2 * 0.6 / (0.36 + 0.09 + 1)
        assert dice_loss_from_probs(probs, masks).item() == pytest.approx(each)  # (2 · each + 1) / 3 if it counted

    def test_a_class_absent_from_the_target_alone_costs_1(self):
        probs = torch.tensor([[[[0.6, 0.1]], [[0.3, 0.3]], [[0.1, 0.6]]]])  # the second pixel says class 2
        masks = torch.tensor([[[0, 1]]])
        expected = (1 - 1.2 / (0.36 + 0.01 + 1) + 1 - 0.6 / (0.09 + 0.09 + 1) + 1) / 3
        assert dice_loss_from_probs(probs, masks).item() == pytest.approx(expected)

    def test_a_prediction_at_a_void_pixel_makes_no_class_present(self):
        logits = hard_logits(torch.tensor([[[0, 2]]]), 3)
        assert dice_loss(logits, torch.tensor([[[0, VOID]]])).item() == 0

    def test_empty_target_and_prediction_cost_nothing(self):
        logits = torch.full((1, 1, 3, 3), -2.0, requires_grad=True)
        result = dice_loss(logits, torch.zeros(1, 3, 3, dtype=torch.int64))
        result.backward()
        assert result.item() == 0
        assert torch.equal(logits.grad, torch.zeros_like(logits))

    def test_p_of_one_half_is_not_a_prediction_and_above_is(self):
        masks = torch.zeros(1, 3, 3, dtype=torch.int64)
        assert dice_loss(torch.zeros(1, 1, 3, 3), masks).item() == 0
        assert dice_loss(torch.full((1, 1, 3, 3), 0.01), masks).item() == 1

    def test_classes_without_probability_leave_the_gradient_finite(self):
        masks = torch.tensor([[[0, 1]]])
        logits = hard_logits(masks, 3).requires_grad_()  # class 2: Σ p² = Σ g² = 0
        dice_loss(logits, masks).backward()
        assert torch.isfinite(logits.grad).all()


class TestCrossEntropy:
    @pytest.mark.parametrize("weights", [None, [0.2, 1.0, 3.0, 0.5]])
    @pytest.mark.parametrize("ignore_index", [255, -100, 1])
    def test_equals_torch(self, weights, ignore_index):
        logits, masks = random_batch(20, 4, void=0.3)
        masks[masks == VOID] = ignore_index
        weights = None if weights is None else torch.tensor(weights)
        torch.testing.assert_close(
            cross_entropy(logits, masks, class_weights=weights, ignore_index=ignore_index),
            F.cross_entropy(logits, masks, weight=weights, ignore_index=ignore_index),
        )

    def test_one_logit_equals_torch_binary_cross_entropy(self):
        logits, masks = random_batch(21, 1)
        expected = F.binary_cross_entropy_with_logits(logits[:, 0], masks.float())
        torch.testing.assert_close(cross_entropy(logits, masks), expected)

    def test_one_logit_takes_a_weight_for_background_and_foreground(self):
        logits, masks = random_batch(22, 1, void=0.3)
        pair = torch.cat([torch.zeros_like(logits), logits], dim=1)
        expected = F.cross_entropy(pair, masks, weight=torch.tensor([0.25, 4.0]), ignore_index=VOID)
        torch.testing.assert_close(cross_entropy(logits, masks, class_weights=[0.25, 4.0]), expected)

    def test_large_logits_do_not_overflow(self):
        logits = torch.tensor([[[[1000.0]]]])
        assert cross_entropy(logits, torch.tensor([[[0]]])).item() == 1000
        assert cross_entropy(logits, torch.tensor([[[1]]])).item() == 0

    def test_only_pixels_of_weight_0_is_0(self):
        logits, masks = torch.randn(1, 2, 2, 2, requires_grad=True), torch.ones(1, 2, 2, dtype=torch.int64)
        result = cross_entropy(logits, masks, class_weights=[1.0, 0.0])
        result.backward()
        assert result.item() == 0
        assert torch.equal(logits.grad, torch.zeros_like(logits))

    @pytest.mark.parametrize("loss", [cross_entropy, focal_loss], ids=name_of)
    @pytest.mark.parametrize(("channels", "needed"), [(1, 2), (3, 3)])
    def test_wrong_number_of_class_weights_is_refused(self, loss, channels, needed):
        logits, masks = random_batch(23, channels)
        with pytest.raises(ValueError, match=rf"class_weights must have shape \({needed},\).*got \(4,\)"):
            loss(logits, masks, class_weights=torch.ones(4))


class TestFocal:
    @pytest.mark.parametrize("weights", [None, [0.2, 1.0, 3.0]])
    def test_with_gamma_0_is_cross_entropy(self, weights):
        logits, masks = random_batch(30, 3, void=0.3)
        torch.testing.assert_close(
            focal_loss(logits, masks, gamma=0, class_weights=weights),
            cross_entropy(logits, masks, class_weights=weights),
        )

    @pytest.mark.parametrize("gamma", [0.5, 2.0, 3.0])
    def test_with_one_logit_equals_torchvision(self, gamma):
        logits, masks = random_batch(31, 1)
        reference = sigmoid_focal_loss(logits, masks[:, None].float(), alpha=-1, gamma=gamma, reduction="mean")
        torch.testing.assert_close(focal_loss(logits, masks, gamma=gamma), reference)

    @pytest.mark.parametrize("gamma", [0.5, 2.0, 3.0])
    def test_with_one_logit_equals_smp(self, gamma):
        smp = pytest.importorskip("segmentation_models_pytorch")
        logits, masks = random_batch(31, 1, void=0.3)
        reference = smp.losses.FocalLoss("binary", gamma=gamma, ignore_index=VOID)
        torch.testing.assert_close(focal_loss(logits, masks, gamma=gamma), reference(logits, masks[:, None].float()))

    def test_equals_monai_times_the_classes_over_which_monai_also_averages(self):
        monai = pytest.importorskip("monai.losses")
        logits, masks = random_batch(32, 4)
        reference = monai.FocalLoss(gamma=2.0, use_softmax=True, to_onehot_y=True)
        torch.testing.assert_close(focal_loss(logits, masks), 4 * reference(logits, masks[:, None]))

    def test_class_weights_are_a_weighted_mean(self):
        logits, masks = random_batch(33, 3)
        weights = torch.tensor([0.5, 2.0, 7.0])
        p = logits.softmax(dim=1).gather(1, masks[:, None])[:, 0]
        each = (1 - p) ** 2 * -p.log()
        expected = (weights[masks] * each).sum() / weights[masks].sum()
        torch.testing.assert_close(focal_loss(logits, masks, class_weights=weights), expected)

    @pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
    def test_pixels_that_are_surely_right_leave_the_gradient_finite(self, gamma):
        masks = torch.tensor([[[0, 1, VOID]]])
        logits = torch.cat([hard_logits(torch.tensor([[[0, 1]]]), 2), torch.zeros(1, 2, 1, 1)], dim=3).requires_grad_()
        result = focal_loss(logits, masks, gamma=gamma)
        result.backward()
        assert result.item() == 0
        assert torch.isfinite(logits.grad).all()

    def test_negative_gamma_is_refused(self):
        with pytest.raises(ValueError, match="gamma must be 0 or more; got -1"):
            focal_loss(*random_batch(34, 2), gamma=-1)


class TestCrossEntropyDice:
    def test_is_the_weighted_sum_of_both(self):
        logits, masks = random_batch(40, 3, void=0.2)
        masks[masks == VOID] = 99
        weights = [0.3, 1.0, 2.0]
        loss = CrossEntropyDiceLoss(weights, ce_weight=0.25, dice_weight=3.0, ignore_index=99)
        expected = 0.25 * cross_entropy(logits, masks, class_weights=weights, ignore_index=99)
        expected = expected + 3 * dice_loss(logits, masks, ignore_index=99)
        torch.testing.assert_close(loss(logits, masks), expected)

    def test_defaults_are_the_plain_sum(self):
        logits, masks = random_batch(41, 1)
        torch.testing.assert_close(
            CrossEntropyDiceLoss()(logits, masks), cross_entropy(logits, masks) + dice_loss(logits, masks)
        )

    def test_class_weights_move_with_the_module(self):
        loss = CrossEntropyDiceLoss(class_weights=[1, 2])
        assert loss.class_weights.dtype == torch.float32
        assert loss.to("meta").class_weights.device.type == "meta"

    def test_trains_a_network_to_the_right_masks(self):
        torch.manual_seed(0)
        images = torch.rand(4, 1, 8, 8)
        masks = (images[:, 0] > 0.5).long() + (images[:, 0] > 0.8).long()
        model = nn.Sequential(nn.Conv2d(1, 16, 1), nn.ReLU(), nn.Conv2d(16, 3, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        loss = CrossEntropyDiceLoss()
        for _ in range(150):
            optimizer.zero_grad()
            loss(model(images), masks).backward()
            optimizer.step()
        assert (model(images).argmax(dim=1) == masks).float().mean() > 0.95


class TestClassWeights:
    def test_formula(self):
        weights = class_weights(torch.tensor([600, 300, 0, 0, 90]))
        assert weights.dtype == torch.float32
        assert weights.tolist() == pytest.approx([330 / 600, 330 / 300, 0, 0, 330 / 90])

    @pytest.mark.parametrize(("power", "expected"), [(0.5, [0.5**0.5, 2.5**0.5]), (0, [1, 1]), (2, [0.25, 6.25])])
    def test_power(self, power, expected):
        mean_over_counts = class_weights([1000, 200], power=1).tolist()
        assert mean_over_counts == pytest.approx([0.6, 3])
        assert class_weights([50, 10, 15], power=power)[:2].tolist() == pytest.approx(expected)

    def test_inverse_frequency_gives_each_class_the_same_say(self):
        counts = torch.tensor([10_000, 70, 3])
        shares = counts * class_weights(counts)
        assert shares.tolist() == pytest.approx([shares.mean().item()] * 3)

    def test_counts_beyond_float32_stay_exact(self):
        counts = torch.tensor([2**40 + 1, 2**40 + 1])
        assert class_weights(counts).tolist() == [1, 1]

    @pytest.mark.parametrize(
        ("counts", "message"),
        [
            ([3, -1], r"got \[3.0, -1.0\]"),
            ([[3, 1]], r"got shape \(1, 2\).*bincount"),
            ([0, 0], "no class has a pixel"),
            ([], "no class has a pixel"),
        ],
    )
    def test_bad_counts_are_refused(self, counts, message):
        with pytest.raises(ValueError, match=message):
            class_weights(counts)


LOGITS, MASKS = torch.zeros(2, 3, 4, 5), torch.zeros(2, 4, 5, dtype=torch.int64)


class TestValidation:
    @every_loss
    @pytest.mark.parametrize(
        ("logits", "masks", "error", "message"),
        [
            (MASKS, LOGITS, TypeError, "logits must be floating point; got torch.int64. Swapped"),
            (LOGITS[0], MASKS[0], ValueError, r"got \(3, 4, 5\). One image\? Add the batch axis: logits\[None\]"),
            (LOGITS[0, 0], MASKS, ValueError, r"must have shape \(N, C, H, W\); got \(4, 5\).$"),
            (LOGITS, MASKS[:, None], ValueError, r"got \(2, 1, 4, 5\). Drop the channel axis: masks\[:, 0\]"),
            (LOGITS[:, :1], MASKS[:, None], ValueError, r"Drop the channel axis: masks\[:, 0\]"),
            (LOGITS, LOGITS.long(), ValueError, r"One-hot masks\? Take masks.argmax\(dim=1\)"),
            (LOGITS, MASKS[0], ValueError, r"Add the batch axis: masks\[None\]"),
            (LOGITS, MASKS[:, :2], ValueError, r"\(2, 4, 5\) for logits \(2, 3, 4, 5\); got \(2, 2, 5\). Resize"),
            (LOGITS, MASKS.byte(), TypeError, r"got torch.uint8. Use masks.long\(\)"),
            (LOGITS, MASKS.float(), TypeError, r"got torch.float32. Use masks.long\(\)"),
            (LOGITS, MASKS + 3, ValueError, r"hold the id 3; .*0..2 and void is 255. .*num_classes=4 or more"),
            (LOGITS, MASKS - 100, ValueError, r"hold the id -100; .*Pass ignore_index=-100.$"),
            (LOGITS[:, :1], MASKS + 2, ValueError, r"hold the id 2; .*the classes are 0..1"),
        ],
    )
    def test_bad_input_is_refused_with_a_mend(self, loss, logits, masks, error, message):
        with pytest.raises(error, match=message):
            loss(logits, masks)

    def test_probabilities_are_called_by_their_name(self):
        with pytest.raises(ValueError, match=r"for probs \(2, 3, 4, 5\)"):
            dice_loss_from_probs(LOGITS, MASKS + 3)

    @pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
    def test_values_that_are_no_probabilities_are_refused(self, value):
        probs = torch.full((2, 3, 4, 5), 0.5)
        probs[1, 2, 3, 4] = value
        with pytest.raises(ValueError, match="probs must lie in"):
            dice_loss_from_probs(probs, MASKS)

    @every_loss
    def test_the_masks_are_left_as_they_were(self, loss):
        logits, masks = random_batch(50, 3, void=0.3)
        copy = masks.clone()
        loss(logits, masks)
        assert torch.equal(masks, copy)

    @every_loss
    def test_compiles_to_one_graph(self, loss):
        logits, masks = random_batch(51, 3, void=0.3)
        compiled = torch.compile(loss, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(logits, masks), loss(logits, masks))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "loss",
    [
        dice_loss,
        lambda logits, masks: dice_loss_from_probs(logits.sigmoid(), masks),
        lambda logits, masks: cross_entropy(logits, masks, class_weights=[1.0, 2.0, 0.5][: max(logits.shape[1], 2)]),
        lambda logits, masks: focal_loss(logits, masks, gamma=0.5),
        lambda logits, masks: focal_loss(logits, masks, gamma=2),
        CrossEntropyDiceLoss(),
    ],
    ids=["dice", "dice_from_probs", "cross_entropy", "focal_half", "focal_two", "cross_entropy_dice"],
)
def test_gradient_is_the_numerical_one(loss, channels):
    logits, masks = random_batch(60, channels, (2, 2, 3), void=0.2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda values: loss(values, masks), (logits.requires_grad_(),))
