"""`recsys-dist train` as a script for torchrun or sbatch: `torchrun --nproc_per_node=4 launch/train.py ...`."""

from checkout import run

if __name__ == "__main__":
    run("train")
