"""Flax linen modules. They know no data set."""

from ggnet_jax.models.ggnet import GGNet, create_model
from ggnet_jax.models.outputs import ActPoints, Outputs

__all__ = ["ActPoints", "GGNet", "Outputs", "create_model"]
