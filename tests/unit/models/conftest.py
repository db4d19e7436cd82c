"""Configs that several test files look at. Nothing may change them: `edit` returns copies."""

import pytest

from helpers import models
from helpers.models.presets import PRESETS


@pytest.fixture(scope="session")
def presets():
    """One config per preset."""
    pytest.importorskip("tensorflow")
    return {name: models.from_preset(name) for name in PRESETS}


@pytest.fixture(scope="session")
def ssd(presets):
    return presets[next(iter(PRESETS))]


@pytest.fixture(scope="session")
def ready(ssd, tiny_records):
    config = models.for_records(ssd, tiny_records, seed=3)
    return models.with_budget(config, train_steps=40, batch_size=8, learning_rate=0.04)
