"""Which groups an image holds, so that every class is as frequent as it should be.

Each image has a first group, taken in turn from shuffled rounds of the common classes, so that
every common class occurs about equally often however few images there are. Rare classes appear at
fixed indices among the first 1,000 training images and never after, so that they stay rare in a set
of any size; in the test split they come back every 50 images. Every rare class is made of a verb
and an object that are both common in other pairs. The other groups are drawn at random: more
interactions, people by an object that they do not touch, people and objects alone.
"""

import random

from data_pipelines.figures_hoi import actions
from data_pipelines.figures_hoi.groups import Action, Group

COMMON: tuple[Action, ...] = (
    ("ride", "bicycle"),
    ("push", "bicycle"),
    ("repair", "bicycle"),
    ("ride", "skateboard"),
    ("hold", "skateboard"),
    ("hold", "umbrella"),
    ("fly", "kite"),
    ("kick", "sports_ball"),
    ("throw", "sports_ball"),
    ("hold", "sports_ball"),
    ("sit_on", "chair"),
    ("push", "chair"),
    ("walk", "dog"),
    ("pet", "dog"),
    ("hold", "cup"),
    ("drink_with", "cup"),
)
# Rare classes and how many of the first 1,000 training images have one.
RARE: dict[Action, int] = {
    ("repair", "chair"): 8,
    ("sit_on", "skateboard"): 7,
    ("hold", "kite"): 6,
    ("hold", "dog"): 5,
}
RARE_IMAGES = 1000
TEST_ROUND = 50  # a test image in so many has a given rare class
EMPTY_ROUND = 25  # one image in so many has no interaction at all
MOST = 4  # figures, and objects, in an image

# Second actions of people whose near hand is free, with the chance that they have one.
EXTRAS: dict[Action, tuple[float, tuple[Action, ...]]] = {
    ("ride", "bicycle"): (0.2, (("hold", "umbrella"),)),
    ("ride", "skateboard"): (0.3, (("hold", "umbrella"), ("fly", "kite"), ("hold", "cup"))),
    ("sit_on", "chair"): (0.5, (("hold", "cup"), ("drink_with", "cup"), ("hold", "umbrella"))),
    ("walk", "dog"): (0.35, (("hold", "umbrella"), ("drink_with", "cup"), ("hold", "cup"))),
}
# What is often a second action needs fewer turns of its own.
_WEIGHTS = {("hold", "cup"): 0.4, ("drink_with", "cup"): 0.4, ("hold", "umbrella"): 0.2}


def groups(seed: int, split: str, index: int, rng: random.Random) -> list[Group]:
    """The groups of an image, the most important first; at most 4 people and 4 objects."""
    chosen: list[Group] = []
    rare = _rare_class(split, index)
    if rare is not None:
        chosen.append(interaction(rare, rng))
    elif index % EMPTY_ROUND != EMPTY_ROUND - 1:
        chosen.append(interaction(_turn(seed, split, index), rng))
    else:
        chosen.append(decoy(rng))
        chosen += [bystander(rng) for _ in range(rng.randint(0, 2))]
        return _limited(chosen)
    for _ in range(rng.choices((0, 1, 2, 3), (10, 42, 33, 15))[0]):
        kind = rng.choices(("interaction", "decoy", "bystander"), (65, 17, 18))[0]
        if kind == "interaction":
            action = rng.choices(COMMON, [_WEIGHTS.get(a, 1.0) for a in COMMON])[0]
            chosen.append(interaction(action, rng))
        elif kind == "decoy":
            chosen.append(decoy(rng))
        else:
            chosen.append(bystander(rng))
    return _limited(chosen)


def interaction(action: Action, rng: random.Random) -> Group:
    """One person in an action; some have a second one for the hand that is free."""
    verb, kind = action
    chance, seconds = EXTRAS.get(action, (0.0, ()))
    extra = rng.choice(seconds) if rng.random() < chance else None
    if action == ("fly", "kite"):
        return actions.flying(rng)
    if action in (("hold", "cup"), ("drink_with", "cup"), ("hold", "umbrella")):
        return actions.standing(action, rng)
    if kind == "bicycle":
        return actions.at_bicycle(verb, rng, extra)
    if verb in ("walk", "pet"):
        return actions.at_dog(verb, rng, extra)
    if kind == "skateboard" and verb != "hold":
        return actions.on_skateboard(verb, rng, extra)
    if action == ("sit_on", "chair"):
        return actions.on_chair(rng, extra)
    if kind == "chair":
        return actions.at_chair(verb, rng)
    if verb == "kick":
        return actions.at_ball(verb, rng)
    if verb == "throw":
        return actions.throwing(rng)
    return actions.holding(kind, rng)


def decoy(rng: random.Random) -> Group:
    """Somebody by an object that they do not touch, in the layout of those who do."""
    return rng.choice(
        (
            lambda: actions.at_bicycle(None, rng),
            lambda: actions.at_dog(None, rng),
            lambda: actions.at_chair(None, rng),
            lambda: actions.at_ball(None, rng),
            lambda: actions.by_kite(rng),
        )
    )()


def bystander(rng: random.Random) -> Group:
    """A person without an object, or an object without a person."""
    if rng.random() < 0.5:
        return actions.idle(rng)
    return actions.loose(rng.choice(sorted({kind for _, kind in COMMON})), rng)


def _turn(seed: int, split: str, index: int) -> Action:
    """The common class whose turn it is: every round of 16 images has each once."""
    lap, place = divmod(index, len(COMMON))
    order = list(COMMON)
    random.Random(f"turns {seed} {split} {lap}").shuffle(order)
    return order[place]


def _rare_class(split: str, index: int) -> Action | None:
    for number, (action, count) in enumerate(RARE.items()):
        if split == "train":
            # Evenly spread, each class with an offset of its own.
            step = RARE_IMAGES // count
            if index < step * count and index % step == 7 + 11 * number:
                return action
        elif index % TEST_ROUND == 3 + 11 * number:
            return action
    return None


def _limited(chosen: list[Group]) -> list[Group]:
    kept, people, others = [], 0, 0
    for group in chosen:
        number = sum(entity.kind == "person" for entity in group.entities)
        rest = len(group.entities) - number
        if people + number <= MOST and others + rest <= MOST:
            kept.append(group)
            people, others = people + number, others + rest
    return kept
