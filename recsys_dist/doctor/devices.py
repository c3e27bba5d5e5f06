"""GPUs and NCCL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from recsys_dist.distributed.gpus import visible_gpus
from recsys_dist.doctor.finding import Finding

DRIVER = Path("/proc/driver/nvidia/version")


def check_gpus() -> Iterator[Finding]:
    """The GPUs that torch sees, why it sees none, and NCCL."""
    gpus, has_driver = visible_gpus(), DRIVER.exists()
    if gpus.names:
        yield Finding("ok", "GPUs", f"{len(gpus.names)}: {', '.join(gpus.names)}, CUDA {gpus.cuda}")
        if gpus.nccl is None:
            advice = "train on one GPU, or install a torch with NCCL"
            yield Finding("problem", "NCCL", "this torch has none, so several ranks cannot use GPUs", advice)
        else:
            yield Finding("ok", "NCCL", gpus.nccl)
    elif not has_driver:
        yield Finding("ok", "GPUs", "none: training runs on the CPU")
    elif gpus.cuda is None:
        advice = "to use the GPU, install a torch with CUDA (https://pytorch.org)"
        yield Finding("note", "GPUs", "there is a driver of NVIDIA, but torch is a build for the CPU", advice)
    else:
        advice = "check nvidia-smi and CUDA_VISIBLE_DEVICES; the driver may be too old for this torch"
        yield Finding("problem", "GPUs", f"torch for CUDA {gpus.cuda} sees none, though there is a driver", advice)
