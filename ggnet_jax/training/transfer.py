"""What a network takes over from another one with other classes, heads or another backbone.

Layers are matched by their place in the network: one that exists in both, with the same shapes, is
taken whole. A convolution and its batch norm are one layer: statistics of other features mean
nothing. Of layers whose output channels are classes, the channels of those with the same name are
taken (`vocabularies.same_name`), wherever they stand in either list:

    object heatmap                      one channel an object
    classifiers of glance and gaze      one channel a verb
    action-aware point matching (APM)   x and y a verb, for the human and for the object

The last gaze step has a hidden layer whose width depends on the number of verbs. Where ours is
wider, theirs is put into it, and the verbs that are taken do not look at the other units at first:
they score as they did. Where ours is narrower, it and the classifier after it start fresh.

Pure functions of arrays; `training.initial` reads the files.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util

from ggnet_jax.config import ModelConfig
from ggnet_jax.models.gaze import hidden_width
from ggnet_jax.table import align
from ggnet_jax.vocabularies import same_name

Path = tuple[str, ...]
Leaves = Mapping[Path, Any]
_SHOWN = 12  # names in a list; the rest is counted


@dataclasses.dataclass(frozen=True)
class Source:
    """A trained network to start from.

    Attributes:
        title: what it is, for messages.
        config: its own.
        variables: arrays by their path in `{'params', 'batch_stats'}`; what it lacks is left out.
        objects, verbs: names of its classes, None where they are not known.
        notes: lines that the user should read.
    """

    title: str
    config: ModelConfig
    variables: Leaves
    objects: tuple[str, ...] | None
    verbs: tuple[str, ...] | None
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Taken:
    """What became of one layer.

    Attributes:
        module: of `config.MODULES`.
        part: of the network, for people: "glance".
        stack: whose heads it belongs to; -1 for the backbone.
        how: "whole", or what of it was taken; "" if nothing.
        why: nothing was; "" if something was.
    """

    module: str
    part: str
    stack: int
    how: str
    why: str


class Channels(NamedTuple):
    """Where our channels of a kind are in the other network.

    Attributes:
        known: [number of ours] index in theirs, -1 for none.
        why: there is none at all.
    """

    known: np.ndarray
    why: str


@dataclasses.dataclass(frozen=True)
class Transfer:
    """What to start from.

    Attributes:
        variables: `{'params', 'batch_stats'}` with NumPy arrays for what was taken, masked arrays
            where channels of classes start fresh (masked), and `jax.ShapeDtypeStruct` for layers
            that do; `fill` makes weights of it.
        layers: what became of each layer.
        notes: lines on the classes.
    """

    variables: dict[str, Any]
    layers: tuple[Taken, ...]
    notes: tuple[str, ...]

    def is_empty(self) -> bool:
        """Whether nothing was taken."""
        return not any(layer.how for layer in self.layers)

    def fresh(self, modules: Collection[str]) -> list[str]:
        """Those parts of some of `config.MODULES` that start fresh, if only some channels."""
        layers = [layer for layer in self.layers if layer.module in modules]
        return sorted({layer.part for layer in layers if layer.how != "whole"}, key=_place)

    def table(self) -> str:
        """A line for each part of the network, and what starts fresh."""
        stacks = sorted({layer.stack for layer in self.layers} - {-1})
        rows: dict[tuple[str, str], list[int]] = {}  # (part, what was taken) -> its stacks
        counts: dict[str, int] = {}
        for part in sorted({layer.part for layer in self.layers}, key=_place):
            for stack in (-1, *stacks):
                layers = [one for one in self.layers if (one.part, one.stack) == (part, stack)]
                if layers:
                    rows.setdefault((part, _in_words(layers)), []).append(stack)
                    counts[part] = len(layers)
        cells, words = [["part", "layers"]], ["taken"]
        for (part, text), found in rows.items():
            some = f", stack {' and '.join(str(s + 1) for s in found)}"
            whole = found == [-1] or found == stacks
            cells.append([part + ("" if whole else some), str(len(found) * counts[part])])
            words.append(text)
        lines = align(cells).splitlines()
        table = [f"{line}  {text}" for line, text in zip(lines, words, strict=True)]
        return "\n".join([*table, *self.notes, self._total()])

    def _total(self) -> str:
        leaves: dict[Any, Any] = traverse_util.flatten_dict(self.variables["params"])
        taken = sum(np.ma.count(leaf) for leaf in leaves.values() if isinstance(leaf, np.ndarray))
        size = sum(int(np.prod(leaf.shape)) for leaf in leaves.values())
        return f"{taken:,} of {size:,} parameters taken; the others have their initial values"


def transfer(
    source: Source, config: ModelConfig, shapes: Mapping[str, Any], classes: Any
) -> Transfer:
    """Take over from a network what has the same meaning in ours.

    Args:
        source: the other network.
        config: ours.
        shapes: `{'params', 'batch_stats'}` of ours, leaves with a shape and a dtype.
        classes: our vocabulary; `objects` and `verbs` are read.
    """
    expected: Leaves = traverse_util.flatten_dict(dict(shapes))
    theirs = source.config
    channels = {
        "object": _classes(source.objects, theirs.num_objects, classes.objects, "object"),
        "verb": _classes(source.verbs, theirs.num_verbs, classes.verbs, "verb"),
        "hidden unit": _hidden_units(theirs, config),
    }
    merged, layers = dict(expected), []
    kinds = set()  # of classes, by which something was taken
    for layer, paths in _layers(expected).items():
        ours = {path: expected[path] for path in paths}
        there = {path: source.variables[path] for path in paths if path in source.variables}
        found, how, why = _take(layer, ours, there, theirs, config, channels)
        kinds |= {_outputs(layer, config)[0]} if found else set()
        if not found and there.keys() == ours.keys() and theirs.head_width == config.head_width:
            if _outputs(layer, config)[0] in ("object", "verb"):
                found = {path: _all_fresh(leaf) for path, leaf in ours.items()}
        merged |= found
        layers.append(Taken(_module(layer), _part(layer), _stack(layer), how, why))
    notes = [
        note
        for kind, known, names in (
            ("object", source.objects, classes.objects),
            ("verb", source.verbs, classes.verbs),
        )
        if kind in kinds
        for note in _class_notes(kind, known, names, channels[kind].known)
    ]
    return Transfer(traverse_util.unflatten_dict(merged), tuple(layers), tuple(notes))


def fill(variables: Mapping[str, Any], initial: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of a `Transfer` with initial values where they start fresh.

    New channels of a layer whose inputs are taken start with the usual bias and a kernel of zeros:
    everywhere the prior of a heatmap. Trained features are larger than fresh ones, and random
    weights on them are confident mistakes everywhere (a loss of 2,000 where zeros give 6, on the
    rendered data set), which the first updates mend at the cost of what was learnt.
    """

    def choose(taken: Any, fresh: Any) -> Any:
        if isinstance(taken, jax.ShapeDtypeStruct):
            return fresh
        if isinstance(taken, np.ma.MaskedArray):
            start = np.asarray(fresh) if taken.ndim == 1 else 0.0
            return np.where(taken.mask, start, taken.data).astype(taken.dtype)
        return taken

    return jax.tree.map(choose, dict(variables), dict(initial))


def _layers(leaves: Leaves) -> dict[Path, list[Path]]:
    """Paths of leaves by the layer that they belong to, without the collection."""
    parents = {path[1:-1] for path in leaves}
    layers: dict[Path, list[Path]] = {}
    for path in leaves:
        layer = path[1:-1]
        if layer[-1] in ("conv", "norm") and {(*layer[:-1], n) for n in ("conv", "norm")} < parents:
            layer = layer[:-1]
        layers.setdefault(layer, []).append(path)
    return layers


def _take(
    layer: Path,
    ours: Leaves,
    theirs: Leaves,
    source: ModelConfig,
    config: ModelConfig,
    channels: Mapping[str, Channels],
) -> tuple[dict[Path, Any], str, str]:
    """The arrays of one layer, what was taken of it, and why nothing was."""
    if layer[0] != "backbone" and theirs.keys() != ours.keys():
        return {}, "", "none there"
    if why := _other_meaning(layer, source, config):
        return {}, "", why
    if theirs.keys() != ours.keys():
        return {}, "", "none there"
    theirs = {path: np.asarray(array, ours[path].dtype) for path, array in theirs.items()}
    kind, each = _outputs(layer, config)
    if not kind:
        why = _other_shapes(ours, theirs)
        return ({}, "", why) if why else ({**theirs}, "whole", "")
    known, why = channels[kind]
    reads_hidden = kind == "verb" and _is_last_step(layer, config)
    if (known < 0).all():
        return {}, "", why
    if reads_hidden and (channels["hidden unit"].known < 0).all():
        return {}, "", "reads the hidden layer"
    if why := _other_shapes(ours, theirs, free=2 if reads_hidden else 1):
        return {}, "", why
    if np.array_equal(known, np.arange(len(known))) and not _other_shapes(ours, theirs):
        return {**theirs}, "whole", ""
    arrays = {path: _by_channel(theirs[path], leaf, known, each) for path, leaf in ours.items()}
    by_name = "" if kind == "hidden unit" else " by name"
    return arrays, f"{(known >= 0).sum()} of {len(known)} {kind}s{by_name}", ""


def _by_channel(theirs: np.ndarray, ours: Any, known: np.ndarray, each: int) -> np.ma.MaskedArray:
    """Output channels of the same class; the others are masked.

    Args:
        theirs: [.., I', C'].
        ours: of shape [.., I, C]. Inputs beyond theirs are not looked at: zeros.
        known: [C / each] index of the class in theirs, -1 for none.
        each: channels a class.
    """
    column = np.repeat(known * each, each) + np.tile(np.arange(each), len(known))
    taken = np.repeat(known >= 0, each)
    values = np.zeros(ours.shape, ours.dtype)
    inputs = (slice(theirs.shape[-2]),) if theirs.ndim > 1 else ()
    values[(..., *inputs, taken)] = theirs[..., column[taken]]
    return np.ma.MaskedArray(values, np.broadcast_to(~taken, ours.shape))


def _all_fresh(leaf: Any) -> np.ma.MaskedArray:
    return np.ma.masked_all(leaf.shape, leaf.dtype)


def _other_meaning(layer: Path, source: ModelConfig, config: ModelConfig) -> str:
    """Why a layer of the same place is another one in the other network; "" if it is the same."""
    if layer[0] == "backbone":
        same = source.backbone == config.backbone
        return "" if same else f"{source.backbone} there, {config.backbone} here"
    if source.head_width != config.head_width:
        return f"head_width {source.head_width} there, {config.head_width} here"
    if layer[1] == "matching" and source.per_verb_offsets != config.per_verb_offsets:
        pairs = {True: "an offset pair for every verb", False: "one offset pair for all verbs"}
        return f"{pairs[source.per_verb_offsets]} there, {pairs[config.per_verb_offsets]} here"
    if layer[1] != "interactions":
        return ""
    if source.aggregation != config.aggregation and layer[2] != "glance_conv":
        return f"aggregation {source.aggregation!r} there, {config.aggregation!r} here"
    last = _is_last_step(layer, source), _is_last_step(layer, config)
    if last[0] != last[1] and layer[2].endswith("_classifier"):
        return "the last gaze step has a hidden layer, others have none"
    return ""


def _is_last_step(layer: Path, config: ModelConfig) -> bool:
    last = f"gaze{config.gaze_steps}_"
    return config.gaze_steps > 0 and len(layer) > 2 and layer[2].startswith(last)


def _outputs(layer: Path, config: ModelConfig) -> tuple[str, int]:
    """What depends on the classes in a layer's output, and its channels for each; "" for nothing.

    A "hidden unit" is one of the last gaze step's hidden layer.
    """
    if layer[1:] == ("objects", "object_heatmap", "out"):
        return "object", 1
    if layer[1] == "interactions" and layer[-1].endswith("_classifier"):
        return "verb", 1
    if layer[1] == "interactions" and layer[-1].endswith("_hidden"):
        return "hidden unit", 1
    if layer[1] == "matching" and layer[-1] == "out" and config.per_verb_offsets:
        return "verb", 2
    return "", 0


def _classes(theirs: Sequence[str] | None, count: int, ours: Sequence[str], kind: str) -> Channels:
    """Classes of the same name; those whose names are not known are ours if there are as many."""
    number = len(ours)
    if theirs is None:
        known = np.arange(number) if count == number else np.full(number, -1)
        return Channels(known, f"{count} {kind}s there of unknown names, {number} here")
    exact = {name: index for index, name in enumerate(theirs)}
    alike = {same_name(name): index for index, name in reversed([*enumerate(theirs)])}
    found = [exact.get(name, alike.get(same_name(name), -1)) for name in ours]
    return Channels(np.array(found), f"no {kind} of the same name")


def _hidden_units(source: ModelConfig, config: ModelConfig) -> Channels:
    there, here = hidden_width(source), hidden_width(config)
    units = np.arange(here)
    known = np.where((units < there) & (there <= here), units, -1)
    return Channels(known, f"hidden layer of {there} units there, {here} here")


def _class_notes(
    kind: str, theirs: Sequence[str] | None, ours: Sequence[str], known: np.ndarray
) -> list[str]:
    """What the user should know of the classes of one kind."""
    if theirs is None:
        return [f"the names of its {kind}s are not known: taken to be ours, in our order"]
    fresh = [name for name, index in zip(ours, known, strict=True) if index < 0]
    return [f"{kind}s that start fresh: {_some(fresh)}"] if fresh else []


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _other_shapes(ours: Leaves, theirs: Leaves, *, free: int = 0) -> str:
    """A difference of shapes, the kernel's first; "" for none. The last `free` axes may differ."""
    for path, leaf in sorted(ours.items(), key=lambda item: -len(item[1].shape)):
        here, there = tuple(leaf.shape), tuple(theirs[path].shape)
        end = max(len(here) - free, 0)
        if len(here) != len(there) or here[:end] != there[:end]:
            sizes = ("x".join(map(str, shape)) for shape in (there, here))
            return "{} there, {} here".format(*sizes)
    return ""


def _module(layer: Path) -> str:
    return layer[0] if layer[0] == "backbone" else layer[1]


def _part(layer: Path) -> str:
    """The part of the network that a layer belongs to, in words."""
    if layer[0] == "backbone":
        return "backbone"
    name = layer[2].split("_")[0] if layer[1] == "interactions" else layer[2].replace("_", " ")
    return f"gaze {name[4:]}" if name.startswith("gaze") else name


def _place(part: str) -> tuple[int, str]:
    """Where a part's line stands in the table: the backbone, objects, verbs, matching."""
    order = ("backbone", "object heatmap", "box size", "center offset", "glance", "gather", "gaze")
    return order.index(name) if (name := part.rstrip("0123456789 ")) in order else len(order), part


def _stack(layer: Path) -> int:
    return -1 if layer[0] == "backbone" else int(layer[0].removeprefix("heads"))


def _in_words(layers: Sequence[Taken]) -> str:
    """What was taken of a part's layers, in one line."""
    whole = sum(one.how == "whole" for one in layers)
    partly = list(dict.fromkeys(one.how for one in layers if one.how not in ("", "whole")))
    fresh: dict[str, int] = {}
    for one in layers:
        if not one.how:
            fresh[one.why] = fresh.get(one.why, 0) + 1
    if whole == len(layers):
        return "whole"
    words = ([f"{whole} whole"] if whole else []) + partly
    if fresh:
        number = sum(fresh.values())
        reason = next(iter(fresh)) + (", ..." if len(fresh) > 1 else "")
        words.append(f"{'all' if number == len(layers) else number} fresh ({reason})")
    return "; ".join(words)
