"""Files that the user gives: each becomes a recipe of the toolchain `given`, named after the file."""

from collections.abc import Sequence
from pathlib import Path

from lowbit.core import digest
from lowbit.core.errors import BadInput
from lowbit.core.format import FileFormat
from lowbit.core.recipe import Recipe
from lowbit.formats.read import together
from lowbit.toolchains.given import FORMATS, recipe_of

_ENDINGS = ", ".join(each.main_suffix for each in FORMATS)


def given_files(paths: Sequence[Path]) -> list[tuple[Recipe, Path]]:
    """A recipe for each file, with the file's whole path. Nothing but the digest of its contents is read here.

    Raises BadInput for what is no file, for an ending that no runtime reads, and for two files of one name. Whether a
    file can be used is found out when it is built: what is wrong with it is its row's reason.
    """
    found: dict[str, tuple[Recipe, Path]] = {}
    for path in paths:
        form = _format(path)
        other = found.get(path.stem)
        if other is not None:
            raise BadInput(
                f"--given {path}: expected another name, since {other[1]} would have rows of the same name "
                f"({path.stem}); copy one of them under another name"
            )
        found[path.stem] = (recipe_of(path.stem, form, _contents(path, form)), path.absolute())
    return list(found.values())


def _format(path: Path) -> FileFormat:
    """The format of an existing file."""
    if not path.is_file():
        problem = "a folder" if path.is_dir() else "no such file"
        raise BadInput(f"--given {path}: {problem}; expected a file ending in {_ENDINGS}")
    form = next((each for each in FORMATS if each.main_suffix == path.suffix.lower()), None)
    if form is None:
        raise BadInput(f"--given {path}: expected a file ending in {_ENDINGS}")
    for suffix in form.suffixes[1:]:
        if not path.with_suffix(suffix).is_file():
            raise BadInput(
                f"--given {path}: {path.with_suffix(suffix).name} is missing beside it, and is read together with it; "
                "copy it there"
            )
    return form


def _contents(path: Path, form: FileFormat) -> str:
    """Digest of all files that are read together; of the file alone where it does not even say which those are."""
    try:
        parts = together(path, form.name)
    except BadInput:
        parts = [path]
    try:
        return digest.of_files(parts)
    except OSError as error:
        raise BadInput(f"--given {path}: cannot be read ({error.strerror}); look at the file's permissions") from error
