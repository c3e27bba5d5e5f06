"""The similar word for a mistyped one, and none where none is similar."""

import pytest

from recsys_dist.suggestions import closest, did_you_mean


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("factor", ["factors", "noise"], "factors"),
        ("trian", ["train", "prepare"], "train"),
        ("userId", ["user_id", "item_id"], "user_id"),
        ("batch-size", ["batch_size"], "batch_size"),
        ("usr", ["user", "item"], "user"),
        ("size", ["depth", "kind"], None),
        ("x", [], None),
    ],
)
def test_the_similar_word_is_found(word, known, meant):
    assert closest(word, known) == meant
    assert did_you_mean(word, known) == ("" if meant is None else f"; did you mean {meant}?")
