"""Fixtures of the tests of the import."""

import functools

import pytest

from ggnet_jax.torch_import import convert as conversion


@pytest.fixture(scope="module")
def shapes_once():
    """Tracing a network for its shapes is most of a conversion's time."""
    with pytest.MonkeyPatch.context() as patch:
        cached = functools.cache(conversion.expected_variables)
        patch.setattr(conversion, "expected_variables", cached)
        yield
