"""Record what the golden cases give, to the last bit: `python -m tests.golden.record`.

Writes tests/golden/recorded.json anew. Only a change that is meant to give other bits may be followed by this, and
its commit names what changed. `--output FILE` writes elsewhere.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.golden.cases import APPENDED_LINES, DATASETS, ML_100K, MODELS, MOVIETWEETINGS, ROOT, DatasetCase

RECORDED = Path(__file__).with_name("recorded.json")
# Which kernels a processor gets decides on last bits. With these, one with AVX2 computes as any other.
SAME_KERNELS = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR",
    "OMP_NUM_THREADS": "1",  # AutoRec adds up in another order on other numbers
}
PAIRS, LISTED_USERS, LIST_LENGTH, FOLDED = 64, 3, 10, 8


def record_in_other_process(output: Path) -> None:
    """Record in a process of its own, whose libraries choose the same kernels on every processor."""
    subprocess.run(
        [sys.executable, "-m", "tests.golden.record", "--output", str(output)],
        cwd=ROOT,
        env=os.environ | SAME_KERNELS,
        check=True,
    )


def record_all() -> dict[str, Any]:
    """What all cases give that can be made here: by dataset and by model; and how this processor computes."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.chdir(folder)
        _lay_out_inputs(folder)
        datasets = {name: case for name, case in DATASETS.items() if _has_inputs(case)}
        models = {name: case for name, case in MODELS.items() if case.dataset in datasets}
        return {
            "kernels": _kernels(),
            "datasets": {name: _record_dataset(name, case) for name, case in datasets.items()},
            "models": {name: _record_model(name) for name in models},
        }


def _has_inputs(case: DatasetCase) -> bool:
    return case.config != "prepare_ml100k_u1" or ML_100K.is_dir()


def _lay_out_inputs(folder: Path) -> None:
    for source in (MOVIETWEETINGS, ML_100K):
        for path in source.glob("*.gz"):
            shutil.copy(path, folder / path.name)
    lines = gzip.decompress((folder / "ratings.dat.gz").read_bytes()).splitlines(keepends=True)
    (folder / "first.dat").write_bytes(b"".join(lines[:-APPENDED_LINES]))
    (folder / "last.dat").write_bytes(b"".join(lines[-APPENDED_LINES:]))


def _kernels() -> str:
    """A digest of sums, products, roots and exponentials, whose last bits depend on the processor."""
    import numpy as np
    import torch

    rng = np.random.default_rng(0)
    a = torch.from_numpy(rng.normal(size=(65, 65)))
    b = torch.from_numpy(rng.normal(size=(65, 65)).astype(np.float32))
    found = [a @ a, b @ b, torch.linalg.cholesky(a @ a.T), torch.exp(b), torch.sigmoid(b), torch.tanh(b), b.sum(0)]
    found += [torch.from_numpy(a.numpy() @ a.numpy()), torch.from_numpy(np.exp(b.numpy()))]
    return _sha256(*(one.numpy().tobytes() for one in found))


def _sha256(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _run(*arguments: str) -> None:
    from recsys_dist.cli import main

    code: object = 0
    try:
        main(list(arguments))
    except SystemExit as end:
        code = end.code
    if code:
        raise RuntimeError(f"recsys-dist {' '.join(arguments)}: exit code {code}")


def _config(name: str) -> list[str]:
    return ["--config", str(ROOT / f"configs/{name}.yaml")]


def _record_dataset(name: str, case: DatasetCase) -> dict[str, Any]:
    _run("prepare", *_config(case.config), *case.settings, f"output={name}", "cluster.workers=1")
    if case.appended is not None:
        _run("prepare", *_config(case.config), "--append", case.appended, f"output={name}", "cluster.workers=1")
    content = (Path(name) / "manifest.json").read_bytes()
    files = sorted((file["name"], file["sha256"]) for file in json.loads(content)["files"])
    return {"manifest": _sha256(content), "files": _sha256(json.dumps(files).encode())}


def _record_model(name: str) -> dict[str, Any]:
    import recsys_dist

    case, run, folder = MODELS[name], f"run-{name}", f"model-{name}"
    _run("train", *_config(case.config), *case.settings, f"dataset={case.dataset}", f"run_dir={run}")
    _run("merge", run, "--output", folder)
    return {"files": _files_of(folder), **_answers(recsys_dist.load_model(folder), case.knows_uncertainty)}


def _files_of(folder: str) -> str:
    """A digest of all files of a model folder but model.json, which names the version and the configuration."""
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file() and path.name != "model.json")
    return _sha256(*(f"{path}{_sha256(path.read_bytes())}".encode() for path in paths))


def _answers(model: Any, knows_uncertainty: bool) -> dict[str, Any]:
    users, items = ["1", "2", "3", "nobody knows this one"], _some_items(model)
    pairs = [(users[place % len(users)], items[place % len(items)]) for place in range(PAIRS)]
    user_N, item_N = (list(side) for side in zip(*pairs, strict=True))
    folded = model.fold_in(items[:FOLDED], [3.0, 4.0] * (FOLDED // 2))
    answers = {
        "predictions": _floats(model.predict(user_N, item_N)),
        "lists": [_list_of(one) for one in model.recommend(users[:LISTED_USERS], LIST_LENGTH)],
        "folded": _floats(folded.predict(items)),
        "folded_list": _list_of(folded.recommend(LIST_LENGTH)),
        "similar": _floats(model.similar_items(items[0], LIST_LENGTH).similarities),
    }
    if knows_uncertainty:
        answers["stds"] = _floats(model.predict(user_N, item_N, return_std=True)[1])
        answers["lower"] = _list_of(model.recommend(users[:1], LIST_LENGTH, rank_by="lower")[0])
        answers["thompson"] = _list_of(model.recommend(users[:1], LIST_LENGTH, rank_by="thompson")[0])
    return answers


def _some_items(model: Any) -> list[str]:
    """Ids of the 20 most rated items and of one that nobody knows."""
    return [*model.item_ids.array[:20].to_pylist(), "nobody knows it"]


def _floats(values: Any) -> list[float]:
    return [float(value) for value in values]


def _list_of(one: Any) -> list[Any]:
    return [list(one.item_ids), _floats(one.scores)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=Path)
    output = parser.parse_args().output
    if output is None:
        record_in_other_process(RECORDED)
    else:
        output = output.absolute()
        output.write_text(json.dumps(record_all(), indent=1) + "\n")


if __name__ == "__main__":
    main()
