"""The command ``unet-lab``: train, evaluate, demo, validate, release, doctor."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from unet_lab import __version__
from unet_lab.validate import CELL_SECONDS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code. Wrong arguments or files give one clear line and code 2."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return options.command(options)
    except (ValueError, TypeError, OSError, RuntimeError, ArithmeticError) as error:
        # the errors that the package raises on purpose say what to do; their traceback would hide it
        print(f"unet-lab: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="unet-lab", description="Train and try a U-Net for image segmentation.")
    parser.add_argument("--version", action="version", version=f"unet-lab {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train a U-Net and print its scores on the test images")
    _add_data(train)
    budget = train.add_mutually_exclusive_group()
    budget.add_argument("--seconds", type=_positive(float), help="time for training (default: 60)")
    budget.add_argument("--epochs", type=_positive(int), help="passes over the training images")
    train.add_argument(
        "--base-channels", type=_positive(int), default=16, help="width of the first level (default: 16)"
    )
    train.add_argument(
        "--size",
        type=_size,
        help="train on random crops with this short side in pixels, at least 16 (default: by the data)",
    )
    train.add_argument("--seed", type=_seed, default=0, help="of the weights, the order and the crops (default: 0)")
    train.add_argument("--out", type=Path, metavar="FILE", help="write the trained model here")
    _add_run(train)
    train.set_defaults(command=_train)

    evaluate = commands.add_parser("evaluate", help="print the scores of a trained model")
    evaluate.add_argument("checkpoint", type=Path, metavar="FILE", help="what `unet-lab train --out FILE` wrote")
    _add_data(evaluate)
    evaluate.add_argument("--split", choices=("train", "val", "test"), default="test", help="(default: test)")
    _add_run(evaluate)
    evaluate.set_defaults(command=_evaluate)

    demo = commands.add_parser("demo", help="train on drawn street scenes and save a picture of the result")
    demo.add_argument("--seconds", type=_positive(float), default=35.0, help="time for training (default: 35)")
    demo.add_argument("--out", type=Path, default=Path("demo.png"), metavar="PNG", help="(default: demo.png)")
    demo.set_defaults(command=_demo)

    validate = commands.add_parser("validate", help="run an exercise from top to bottom before you hand it in")
    validate.add_argument("notebook", type=Path, metavar="NOTEBOOK")
    validate.add_argument(
        "--cell-seconds", type=_positive(float), default=CELL_SECONDS, help="limit for each cell (default: %(default)g)"
    )
    validate.add_argument("--json", action="store_true", help="print one JSON object on standard output, nothing else")
    validate.set_defaults(command=_validate)

    release = commands.add_parser("release", help="for instructors: build the exercise and the folder to hand out")
    release.add_argument("folder", type=Path, nargs="?", metavar="DIR", help="write all that a learner gets here")
    release.set_defaults(command=_release)

    doctor = commands.add_parser("doctor", help="look at this machine: versions, device, precision, disk, cache")
    doctor.add_argument("--json", action="store_true", help="print one JSON object")
    doctor.set_defaults(command=_doctor)
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", required=True, metavar="NAME|FOLDER", help="scenes, nuclei, or a folder of your own")
    parser.add_argument("--root", type=Path, metavar="DIR", help="where the files of a named data set lie already")


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output, nothing else")


def _positive(kind: type):
    def parse(text: str):
        value = kind(text)
        if not 0 < value < float("inf"):
            raise ValueError
        return value

    parse.__name__ = f"{'whole number' if kind is int else 'number'} above 0"  # argparse puts it into its message
    return parse


def _size(text: str) -> int:
    if (value := int(text)) < 16:
        raise argparse.ArgumentTypeError(f"{value} is too small; U-Net needs at least 16 pixels")
    return value


def _seed(text: str) -> int:
    if not 0 <= (value := int(text)) < 2**32:
        raise argparse.ArgumentTypeError(f"{value} is not a whole number from 0 to {2**32 - 1}")
    return value


def _load(options: argparse.Namespace):
    from unet_lab.data import NAMES, load  # torch is only imported by the commands that need it

    if options.root is None:
        return load(options.data)
    if options.data not in NAMES:
        raise ValueError(
            f"--root goes with a data set's name ({', '.join(NAMES)}); --data {options.data} is a folder itself."
        )
    if options.data == "scenes":
        raise ValueError("--data scenes is drawn, not read: leave --root away.")
    return load(options.data, root=options.root)


def _train(options: argparse.Namespace) -> int:
    import torch

    from unet_lab.models import UNet
    from unet_lab.training import evaluate, fit
    from unet_lab.training.defaults import crop_size

    splits = _load(options)
    torch.manual_seed(options.seed)
    model = UNet(splits.in_channels, splits.num_classes, options.base_channels)
    seconds = None if options.epochs else options.seconds or 60.0
    history = fit(
        model,
        splits.train,
        splits.val,
        num_epochs=options.epochs,
        seconds=seconds,
        size=crop_size(splits.train, options.size) if options.size else None,
        device=options.device,
        seed=options.seed,
        checkpoint=options.out,
        progress=not options.json,
    )
    scores = evaluate(model, splits.test, device=options.device)
    report = {
        **_report(scores, model),
        "data": str(options.data),
        "split": "test",
        "images_per_second": round(history.images_per_second, 2),
        "seconds": round(history.seconds[-1], 2),
        "epochs": history.epochs,
        "stopped": history.stopped,
    }
    return _print(report, scores, options.json)


def _evaluate(options: argparse.Namespace) -> int:
    from unet_lab.checkpoints import load_checkpoint
    from unet_lab.training import evaluate

    checkpoint = load_checkpoint(options.checkpoint)
    model, dataset = checkpoint.build(), getattr(_load(options), options.split)
    if checkpoint.class_names != dataset.class_names:
        raise ValueError(
            f"{options.checkpoint} was trained on the classes {', '.join(checkpoint.class_names)}; "
            f"{options.data} has {', '.join(dataset.class_names)}. Evaluate it on the data it was trained for."
        )
    scores = evaluate(model, dataset, device=options.device)
    return _print({**_report(scores, model), "data": str(options.data), "split": options.split}, scores, options.json)


def _report(scores, model) -> dict:
    parameters = list(model.parameters())
    return {
        "miou": _number(scores.mean_iou),
        "iou": {name: _number(value) for name, value in zip(scores.class_names, scores.iou, strict=True)},
        "pixel_accuracy": _number(scores.pixel_accuracy),
        "parameters": sum(parameter.numel() for parameter in parameters),
        "device": parameters[0].device.type,
    }


def _number(value: float) -> float | None:
    return None if value != value else round(value, 6)  # JSON has no NaN


def _print(report: dict, scores, as_json: bool) -> int:
    if as_json:
        print(json.dumps(report))
        return 0
    print(scores)
    print(", ".join(f"{key} {value}" for key, value in report.items() if key not in ("miou", "iou", "pixel_accuracy")))
    return 0


def _demo(options: argparse.Namespace) -> int:
    import torch

    from unet_lab.data import load
    from unet_lab.models import UNet
    from unet_lab.plots import show_samples
    from unet_lab.training import evaluate, fit, predict

    splits = load("scenes")
    torch.manual_seed(0)
    model = UNet(splits.in_channels, splits.num_classes, base_channels=16)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{splits.train}\nTraining a U-Net of {parameters:,} parameters for {options.seconds:g} s, from scratch.")
    fit(model, splits.train, splits.val, seconds=options.seconds, lr=6e-3)
    print(f"\nOn {len(splits.test)} scenes it has never seen:\n{evaluate(model, splits.test)}")
    images, masks = splits.test.images[:4], splits.test.masks[:4]
    figure = show_samples(
        images, masks, predict(model, images), class_names=splits.class_names, colours=splits.test.colours
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(figure.to_png())
    print(f"\nTruth beside prediction: {options.out}")
    return 0


def _validate(options: argparse.Namespace) -> int:
    """0 where the notebook runs from top to bottom with all its cells, 1 where not."""
    try:
        from unet_lab.validate.run import validate
    except ModuleNotFoundError as error:
        raise RuntimeError(f"validate needs {error.name}. Install it: pip install 'unet-lab[lab]'.") from None

    def show(cell: int, cells: int) -> None:
        print(f"\rcell {cell} of {cells} ", end="", file=sys.stderr, flush=True)

    in_terminal = sys.stderr.isatty()
    try:
        report = validate(options.notebook, cell_seconds=options.cell_seconds, progress=show if in_terminal else None)
    except KeyboardInterrupt:
        print("unet-lab: stopped; nothing was changed.", file=sys.stderr)
        return 130
    finally:
        if in_terminal:
            print("\r\033[K", end="", file=sys.stderr)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a learner's line may hold signs that a Windows console has not
    width = min(shutil.get_terminal_size().columns, 120)
    print(json.dumps(report.as_dict()) if options.json else report.as_text(width))
    return 0 if report.ready else 1


def _release(options: argparse.Namespace) -> int:
    try:
        from unet_lab.grading.release import release
    except ModuleNotFoundError as error:
        if error.name == "unet_lab.grading.release":
            raise RuntimeError("release is the instructor's; it is not part of what is handed out.") from None
        raise RuntimeError(f"release needs {error.name}. Install it: pip install 'unet-lab[grade]'.") from None

    done = release(Path.cwd(), options.folder)
    print(f"{done.exercise.relative_to(Path.cwd())}: {'built' if done.changed else 'unchanged'}")
    if done.folder is not None:
        print(f"{options.folder}: {done.files} files to hand out")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from unet_lab.doctor import examine

    findings = examine()
    if options.json:
        print(json.dumps([vars(finding) for finding in findings]))
    else:
        for finding in findings:
            print(f"{'ok  ' if finding.ok else 'LOOK'} {finding.what}: {finding.found}")
            if not finding.ok:
                print(f"     → {finding.mend}")
    return 0 if all(finding.ok for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
