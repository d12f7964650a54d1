"""What all tests share."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The maintainers' folder of real images beside the checkout; tests on it are skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("real images need ../shared/data beside the checkout")
    return SHARED_DATA
