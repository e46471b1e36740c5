"""Class lists: objects, verbs, the (verb, object) pairs that form a class, and which are rare.

A vocabulary is the one place that turns the category ids of annotation and prediction files
into the indices that the network and the targets use, and back. Three ship as JSON beside this
file: `hico_det` (600 classes in HICO's order), `v_coco` and `figures_hoi`, the rendered data
set's; any other's is computed from its training annotations by `from_annotations`.

V-COCO's verbs are verb-roles in the released models' order: 25 of the 29 ids, those whose action
has an object. `walk` (3), `smile` (17), `run` (22) and `stand` (27) have none: they are no
verb of the vocabulary, so a network has no output for them and a relation that carries such an id
is an unknown verb (PPDM-format pair lists never do). `cut`, `hit` and `eat` have an instrument
and an object and count as two verbs each. `point_instr` (23) has an output, but PPDM-format pair
lists leave it out, so no class contains it, and a decoder restricted to the classes never
predicts it. The first 218 classes occur in train + val, the last 18 in the test split alone.
V-COCO has no notion of rare classes.
"""

from ggnet_jax.vocabularies.computed import from_annotations, pairs_seen
from ggnet_jax.vocabularies.shipped import load, names
from ggnet_jax.vocabularies.vocabulary import Vocabulary, same_name

__all__ = ["Vocabulary", "from_annotations", "load", "names", "pairs_seen", "same_name"]
