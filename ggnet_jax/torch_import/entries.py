"""Which of a file's entries are a network's parameters, and under which names.

Training codes save a network under `state_dict`, `model` or `net`, in several such layers, and put
`module.`, `model.` or `_orig_mod.` before every name. All of that is told by where the first
convolution is found.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ggnet_jax.errors import UserError
from ggnet_jax.torch_import.names import is_backbone, is_head

# The first convolutions of Hourglass-104, of DLA-34 in a detector, and of DLA-34 by itself.
_FIRST = re.compile(
    r"(?P<prefix>(?:.*?\.)??)(?:pre\.0\.conv|base\.base_layer\.0|(?P<bare>base_layer\.0))\.weight"
)
# What compilers and sharding put into the middle of names.
_INNER = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\."
)
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights",
             "params", "model_state", "detector")  # fmt: skip
_LAYERS = re.compile(rf"(?:(?:{'|'.join(_WRAPPERS)})\.)+")
# Averages of weights over the training and an optimizer's moments, kept beside the weights.
_ASIDE = re.compile(
    r"(?:^|[._])(?:ema|swa|averaged?|shadow|teacher|momentum|optim\w*?|exp_avg|grads?)(?=$|[._])"
)
_DEEPEST = 6

# Entries that no network of ours has a use for: counters that PyTorch and profilers keep beside
# layers, the ImageNet classifier left in DLA's files, and the skips of DLA's deep trees, which the
# released code computes and drops (the trees inside make their own).
COUNTERS = ("num_batches_tracked", "total_ops", "total_params", "_extra_state")
UNUSED = re.compile(rf"(?:.*\.)?(?:{'|'.join(COUNTERS)})|base\.fc\..*|base\.level[34]\.project\..*")


def parameters(
    content: Mapping[Any, Any], is_tensor: Callable[[Any], bool]
) -> tuple[dict[str, Any], str]:
    """Find a network's parameters in what a file holds.

    Args:
        content: nested mappings, at whose ends there are tensors and other things.
        is_tensor: tells tensors.

    Returns:
        The parameters under the names of the released networks, and where they were, such as
        `state_dict.module`, for messages. Of an unknown network, what looks most like a state dict.
        Entries that have a parameter's name and are no tensor are among them.

    Raises:
        UserError: two networks have equal claims, or two entries are the same parameter.
    """
    found = [
        (path, _without_inner(mapping), sum(map(is_tensor, mapping.values())))
        for path, mapping in mappings(content)
    ]
    claims = [
        (_rank(path + prefix), path + prefix, prefix, mapping)
        for path, mapping, tensors in found
        if tensors
        for prefix in _prefixes(name for name, value in mapping.items() if is_tensor(value))
    ]
    if not claims:
        path, mapping, _ = max(found, key=lambda item: item[2])
        return _stripped(mapping, "", is_tensor), path.rstrip(".")
    claims.sort(key=lambda claim: claim[0])
    rank, place, prefix, mapping = claims[0]
    for other_rank, other, *_ in claims[1:]:
        if other_rank == rank:
            raise UserError(
                f"the checkpoint holds two networks, under {place!r} and {other!r}; "
                "save the state_dict of one of them alone"
            )
    return _stripped(mapping, prefix, is_tensor), place.rstrip(".")


def mappings(
    content: Mapping[Any, Any], path: str = "", depth: int = 0, seen: set[int] | None = None
) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """A mapping and those in it, each once, with their paths: `state_dict.model.`."""
    seen = set() if seen is None else seen
    if id(content) in seen or depth > _DEEPEST:
        return
    seen.add(id(content))
    yield path, content
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from mappings(value, f"{path}{str(key)[:80]}.", depth + 1, seen)


def _without_inner(mapping: Mapping[Any, Any]) -> dict[str, Any]:
    """A mapping with names that no compiler has touched."""
    names: dict[str, str] = {}
    renamed: dict[str, Any] = {}
    for key, value in mapping.items():
        name = _INNER.sub("", str(key))
        _take(names, name, str(key))
        renamed[name] = value
    return renamed


def _prefixes(names: Iterable[str]) -> set[str]:
    """What stands before the names of each network among `names`."""
    matches = [match for match in map(_FIRST.fullmatch, names) if match]
    whole = {match["prefix"] for match in matches if not match["bare"]}
    bare = {match["prefix"] for match in matches if match["bare"]}
    return whole | bare


def _rank(where: str) -> tuple[bool, int, int]:
    """The lower, the better: not beside the weights, few layers, known words."""
    first = where.split(".")[0]
    place = _WRAPPERS.index(first) if first in _WRAPPERS else len(_WRAPPERS)
    return bool(_ASIDE.search(where)), where.count("."), place


def _stripped(mapping: dict[str, Any], prefix: str, is_tensor: Any) -> dict[str, Any]:
    """The entries of the network under `prefix`, and of its parts that lack the prefix."""
    names: dict[str, str] = {}
    for key, value in mapping.items():
        inside = key.startswith(prefix)
        name = _LAYERS.sub("", key[len(prefix) :] if inside else key, count=1)
        if not (is_backbone(name) or is_head(name)):
            if not inside or _ASIDE.search(name.split(".")[0]):
                continue
        if is_tensor(value) or ("." in name and not UNUSED.fullmatch(name)):
            _take(names, name, key)
    return {name: mapping[key] for name, key in names.items()}


def _take(names: dict[str, str], name: str, key: str) -> None:
    if name in names:
        raise UserError(
            f"the checkpoint has two entries for {name[:80]}: {names[name][:80]!r} and {key[:80]!r}"
        )
    names[name] = key
