"""The ratings of `recsys-dist demo`: MovieTweetings 100K (Dooms et al. 2013), MIT.

They are in `tests/data/movietweetings` of the repository, and inside the package if it is installed from a wheel.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def demo_data() -> Path:
    """The folder of `ratings.dat.gz`, `movies.dat.gz` and their licence."""
    package = Path(str(files("recsys_dist")))
    installed = package / "demo_ratings"
    return installed if installed.is_dir() else package.parent / "tests" / "data" / "movietweetings"
