"""fit, evaluate, predict and checkpoints: the same numbers whatever the path, and nothing lost when a run ends early."""

import copy
import math

import pytest
import torch
from torch import nn

from unet_lab.checkpoints import load_checkpoint, save_checkpoint
from unet_lab.data.dataset import SegmentationDataset
from unet_lab.data.transforms import resize
from unet_lab.metrics import ConfusionMatrix
from unet_lab.models import UNet
from unet_lab.training import Callback, classes_of, evaluate, fit, predict
from unet_lab.training.defaults import default_size, default_stages


def squares(count: int, seed: int = 0, size: int = 32) -> SegmentationDataset:
    """Bright squares on dark noise: learnt in a few steps."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 90, (count, 3, size, size), dtype=torch.uint8, generator=generator)
    masks = torch.zeros(count, size, size, dtype=torch.uint8)
    for i in range(count):
        top, left = torch.randint(2, size - 14, (2,), generator=generator).tolist()
        masks[i, top : top + 12, left : left + 12] = 1
    images[masks[:, None].expand_as(images) == 1] += 120
    return SegmentationDataset(images, masks, ("ground", "square"), name="squares")


def network(seed: int = 0, **options) -> UNet:
    torch.manual_seed(seed)
    return UNet(base_channels=4, **options)


TRAIN, VAL = squares(12), squares(6, seed=1)
EPOCHS = 25
HALF_THEN_FULL = ((0.5, 0.5), (1, 0.5))
QUIET = {"device": "cpu", "precision": "float32", "progress": False, "batch_size": 4}


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.fixture(scope="module")
def trained():
    model = network()
    return model, fit(model, TRAIN, VAL, num_epochs=EPOCHS, lr=1e-2, **QUIET)


def test_fit_learns(trained):
    model, history = trained
    assert evaluate(model, VAL, device="cpu").mean_iou > 0.9
    assert history.train_loss[-1] < history.train_loss[0] / 2
    lists = (history.train_loss, history.val_loss, history.val_miou, history.lr, history.seconds)
    assert [len(values) for values in lists] == [EPOCHS] * 5
    assert history.epochs == EPOCHS
    assert history.images == EPOCHS * 12
    assert history.stopped == "finished"


def test_the_model_holds_the_best_epoch(trained):
    model, history = trained
    assert history.best_miou == max(history.val_miou)
    assert evaluate(model, VAL, device="cpu").mean_iou == pytest.approx(history.best_miou, abs=1e-6)


def test_the_same_seed_gives_the_same_numbers_and_another_one_others():
    runs = []
    for seed in (3, 3, 4):
        model = network()
        runs.append((model, fit(model, TRAIN, num_epochs=2, seed=seed, **QUIET)))
    assert runs[0][1].train_loss == runs[1][1].train_loss != runs[2][1].train_loss
    assert same_weights(runs[0][0], runs[1][0])


def test_fit_leaves_the_callers_random_state_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    fit(network(), TRAIN, num_epochs=1, **QUIET)
    torch.manual_seed(5)
    assert torch.equal(before, torch.get_rng_state())
    model = network()
    state = torch.get_rng_state()
    fit(model, TRAIN, num_epochs=1, **QUIET)
    assert torch.equal(state, torch.get_rng_state())


class StopAfter(Callback):
    def __init__(self, epochs: int = 0, steps: int = 0, error: type[BaseException] | None = None):
        self.epochs, self.steps, self.error = epochs, steps, error

    def after_epoch(self, run):
        if run.epoch == self.epochs:
            self.end(run)

    def after_step(self, run):
        if run.step == self.steps:
            self.end(run)

    def end(self, run):
        if self.error:
            raise self.error
        run.stop = True


@pytest.mark.parametrize("how", [None, KeyboardInterrupt])
def test_a_resumed_run_gives_the_numbers_of_an_uninterrupted_one(tmp_path, how):
    options = {"num_epochs": 4, "stages": HALF_THEN_FULL, "size": 32, **QUIET}
    whole, cut, resumed = network(), network(), network(seed=9)
    expected = fit(whole, TRAIN, VAL, **options)
    first = fit(cut, TRAIN, VAL, checkpoint=tmp_path / "run.pt", callbacks=[StopAfter(epochs=2, error=how)], **options)
    assert (first.epochs, first.stopped) == (2, "interrupted")
    second = fit(resumed, TRAIN, VAL, resume=tmp_path / "run.pt", **options)
    assert second.train_loss == expected.train_loss
    assert second.val_miou == expected.val_miou
    assert second.lr == expected.lr
    assert same_weights(resumed, whole)


def test_resuming_with_other_settings_is_refused_by_name(tmp_path):
    fit(network(), TRAIN, num_epochs=1, checkpoint=tmp_path / "run.pt", **QUIET)
    with pytest.raises(ValueError, match=r"num_epochs: 1 there, 3 here"):
        fit(network(), TRAIN, num_epochs=3, resume=tmp_path / "run.pt", **QUIET)
    save_checkpoint(tmp_path / "model.pt", network())
    with pytest.raises(ValueError, match="no run to resume"):
        fit(network(), TRAIN, num_epochs=3, resume=tmp_path / "model.pt", **QUIET)


def test_ctrl_c_keeps_the_best_weights(trained):
    model = network()
    history = fit(
        model, TRAIN, VAL, num_epochs=8, lr=1e-2, callbacks=[StopAfter(steps=20, error=KeyboardInterrupt)], **QUIET
    )
    assert history.stopped == "interrupted"
    assert evaluate(model, VAL, device="cpu").mean_iou == pytest.approx(history.best_miou, abs=1e-6)


def test_a_callback_stops_within_a_step():
    history = fit(network(), TRAIN, VAL, num_epochs=50, callbacks=[StopAfter(steps=5)], **QUIET)
    assert history.images == 20
    assert history.stopped == "interrupted"


def test_a_nan_loss_stops_with_advice_and_keeps_the_best_weights():
    class Breaks(nn.Module):
        calls = 0

        def forward(self, logits, masks):
            self.calls += torch.is_grad_enabled()
            return nn.functional.cross_entropy(logits, masks) * (math.nan if self.calls > 4 else 1.0)

    model = network()
    with pytest.raises(FloatingPointError, match=r"nan at epoch 2, step 5.*learning rate"):
        fit(model, TRAIN, VAL, num_epochs=5, loss=Breaks(), **QUIET)
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def test_epoch_loss_weighs_batches_by_their_counted_pixels():
    masks = torch.zeros(5, 32, 32, dtype=torch.uint8)
    masks[:, :, 8:] = 255
    masks[0, :, :] = 1
    data = SegmentationDataset(TRAIN.images[:5], masks, ("a", "b"), name="void")
    seen = []

    class Recorded(nn.Module):
        def forward(self, logits, masks):
            loss = nn.functional.cross_entropy(logits, masks, ignore_index=255)
            seen.append((loss.item(), int((masks != 255).sum())))
            return loss

    history = fit(network(), data, num_epochs=1, loss=Recorded(), augment=False, **{**QUIET, "batch_size": 2})
    expected = sum(loss * pixels for loss, pixels in seen) / sum(pixels for _, pixels in seen)
    assert len(seen) == 2  # 2 + 3: a single last image joins the batch before
    assert len({pixels for _, pixels in seen}) == 2
    assert history.train_loss == [pytest.approx(expected, rel=1e-6)]


def test_seconds_are_kept_and_the_learning_rate_ends_near_zero():
    history = fit(network(), TRAIN, VAL, seconds=1.5, **QUIET)
    assert 1.4 < history.seconds[-1] < 6
    assert history.lr[-1] < 3e-4
    assert not math.isnan(history.val_miou[-1])


def test_first_steps_run_at_half_the_size():
    sizes = []

    class Seen(UNet):
        def forward(self, images):
            if torch.is_grad_enabled():  # a training step; measuring the averages learns nothing
                sizes.append(tuple(images.shape[2:]))
            return super().forward(images)

    torch.manual_seed(0)
    fit(Seen(base_channels=4), TRAIN, num_epochs=4, stages=HALF_THEN_FULL, size=32, **QUIET)
    assert sizes == [(16, 16)] * 6 + [(32, 32)] * 6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "num_epochs or seconds"), ({"num_epochs": 1, "seconds": 1}, "one of the two"),
        ({"num_epochs": 0}, "above 0"), ({"num_epochs": 1, "device": "gpu"}, "device"),
        ({"num_epochs": 1, "stages": [(0.5, 1)]}, "end at 1"),
        ({"num_epochs": 1, "stages": [(0.5, 0.6), (1, 0.6)]}, "sum to 1"),
        ({"num_epochs": 1, "precision": "fp16"}, "precision expects one of auto, float32, bfloat16"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        fit(network(), TRAIN, progress=False, **arguments)


def test_a_learners_plain_module_and_a_single_logit_train_too():
    model = nn.Conv2d(3, 1, 3, padding=1)
    loss = nn.BCEWithLogitsLoss()

    class Binary(nn.Module):
        def forward(self, logits, masks):
            return loss(logits[:, 0], masks.float())

    history = fit(model, TRAIN, VAL, num_epochs=15, lr=0.1, loss=Binary(), **QUIET)
    assert history.best_miou > 0.8


def test_classes_of_logits():
    assert classes_of(torch.tensor([[[[1.0, 3.0]], [[2.0, 0.0]]]])).tolist() == [[[1, 0]]]
    assert classes_of(torch.tensor([[[[-1.0, 3.0]]]])).tolist() == [[[0, 1]]]


def test_evaluate_is_one_confusion_matrix_over_whole_images(trained):
    model, _ = trained
    matrix = ConfusionMatrix(2)
    for image, mask in (VAL[i] for i in range(len(VAL))):
        with torch.no_grad():
            matrix.update(copy.deepcopy(model).eval()(image[None]).argmax(1), mask[None])
    assert evaluate(model, VAL, device="cpu") == matrix.scores(VAL.class_names)


def test_evaluation_leaves_modes_and_statistics(trained):
    model = copy.deepcopy(trained[0]).train()
    model.enc1.eval()
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    evaluate(model, VAL, device="cpu")
    assert modes == [m.training for m in model.modules()]
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))


def test_predict_takes_one_image_a_batch_and_a_list_of_any_sizes(trained):
    model, _ = trained
    batch = predict(model, VAL.images, device="cpu")
    assert (batch.shape, batch.dtype) == ((6, 32, 32), torch.int64)
    assert torch.equal(predict(model, VAL.images[2], device="cpu"), batch[2])
    assert torch.equal(predict(model, VAL.images.float() / 255, device="cpu"), batch)
    odd = [VAL.images[0], VAL.images[1][:, :19, :27], VAL.images[2]]
    found = predict(model, odd, device="cpu")
    assert [tuple(f.shape) for f in found] == [(32, 32), (19, 27), (32, 32)]
    assert torch.equal(found[2], batch[2])
    with pytest.raises(ValueError, match=r"\(C, H, W\) or \(N, C, H, W\)"):
        predict(model, torch.rand(32, 32), device="cpu")


def test_a_checkpoint_gives_the_same_model_back(trained, tmp_path):
    model, _ = trained
    path = tmp_path / "folder" / "model.pt"
    save_checkpoint(path, model, class_names=("ground", "square"))
    loaded = load_checkpoint(path)
    assert loaded.class_names == ("ground", "square")
    assert torch.equal(predict(loaded.build(), VAL.images, device="cpu"), predict(model, VAL.images, device="cpu"))
    assert torch.load(path, weights_only=True)["format"] == 1
    assert [p.name for p in path.parent.iterdir()] == ["model.pt"]


def test_fits_checkpoint_loads_with_weights_only_and_holds_the_best(tmp_path):
    model = network()
    fit(model, TRAIN, VAL, num_epochs=2, checkpoint=tmp_path / "run.pt", **QUIET)
    assert same_weights(load_checkpoint(tmp_path / "run.pt").build(), model)


def test_a_failed_write_leaves_the_old_checkpoint_whole(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    save_checkpoint(path, network())
    before = path.read_bytes()
    monkeypatch.setattr(torch, "save", lambda content, target: (target.write_bytes(b"half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        save_checkpoint(path, network(seed=1))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]


def test_damaged_and_foreign_files_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match="unet-lab train"):
        load_checkpoint(tmp_path / "none.pt")
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ValueError, match="can't be read as a checkpoint"):
        load_checkpoint(tmp_path / "cut.pt")
    torch.save({"weights": {}}, tmp_path / "foreign.pt")
    with pytest.raises(ValueError, match="not a checkpoint of unet-lab"):
        load_checkpoint(tmp_path / "foreign.pt")
    save_checkpoint(tmp_path / "own.pt", nn.Conv2d(3, 1, 1))
    with pytest.raises(ValueError, match="another class than UNet"):
        load_checkpoint(tmp_path / "own.pt").build()


def test_a_resumed_run_without_validation_keeps_what_it_learned(tmp_path):
    whole, part, resumed = network(), network(), network()
    options = {"num_epochs": 4, **QUIET}
    fit(whole, TRAIN, **options)
    fit(part, TRAIN, checkpoint=tmp_path / "run.pt", callbacks=[StopAfter(2)], **options)
    fit(resumed, TRAIN, resume=tmp_path / "run.pt", **options)
    assert same_weights(resumed, whole)
    assert not same_weights(resumed, part)


def test_a_run_by_the_clock_is_saved_before_its_first_validation(tmp_path, monkeypatch):
    monkeypatch.setattr("unet_lab.training.loop.SAVE_SECONDS", 0.0)
    seen = []

    class Look(Callback):
        def after_epoch(self, run):
            seen.append((math.isnan(run.history.val_miou[-1]), (tmp_path / "run.pt").exists()))
            run.stop = len(seen) == 1

    fit(network(), TRAIN, VAL, seconds=20, stages=HALF_THEN_FULL, size=32, checkpoint=tmp_path / "run.pt",
        callbacks=[Look()], **QUIET)  # fmt: skip
    assert seen[0] == (True, True)


def test_a_run_by_the_clock_chooses_its_sizes_by_the_images():
    images, masks = torch.zeros(1, 3, 48, 64).byte(), torch.zeros(1, 48, 64).byte()
    small = SegmentationDataset(images, masks, ("a", "b"), name="small")
    large = resize(small, 8)
    assert [scale for scale, _ in default_stages(small, None)] == [1]
    assert [scale for scale, _ in default_stages(small, 96)] == [0.5, 1]
    assert [scale for scale, _ in default_stages(large, None)] == [0.25, 0.5, 1]
    assert default_size(small) is None
    assert default_size(resize(small, 12)) == (128, 176)  # too large to be trained on whole
    assert all(sum(share for _, share in default_stages(data, None)) == 1 for data in (small, large))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_learns_as_the_cpu_does():
    model = network()
    fit(model, TRAIN, VAL, num_epochs=EPOCHS, lr=1e-2, device="cuda", batch_size=4, progress=False)
    assert evaluate(model, VAL, device="cuda").mean_iou > 0.9


def test_averages_of_normalisation_are_measured_on_full_size_images():
    """After the change from half the size, the running means match those of the whole training set at full size."""
    model = network()
    fit(model, TRAIN, VAL, num_epochs=4, stages=HALF_THEN_FULL, augment=False, **QUIET)
    with torch.no_grad():
        first = model.enc1.net[0](TRAIN.images.float() / 255)
    assert torch.allclose(model.enc1.net[1].running_mean, first.mean(dim=(0, 2, 3)), atol=1e-4)
