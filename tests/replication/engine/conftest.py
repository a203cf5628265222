"""What all tests of the engine share."""

import gc

import pytest


@pytest.fixture(autouse=True)
def frozen():
    """Spare the collections that free a stack's memory what was there before, PyTorch above all."""
    gc.freeze()
    yield
    gc.unfreeze()
