"""What every test shares: asyncio as the event loop, and the place of the official examples."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest

# Two busy cores: an example that was quick alone may take long. The timeout of the whole test still holds.
hypothesis.settings.register_profile(
    "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("busy")

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture
def anyio_backend() -> str:
    """The engine runs on asyncio; trio is not supported."""
    return "asyncio"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of official examples beside the checkout; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the official examples (../shared) are not here")
    return SHARED
