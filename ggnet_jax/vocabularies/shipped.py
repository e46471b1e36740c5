"""The vocabularies that come with the package, and those in a file."""

from pathlib import Path

from ggnet_jax import io
from ggnet_jax.errors import UserError
from ggnet_jax.vocabularies.vocabulary import Vocabulary

_FOLDER = Path(__file__).resolve().parent


def names() -> tuple[str, ...]:
    """The shipped vocabularies."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.json")))


def path_of(name: str) -> Path:
    """The file of a shipped vocabulary."""
    return _FOLDER / f"{name}.json"


def load(name_or_path: str | Path) -> Vocabulary:
    """A shipped vocabulary by name ('hico_det', 'v_coco', 'figures_hoi'), or one from a JSON file.

    Raises:
        UserError: there is no such name or file, or it holds no vocabulary.
    """
    shipped = str(name_or_path) in names()
    path = path_of(str(name_or_path)) if shipped else Path(name_or_path)
    if not path.exists():
        raise UserError(
            f"no vocabulary {str(name_or_path)!r}: neither a file nor one of {', '.join(names())}"
        )
    fields = io.read_json(path)
    try:
        return Vocabulary.from_dict(fields)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
