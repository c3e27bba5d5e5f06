"""`recsys-dist report`, as a file to start from a checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from recsys_dist.cli import main

if __name__ == "__main__":
    main(["report", *sys.argv[1:]])
