"""`recsys-dist train`, as a file for torchrun or sbatch: `torchrun --nproc_per_node=4 launch/train.py ...`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from recsys_dist.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
