"""Packages that are installed for one test: metadata in a folder that is put on PYTHONPATH."""

from pathlib import Path


def install(site: Path, name: str, entry_points: str = "") -> None:
    """Make `name`, version 1.0, look installed to whoever has `site` on the path."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
