"""Device and precision: what is asked for, or what the machine has."""

import pytest
import torch

from unet_lab import devices
from unet_lab.devices import bfloat16_in_hardware, choose_device, choose_precision


def test_auto_takes_what_is_there():
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device("auto").type == expected
    assert choose_device("cpu") == torch.device("cpu")


def test_unknown_and_missing_devices_are_told_apart():
    with pytest.raises(ValueError, match="device expects one of auto, cpu, cuda, mps; got 'gpu'"):
        choose_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match=r"'cuda' was asked for.*device='auto'"):
            choose_device("cuda")


@pytest.mark.parametrize(("name", "expected"), [("avx512_bf16", True), ("amx_bf16", True), ("avx2", False)])
def test_bfloat16_is_taken_only_where_the_processor_lists_it(monkeypatch, name, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {name: True, "sse2": True}, raising=False)
    assert bfloat16_in_hardware() is expected
    assert choose_precision("auto", "cpu") == (torch.bfloat16 if expected else torch.float32)


def test_a_wish_is_followed_and_an_unknown_one_refused(monkeypatch):
    monkeypatch.setattr(devices, "bfloat16_in_hardware", lambda: False)
    assert choose_precision("bfloat16", "cpu") == torch.bfloat16
    assert choose_precision("float32", "cpu") == torch.float32
    with pytest.raises(ValueError, match="precision expects one of auto, float32, bfloat16; got 'half'"):
        choose_precision("half")
