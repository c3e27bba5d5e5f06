"""Time batched symmetric solves with inverses against LAPACK's on the same batch. It asserts nothing.

    python -m benchmarks.solve [--batch-entries 1048576] [--repeats 20]

Prints microseconds and GFlop/s of each way for each order n, on one thread. All ways are credited n^3 operations a
matrix, what Cholesky factorization and inversion take, whatever they really do. The time is that of the processor,
the least of the repeats, which take turns: so a busy machine wrongs none.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import torch

from recsys_dist.kernels.symmetric import spd_solve
from recsys_dist.process.heap import keep_freed_memory

ORDERS = (9, 17, 33, 65, 129, 257)
LEAST_BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-entries", type=int, default=1 << 20, help="matrix entries of one batch")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    print(f"{'n':>4} {'batch':>6} {'way':<24} {'us/matrix':>10} {'matrices/s':>11} {'GFlop/s':>8}")
    for n in ORDERS:
        batch = max(LEAST_BATCH, options.batch_entries // n**2)
        for name, seconds in least_seconds(ways(n, batch), options.repeats).items():
            each = seconds / batch
            print(f"{n:>4} {batch:>6} {name:<24} {each * 1e6:>10.2f} {1 / each:>11.0f} {n**3 / each / 1e9:>8.1f}")


def ways(n: int, batch: int) -> dict[str, Callable[[], object]]:
    """Each way inverts the same matrices, laid out as it wants them."""
    root_Bnm = torch.randn(batch, n, n + 5, generator=torch.Generator().manual_seed(n))
    matrix_Bnn = root_Bnm @ root_Bnm.mT + torch.eye(n)
    matrix_nnB = matrix_Bnn.permute(1, 2, 0).contiguous()
    bordered_nmB = torch.cat([matrix_nnB, matrix_nnB[:, :1]], dim=1)
    right_Bn1, scratch_nmB = matrix_Bnn[:, :, :1], bordered_nmB.clone()

    def cholesky() -> object:
        lower_Bnn = torch.linalg.cholesky_ex(matrix_Bnn).L
        return torch.cholesky_inverse(lower_Bnn), torch.cholesky_solve(right_Bn1, lower_Bnn)

    def inverse() -> object:
        inverse_Bnn = torch.linalg.inv(matrix_Bnn)
        return inverse_Bnn, inverse_Bnn @ right_Bn1

    return {
        "spd_solve": lambda: spd_solve(scratch_nmB.copy_(bordered_nmB)),
        "cholesky_ex, _inverse": cholesky,
        "linalg.inv": inverse,
    }


def least_seconds(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    least = dict.fromkeys(functions, math.inf)
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.process_time()
            function()
            least[name] = min(least[name], time.process_time() - start)
    return least


if __name__ == "__main__":
    main()
