"""The U-Net of this course: Ronneberger, Fischer, Brox 2015 (arXiv:1505.04597), padded and with batch normalisation.

With its defaults, `UNet` has 31,043,586 parameters; a class of your own with the same attribute names loads its state dict.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 4
"""How often the encoder halves the image."""

STRIDE = 2**LEVELS
"""Input pixels per bottleneck pixel along one side: 16."""


class DoubleConv(nn.Module):
    """(3×3 convolution → batch normalisation → ReLU) twice, size kept by a padding of 1.

    Shapes: ``(N, in_ch, H, W)`` → ``(N, out_ch, H, W)``.
    """

    def __init__(self, in_ch: int, out_ch: int):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(in_ch, out_ch, kernel_size=3, padding=1),
            nn.BatchNorm2d(out_ch),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_ch, out_ch, kernel_size=3, padding=1),
            nn.BatchNorm2d(out_ch),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class UNet(nn.Module):
    """U-Net with four levels. Returns logits; no softmax inside.

    Args:
        in_channels: channels of the images, 3 for RGB, 1 for grey.
        num_classes: channels of the logits; 1 for a binary model with a sigmoid.
        base_channels: channels of the first level, doubled at each level down. 64 is the published width;
            16 (1.9 million parameters) trains on a laptop's CPU.

    Shapes: images ``(N, in_channels, H, W)`` float → logits ``(N, num_classes, H, W)``, any H, W ≥ 16. A size that is
    not a multiple of 16 is padded at the right and the bottom by repeating the border, and the logits are cropped back.

    Raises:
        ValueError: images of another rank or number of channels, smaller than 16 pixels, or, in training mode, a
            batch that leaves batch normalisation a single value a channel at the bottleneck.
        TypeError: images that are not floating point.
    """

    def __init__(self, in_channels: int = 3, num_classes: int = 2, base_channels: int = 64):
        super().__init__()
        for name, value in (
            ("in_channels", in_channels),
            ("num_classes", num_classes),
            ("base_channels", base_channels),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"UNet expects {name} to be a whole number of at least 1; got {value!r}.")
        self.in_channels, self.num_classes, self.base_channels = in_channels, num_classes, base_channels
        c1, c2, c3, c4, c5 = (base_channels * 2**level for level in range(LEVELS + 1))  # 64, 128, 256, 512, 1024
        self.enc1 = DoubleConv(in_channels, c1)
        self.enc2 = DoubleConv(c1, c2)
        self.enc3 = DoubleConv(c2, c3)
        self.enc4 = DoubleConv(c3, c4)
        self.pool = nn.MaxPool2d(2)
        self.bottleneck = DoubleConv(c4, c5)
        self.up4 = nn.ConvTranspose2d(c5, c4, kernel_size=2, stride=2)
        self.dec4 = DoubleConv(2 * c4, c4)
        self.up3 = nn.ConvTranspose2d(c4, c3, kernel_size=2, stride=2)
        self.dec3 = DoubleConv(2 * c3, c3)
        self.up2 = nn.ConvTranspose2d(c3, c2, kernel_size=2, stride=2)
        self.dec2 = DoubleConv(2 * c2, c2)
        self.up1 = nn.ConvTranspose2d(c2, c1, kernel_size=2, stride=2)
        self.dec1 = DoubleConv(2 * c1, c1)
        self.out = nn.Conv2d(c1, num_classes, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        self._check(images)
        height, width = images.shape[-2:]
        x = F.pad(images, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")

        e1 = self.enc1(x)  # (N, 64, H, W)
        e2 = self.enc2(self.pool(e1))  # (N, 128, H/2, W/2)
        e3 = self.enc3(self.pool(e2))  # (N, 256, H/4, W/4)
        e4 = self.enc4(self.pool(e3))  # (N, 512, H/8, W/8)
        b = self.bottleneck(self.pool(e4))  # (N, 1024, H/16, W/16)
        d4 = self.dec4(torch.cat([self.up4(b), e4], dim=1))  # (N, 512, H/8, W/8)
        d3 = self.dec3(torch.cat([self.up3(d4), e3], dim=1))  # (N, 256, H/4, W/4)
        d2 = self.dec2(torch.cat([self.up2(d3), e2], dim=1))  # (N, 128, H/2, W/2)
        d1 = self.dec1(torch.cat([self.up1(d2), e1], dim=1))  # (N, 64, H, W)
        return self.out(d1)[..., :height, :width]  # (N, num_classes, H, W)

    def _check(self, images: Tensor) -> None:
        expected = f"UNet expects images of shape (N, {self.in_channels}, H, W)"
        shape = tuple(images.shape)
        if len(shape) == 3:
            raise ValueError(f"{expected}; got {shape}. One image? Add the batch dimension with images[None].")
        if len(shape) != 4:
            raise ValueError(f"{expected}; got {shape}.")
        if shape[1] != self.in_channels:
            if shape[3] == self.in_channels:
                mend = "Channels last? Use images.permute(0, 3, 1, 2)."
            elif shape[1] == 1:
                mend = "Grey images? Build it with in_channels=1."
            else:
                mend = f"Build it with in_channels={shape[1]}, or convert the images."
            raise ValueError(f"{expected}; got {shape}. {mend}")
        if not images.is_floating_point():
            raise TypeError(f"UNet expects float images in [0, 1]; got {images.dtype}. Use images.float() / 255.")
        if min(shape[2:]) < STRIDE:
            raise ValueError(
                f"UNet halves the image {LEVELS} times and needs H and W of at least {STRIDE}; got {shape}. "
                "Use larger crops, or enlarge the images."
            )
        bottleneck_values = shape[0] * -(-shape[2] // STRIDE) * -(-shape[3] // STRIDE)
        if self.training and bottleneck_values == 1:
            raise ValueError(
                f"Batch normalisation cannot train on one value a channel: a batch of {shape[0]} with crops of "
                f"{shape[2]}×{shape[3]} is 1×1 at the bottleneck. Use a batch of at least 2, or crops of at least "
                f"{2 * STRIDE} pixels; to predict, call model.eval() first."
            )


@dataclass(frozen=True)
class Stage:
    """One named stage of a model, as `describe` saw it.

    Attributes:
        name: the attribute of the model, ``enc1`` for example.
        in_shape: shape of its input, ``(N, C, H, W)``.
        out_shape: shape of its output, ``(N, C, H, W)``.
        parameters: how many numbers the stage learns.
    """

    name: str
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    parameters: int


@torch.no_grad()
def describe(model: nn.Module, input_shape: tuple[int, int, int, int] = (1, 3, 128, 128)) -> list[Stage]:
    """Run `model` once on zeros and list its direct children in the order in which they ran.

    Works on any module, so on a learner's own U-Net too. A child that runs several times (``pool``) is listed each
    time, and its parameters are counted the first time. The model's mode, weights and statistics are left as they were.

    >>> stages = describe(UNet(base_channels=16), (1, 3, 96, 128))
    >>> stages[0]
    Stage(name='enc1', in_shape=(1, 3, 96, 128), out_shape=(1, 16, 96, 128), parameters=2832)
    >>> sum(stage.parameters for stage in stages)
    1944066
    """
    stages: list[Stage] = []
    seen: set[str] = set()

    def record(name: str):
        def hook(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            count = 0 if name in seen else sum(p.numel() for p in module.parameters())
            seen.add(name)
            stages.append(Stage(name, tuple(inputs[0].shape), tuple(output.shape), count))

        return hook

    handles = [child.register_forward_hook(record(name)) for name, child in model.named_children()]
    modes = {module: module.training for module in model.modules()}
    first = next(model.parameters(), torch.empty(0))
    try:
        model.eval()  # batch normalisation must not learn from the zeros
        model(torch.zeros(input_shape, device=first.device, dtype=first.dtype))
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training
    return stages


def format_stages(stages: list[Stage]) -> str:
    """The stages as an aligned table, with the total of the parameters in the last line."""
    rows = [("stage", "input (N, C, H, W)", "output (N, C, H, W)", "parameters")]
    rows += [(s.name, str(s.in_shape), str(s.out_shape), f"{s.parameters:,}") for s in stages]
    rows.append(("total", "", "", f"{sum(s.parameters for s in stages):,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        f"{name:<{widths[0]}}  {before:<{widths[1]}}  {after:<{widths[2]}}  {count:>{widths[3]}}"
        for name, before, after, count in rows
    )
