"""Right U-Nets written in other ways, for the tests of task 2 of E08: none of them may be rejected."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from unet_lab.checks.parts.wrong_unets import Parts
from unet_lab.models import DoubleConv, UNet


def _with(**changes):
    return type("RightUNet", (Parts,), changes)


class _Down(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(in_channels, out_channels))

    def forward(self, x):
        return self.maxpool_conv(x)


class _Up(nn.Module):
    """Pads to the skip's size and puts the skip first."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            nn.Conv2d(in_channels, in_channels // 2, 1),
        )
        self.conv = DoubleConv(in_channels, out_channels)

    def forward(self, x, skip):
        x = self.up(x)
        rows, columns = skip.shape[2] - x.shape[2], skip.shape[3] - x.shape[3]
        x = F.pad(x, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
        return self.conv(torch.cat([skip, x], dim=1))


class _DownAndUp(nn.Module):
    def __init__(self, in_channels, num_classes, base_channels):
        super().__init__()
        b = base_channels
        self.inc = DoubleConv(in_channels, b)
        self.down1, self.down2, self.down3, self.down4 = (_Down(b * 2**k, b * 2 ** (k + 1)) for k in range(4))
        self.up1, self.up2, self.up3, self.up4 = (_Up(b * 2 ** (k + 1), b * 2**k) for k in (3, 2, 1, 0))
        self.outc = nn.Conv2d(b, num_classes, 1, bias=False)

    def forward(self, x):
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x4 = self.down3(x3)
        x = self.down4(x4)
        x = self.up1(x, x4)
        x = self.up2(x, x3)
        x = self.up3(x, x2)
        return self.outc(self.up4(x, x1))


class _Nested(nn.Module):
    """Level inside level."""

    def __init__(self, in_ch, channels, level):
        super().__init__()
        self.enc = DoubleConv(in_ch, channels)
        if level < 5:
            self.below = _Nested(channels, 2 * channels, level + 1)
            self.up = nn.ConvTranspose2d(2 * channels, channels, 2, 2)
            self.dec = DoubleConv(2 * channels, channels)
        self.level = level

    def forward(self, x):
        here = self.enc(x)
        if self.level == 5:
            return here
        return self.dec(torch.cat((self.up(self.below(F.max_pool2d(here, 2))), here), 1))


def _nested(in_channels=3, num_classes=2, base_channels=64):
    return nn.Sequential(_Nested(in_channels, base_channels, 1), nn.Conv2d(base_channels, num_classes, 1))


class _OwnBlocks(nn.Module):
    """Layers one by one, functions in forward, a stack of skips, another name for torch.cat, a layer that is not used."""

    def __init__(self, in_channels=3, num_classes=2, base_channels=64, **options):
        super().__init__()
        self.convs, self.norms, self.ups = nn.ModuleList(), nn.ModuleDict(), nn.ParameterList()
        widths = [base_channels * 2**k for k in range(5)]
        for i, o in zip([in_channels, *widths], widths, strict=False):
            self._add(i, o)
        for o in widths[3::-1]:
            self.ups.append(nn.Parameter(0.1 * torch.randn(2 * o, o, 2, 2)))
            self._add(2 * o, o)
        self.final = nn.Conv2d(base_channels, num_classes, kernel_size=1)
        self.spare = nn.Linear(3, 3)

    def _add(self, in_ch, out_ch):
        for pair in ((in_ch, out_ch), (out_ch, out_ch)):
            self.norms[str(len(self.convs))] = nn.BatchNorm2d(out_ch)
            self.convs.append(nn.Conv2d(*pair, 3, padding=1, bias=False))

    def _double(self, x, which):
        for k in (2 * which, 2 * which + 1):
            x = self.norms[str(k)](self.convs[k](x)).relu_()
        return x

    def forward(self, image):
        stack, x = [], image
        for which in range(5):
            x = self._double(x, which)
            if which < 4:
                stack.append(x)
                x = F.max_pool2d(x, kernel_size=2, stride=2)
        for which in range(4):
            x = F.conv_transpose2d(x, self.ups[which], stride=2)
            x = self._double(torch.concat([stack.pop(), x], dim=-3), 5 + which)
        return self.final(x)


class _Float64(UNet):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.double()

    def forward(self, images):
        return super().forward(images.double())


class _DropOut(Parts):
    def skip(self, features, inputs, level):
        return F.dropout2d(features[level - 1], 0.1, self.training)

    def enlarge(self, x, level):
        return F.dropout(self.up[level - 1](x), 0.1, self.training)

    def join(self, up, skip, level):
        return F.dropout2d(torch.cat([skip, up], dim=1), 0.1, self.training)

    def pool(self, x, level):
        return F.dropout(F.max_pool2d(x, 2), 0.1, self.training)


class _Unhalved(Parts):
    """Interpolation alone: the block after it halves the channels."""

    def upsampling(self, in_ch, out_ch):
        return nn.Upsample(scale_factor=2, mode="bilinear")

    def joined(self, channels):
        return 3 * channels


class _CroppedOutput(Parts):
    def last(self, x):
        return x[:, :, : x.shape[2], :].contiguous()


def _interpolated(mode, kernel_size, first):
    def upsampling(self, in_ch, out_ch):
        layers = [
            nn.Upsample(scale_factor=2, mode=mode),
            nn.Conv2d(in_ch, out_ch, kernel_size, padding=kernel_size // 2),
        ]
        return nn.Sequential(*(layers[::-1] if first else layers))

    return _with(upsampling=upsampling)


def _plain_double(in_ch, out_ch):
    return nn.Sequential(
        nn.Conv2d(in_ch, out_ch, 3, padding=1), nn.ReLU(), nn.Conv2d(out_ch, out_ch, 3, padding=1), nn.ReLU()
    )


def _single(in_ch, out_ch):
    return nn.Sequential(nn.Conv2d(in_ch, out_ch, 3, padding=1), nn.BatchNorm2d(out_ch), nn.ReLU(inplace=True))


def _normed_up(self, in_ch, out_ch):
    return nn.Sequential(nn.ConvTranspose2d(in_ch, out_ch, 2, 2), nn.BatchNorm2d(out_ch), nn.ReLU())


VARIANTS = (
    Parts,
    _with(join=lambda self, up, skip, level: torch.cat([skip, up], dim=1)),
    _with(join=lambda self, up, skip, level: torch.cat([skip, up] if level % 2 else [up, skip], dim=1)),
    _DownAndUp,
    _nested,
    _OwnBlocks,
    _Float64,
    _DropOut,
    _Unhalved,
    _CroppedOutput,
    _interpolated("bilinear", 1, first=False),
    _interpolated("bilinear", 3, first=False),
    _interpolated("bilinear", 1, first=True),
    _interpolated("bilinear", 3, first=True),
    _interpolated("nearest", 3, first=False),
    _with(upsampling=_normed_up),
    _with(upsampling=lambda self, i, o: nn.ConvTranspose2d(i, o, 4, stride=2, padding=1)),
    _with(upsampling=lambda self, i, o: nn.ConvTranspose2d(i, o, 3, stride=2, padding=1, output_padding=1)),
    # A DoubleConv that is still wrong is a matter of task 1, not of this one.
    _with(block=staticmethod(_plain_double), decoder_block=staticmethod(_plain_double)),
    _with(block=staticmethod(_single), decoder_block=staticmethod(_single)),
)
