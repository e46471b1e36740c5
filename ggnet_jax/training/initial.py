"""Starting from weights that were trained elsewhere: `config.init_from`.

The paper starts from CenterNet's detectors of COCO's objects (section 4).
"""

from typing import Any

from ggnet_jax.torch_import import fill, pretrained, read_state_dict
from ggnet_jax.training.state import TrainState


def read_initial_weights(config: Any, *, say: bool = True) -> dict[str, Any]:
    """Read what the PyTorch file `config.init_from` has of the network.

    Args:
        config: resolved.
        say: print what became of every parameter.

    Returns:
        Variables with gaps for the heads that the file does not have or that are of another shape.

    Raises:
        UserError: the file can't be read, or its backbone is another one.
    """
    variables, report = pretrained(read_state_dict(config.init_from), config.model)
    if say:
        print(f"starting from {config.init_from}; what is missing starts afresh\n{report.table()}")
    return variables


def put_initial_weights(state: TrainState, variables: dict[str, Any]) -> TrainState:
    """A fresh state with the weights of `read_initial_weights` in it."""
    return state.replace(
        params=fill(variables["params"], state.params),
        batch_stats=fill(variables["batch_stats"], state.batch_stats),
    )
