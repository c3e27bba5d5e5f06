"""`recsys-dist` as a module: `python -m recsys_dist COMMAND`, `torchrun -m recsys_dist train`."""

from __future__ import annotations

from recsys_dist.cli import main

if __name__ == "__main__":
    main()
