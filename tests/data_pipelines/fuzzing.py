"""Random changes of JSON files, and what the builders' reading makes of them.

An outcome is one of

    same      nothing changed in what would be trained on
    other     the file is as well-formed as before: other numbers or names, another annotation
    reported  the data report has findings or notes that it had not
    line      a UserError of one line
    silent    something else would be trained on, and nobody says so
    traceback any other exception
"""

import copy
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

from data_pipelines import annotations, plausibility
from data_pipelines.files import FilesBuilder, FilesConfig, Source
from data_pipelines.merging import unique_entries
from data_pipelines.report import Report
from data_pipelines.statistics import Statistics
from ggnet_jax.errors import UserError

ODD: tuple[Any, ...] = (
    *(None, True, "", "x", "1\n", -1, 0, 1, 2, 7, 10**9, 10**400, 1.5, float("nan"), float("inf")),
    *([], {}, [[]], [1, 2, 3, 4], {"id": 1}, "\ud800", "a\0b", "../../x"),
)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """One random change of a JSON file: of its bytes, or of one value or key in it."""
    if rng.random() < 0.5:
        return _damaged_bytes(data, rng)
    content = json.loads(data)
    owner, key = rng.choice(list(_places(content)))
    match rng.randrange(5):
        case 0:
            del owner[key]
        case 1 if isinstance(owner, dict) and isinstance(key, str):
            owner[key + rng.choice(("s", "_", "X"))] = owner.pop(key)
        case 2 if isinstance(owner, list):
            owner.insert(key, copy.deepcopy(owner[key]))
        case 3 if isinstance(owner, list):
            owner.insert(key, rng.choice(ODD))
        case _:
            owner[key] = rng.choice(ODD)
    return json.dumps(content).encode()


def _damaged_bytes(data: bytes, rng: random.Random) -> bytes:
    at, count = rng.randrange(len(data)), rng.randrange(1, 9)
    changes = {
        "change": lambda: data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :],
        "digit": lambda: data[:at] + rng.choice(b"0123456789-.e").to_bytes() + data[at + 1 :],
        "delete": lambda: data[:at] + data[at + count :],
        "insert": lambda: data[:at] + rng.choice(b'0,"[]{}:-\xff').to_bytes() + data[at:],
        "repeat": lambda: data[:at] + data[at : at + count] + data[at:],
        "cut": lambda: data[:at],
        "digits": lambda: data[:at] + b"9" * 5000 + data[at:],
        "deep": lambda: data[:at] + b"[" * 100_000 + data[at:],
    }
    return rng.choice([*changes.values(), *[changes["change"], changes["digit"]] * 3])()


def _places(value: Any):
    """(owner, key) of every value inside of lists and objects."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def read(builder: type[FilesBuilder], source: Source, sizes, folder: Path, vocabulary: str = ""):
    """What a builder would write of a file, and its report; images are known by their sizes."""
    config = FilesConfig(name="fuzz", sources={source.split: (source,)}, vocabulary=vocabulary)
    made: Any = builder(config=config, data_dir=str(folder / "prepared"))
    prepare = getattr(made, "_read_vocabulary", None)
    if prepare:
        made._vocabulary = prepare({source.split: (source,)})
    found = made._recognize(source, made.read_source(source))
    report, statistics, written = Report(), Statistics(), []
    report.notes += made.notes.get(source.split, [])
    usable = unique_entries(found, report)
    for entry in usable:
        size = sizes.get(entry["file_name"])
        cleaned = annotations.clean(entry, made.load_vocabulary(), report, size=size)
        if size is None:
            report.add("image_missing", entry["file_name"])
            continue
        if annotations.annotated_size(entry) not in (size, None):
            report.add("size_mismatch", entry["file_name"])
        statistics.add(cleaned.classes, cleaned.relations)
        parts = (cleaned.boxes, cleaned.classes, cleaned.relations)
        written.append((entry["file_name"], *(part.tolist() for part in parts)))
        json.dumps(annotations.evaluation_entry(entry))
    plausibility.check_built(usable, statistics, "split", sizes, trained=True)
    return (written, made.load_vocabulary().to_dict()), report.to_dict()


def outcomes(path: Path, call, number: int, seed: int) -> tuple[Counter[str], list[str]]:
    """How often each outcome was had of `number` changes of a file, and what must not be.

    Args:
        path: of the file that is changed; it is put right again.
        call: reads it, as `read` does.
        number: of changes.
        seed: of the random changes.
    """
    data, rng, counts, bad = path.read_bytes(), random.Random(seed), Counter(), []
    expected, report = call()
    for _ in range(number):
        changed = damaged(data, rng)
        path.write_bytes(changed)
        try:
            found, told = call()
        except UserError as error:
            outcome = "line"
            if "\n" in str(error):
                bad.append(f"two lines: {error}")
        except Exception as error:
            outcome = "traceback"
            bad.append(f"{type(error).__name__}: {error} ({_difference(data, changed)})")
        else:
            if found == expected:
                outcome = "same"
            elif told != report:
                outcome = "reported"
            else:
                outcome = "other" if _same_form(data, changed) else "silent"
        if outcome == "silent":
            bad.append(_difference(data, changed))
        counts[outcome] += 1
    path.write_bytes(data)
    return counts, bad


def _same_form(data: bytes, changed: bytes) -> bool:
    """Whether two JSON files differ in nothing but numbers, texts and how many items are listed."""

    def form(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: form(one) for key, one in value.items()}
        if isinstance(value, list):
            forms = [form(one) for one in value]
            return forms if "number" in forms else sorted(set(map(repr, forms)))
        return "number" if type(value) in (int, float) else type(value).__name__

    return form(json.loads(data)) == form(json.loads(changed))


def _difference(data: bytes, changed: bytes) -> str:
    at = next((i for i, (a, b) in enumerate(zip(data, changed, strict=False)) if a != b), 0)
    around = slice(max(0, at - 30), at + 30)
    return f"byte {at}: {data[around]!r} -> {changed[around]!r}"
