from __future__ import annotations

import numpy as np
import pytest

from recsys_dist.families.ials.objective import Penalty


def test_penalties_scale_with_the_frequency():
    count = np.array([0, 10])
    whole = Penalty(unobserved_weight=0.5, regularization=0.1, frequency_scaling=1)
    assert whole.of_rows(count, 20).tolist() == pytest.approx([1, 2])
    equal = whole.model_copy(update={"frequency_scaling": 0.0})
    assert equal.of_rows(count, 20).tolist() == pytest.approx([0.1, 0.1])
