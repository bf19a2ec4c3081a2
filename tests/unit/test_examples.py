"""What the README tells people to type works."""

from __future__ import annotations

import pytest

from hailod.app import plan_models
from hailod.config.load import load
from hailod.sources import validate_source
from tests.conftest import REPOSITORY

EXAMPLES = sorted((REPOSITORY / "etc" / "examples").glob("*.toml"))
CONFIGURATIONS = [path for path in EXAMPLES if not path.name.endswith(".sim.toml")]


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.name)
def test_example_configuration_is_usable(path: object) -> None:
    """Every example is valid, and its models are where it says."""
    loaded = load(path, {}, source_check=validate_source)  # type: ignore[arg-type]
    assert plan_models(loaded).keys() == loaded.settings.models.keys()
    assert loaded.settings.cameras
