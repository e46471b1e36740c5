"""What an export has beyond usable boxes and relations: counted, with the first place of each."""

from collections import Counter

from ggnet_jax.errors import UserError

# Kind -> what it is, and what is done about it.
KINDS = {
    "skipped": "skipped task: left out",
    "unlabeled": "task without a submitted annotation (drafts and predictions are none): left out",
    "several": (
        "image with several annotations: one that is marked as ground truth is taken, else the one "
        "that was updated last"
    ),
    "no_size": "image whose size neither the export nor the image folder tells: left out",
    "not_found": "image that is not in the image folder",
    "other_shape": "region that is no rectangle: left out",
    "no_label": "rectangle without a label: left out",
    "many_labels": "rectangle with several labels: a box for each",
    "rotated": "rotated rectangle: left out",
    "unknown_object": "rectangle whose label is not in the class list: left out",
    "unknown_verb": "relation whose label is not in the class list: left out",
    "turned_around": "relation from an object to a person: the person is its subject",
    "relation_nowhere": "relation with a region that is no labeled rectangle: left out",
    "relation_lost": "relation of a rectangle that was left out: left out with it",
    "no_verb": "relation without a label: left out; a verb in the class list is expected",
    "only_verb": "relation without a label: it has the only verb of the class list",
}


class Findings:
    """Counts of what was found in an export, for the data report.

    Attributes:
        counts: how often each of KINDS was found.
        first: the first place of each.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def add(self, kind: str, where: str) -> None:
        """Count a finding of `kind` (a key of KINDS) at `where`."""
        self.counts[kind] += 1
        self.first.setdefault(kind, where)

    def lines(self) -> list[str]:
        """A line for each kind that was found."""
        return [
            f"{self.counts[kind]} x {text} (the first: {self.first[kind]})"
            for kind, text in KINDS.items()
            if self.counts[kind]
        ]

    def refuse(self, kind: str, path: str, what: str, mend: str) -> None:
        """Raise a UserError if there are any of a kind.

        Args:
            kind: key of KINDS.
            path: the export.
            what: they are.
            mend: what can be done about it.
        """
        if number := self.counts[kind]:
            raise UserError(
                f"{path}: {what}: {number}, the first in {self.first[kind]}; {mend}, or leave "
                "them out, --config.data.accept_losses=True"
            )
