"""Opens the data that the user wrote after `--data`: pictures, with labels where they are needed."""

from pathlib import Path

from lowbit.core.errors import BadInput
from lowbit.data.arrays import open_digits, open_npz
from lowbit.data.folder import open_folder
from lowbit.data.parquet import open_parquet, open_parquet_folder
from lowbit.data.picture import Dataset

__all__ = ["Dataset", "open_dataset"]

_EXPECTED = (
    "expected: `digits`, a folder of class folders, a .parquet file, a folder with train*.parquet and test*.parquet, "
    "or an .npz file with x and y"
)
_PARQUET = b"PAR1"  # how every parquet file begins


def open_dataset(spec: str, *, labelled: bool = True) -> Dataset:
    """The data that `spec` names; pictures are decoded when they are asked for. Raises BadInput.

    labelled: whether accuracy is to be measured. Otherwise no labels are read (all are 0 then), and none need be there:
    a folder may hold the pictures themselves (or its train/), a parquet file no column of labels, an .npz file no y.
    """
    if spec == "digits":
        return open_digits()
    path = Path(spec).expanduser().absolute()  # links keep their names: what one points to may have none
    if not path.exists():
        raise BadInput(f"data {spec!r}: no such file or folder; {_EXPECTED}")
    try:
        if path.is_dir():
            open_it = open_parquet_folder if any(path.glob("*.parquet")) else open_folder
            return open_it(path, labelled=labelled)
        kind = _kind(path)
        if kind == ".parquet":
            return open_parquet(path, labelled=labelled)
        if kind == ".npz":
            return open_npz(path, labelled=labelled)
    except OSError as error:
        raise BadInput(f"data {spec!r}: {error.filename or path} cannot be read ({error.strerror or error})") from error
    raise BadInput(f"data {spec!r}: a file of no known kind; {_EXPECTED}")


def _kind(path: Path) -> str:
    """.parquet or .npz: by the file's name, by that of the file it links to, or by how it begins; else empty."""
    for suffix in (path.suffix.lower(), path.resolve().suffix.lower()):
        if suffix in (".parquet", ".npz"):
            return suffix
    with path.open("rb") as file:
        return ".parquet" if file.read(len(_PARQUET)) == _PARQUET else ""
