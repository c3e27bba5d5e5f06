"""`python -m recsys_dist` and `torchrun -m recsys_dist`: the command line."""

from recsys_dist.cli import main

if __name__ == "__main__":
    main()
