"""This is how large the release function is, unzipped: its own build and the layer, against 200 MB of Lambda's 250."""

from bench.rows import Row, Rows
from local.build import BUILD, build, built

LIMIT = 200_000_000


def rows() -> Rows:
    """One row."""
    build()
    with built():
        parts = (BUILD / "ReleaseFunction", BUILD / "TrackerLayer", BUILD / "ProvidersLayer")
        size = sum(file.stat().st_size for part in parts for file in part.rglob("*") if file.is_file())
    yield Row("release package, unzipped", size / LIMIT, 1.0, f"{size / 1e6:.0f} MB : 200 MB")
