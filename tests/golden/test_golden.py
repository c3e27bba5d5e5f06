"""What the commands make of small real data is, to the last bit, what was recorded: a change of structure that
changes a dataset, a model or an answer shows here.

The bytes of Parquet and the bits of products also depend on the versions of pyarrow and torch that constraints.txt
pins.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.golden.cases import DATASETS, ML_100K, MODELS
from tests.golden.record import RECORDED, record_in_other_process

ROUNDING = 1e-4
"""By how much predictions may differ where a processor computes in another order."""


@pytest.fixture(scope="module")
def recorded():
    return json.loads(RECORDED.read_text())


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    output = tmp_path_factory.mktemp("golden") / "found.json"
    record_in_other_process(output)
    return json.loads(output.read_text())


def test_every_case_is_recorded(recorded):
    assert recorded["datasets"].keys() == DATASETS.keys()
    assert recorded["models"].keys() == MODELS.keys()


@pytest.mark.parametrize("name", DATASETS)
def test_datasets_are_the_same(found, recorded, name):
    assert _of(found, "datasets", name) == recorded["datasets"][name]


@pytest.mark.parametrize("name", MODELS)
def test_models_and_their_answers_are_the_same(found, recorded, name):
    now, then = _of(found, "models", name), recorded["models"][name]
    if found["kernels"] == recorded["kernels"]:
        assert now == then
        return
    for answers in ("predictions", "folded", "similar", "stds"):
        np.testing.assert_allclose(now.get(answers, []), then.get(answers, []), rtol=ROUNDING, atol=ROUNDING)
    pytest.skip("this processor computes in another order than the one that recorded: compared to rounding alone")


def _of(found, what, name):
    if name not in found[what] and not ML_100K.exists():
        pytest.skip("MovieLens 100K is not here")
    return found[what][name]
