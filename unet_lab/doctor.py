"""What ``unet-lab doctor`` looks at: each finding says what was found and, where it is a problem, what to do."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

FREE_BYTES_WANTED = 2 * 2**30
"""Room for the downloaded data sets and a few checkpoints."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        what: its name.
        found: what is there.
        ok: whether the course runs well with it.
        mend: what to do where it is not.
    """

    what: str
    found: str
    ok: bool = True
    mend: str = ""


def examine() -> list[Finding]:
    """Look at Python, the required packages, the device, bfloat16, the disk and the cache."""
    python = ".".join(map(str, sys.version_info[:3]))
    findings = [Finding("Python", python, sys.version_info >= (3, 10), "Install Python 3.10 or newer.")]
    findings += [_package(Requirement(line)) for line in requires("unet-lab") or [] if "extra ==" not in line]
    if all(finding.ok for finding in findings):
        findings += _device()
    return findings + _cache()


def _package(requirement: Requirement) -> Finding:
    mend = f"python -m pip install '{requirement}'"
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return Finding(requirement.name, "missing", False, mend)
    # a local build such as 2.6.0+cpu satisfies >=2.6
    return Finding(requirement.name, found, requirement.specifier.contains(found, prereleases=True), mend)


def _device() -> list[Finding]:
    import torch

    from unet_lab.devices import bfloat16_in_hardware, choose_device

    device = choose_device("auto")
    if device.type == "cuda":
        found = f"CUDA, {torch.cuda.get_device_name(device)}"
        half = Finding(
            "bfloat16", "used on the GPU" if torch.cuda.is_bf16_supported() else "not on this GPU; float32 is used"
        )
    else:
        found = "Apple GPU (MPS)" if device.type == "mps" else f"CPU, {torch.get_num_threads()} threads"
        half = Finding("bfloat16", "used" if bfloat16_in_hardware() else "not in this processor; float32 is used")
    return [Finding("device", found), half]


def _cache() -> list[Finding]:
    from unet_lab.data.download import cache_folder

    folder = Path(cache_folder())
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    return [
        Finding(
            "cache", str(folder), os.access(existing, os.W_OK),
            "It can't be written. Set the environment variable UNET_LAB_CACHE to a folder of yours.",
        ),
        Finding(
            "disk", f"{free / 2**30:.1f} GiB free there", free >= FREE_BYTES_WANTED,
            f"Free at least {FREE_BYTES_WANTED / 2**30:.0f} GiB, or set UNET_LAB_CACHE to a folder on another disk.",
        ),
    ]  # fmt: skip
