"""Jobs and batches: what a model cannot answer, requests that fail alone, a full queue."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from recsys_dist.api.model import Model, load_model
from recsys_dist.errors import CheckpointError, ConfigError, DataError
from tests.support.merged import mf_run, write_merged
from tests.support.prepared import small_dataset
from tests.support.ranking_model import ranking_predictor

pytest.importorskip("fastapi")

from starlette.exceptions import HTTPException

from recsys_dist.serving import batcher as batching
from recsys_dist.serving.app import Service, build_app
from recsys_dist.serving.batcher import Batcher
from recsys_dist.serving.bodies import PredictBody, RecommendBody
from recsys_dist.serving.body_limit import BodyLimit
from recsys_dist.serving.errors import BusyError, UnknownIdError, status_of
from recsys_dist.serving.jobs import FindJob, Job, Outcome, PredictJob, RecommendJob, answer_jobs
from recsys_dist.serving.metrics import Histogram
from recsys_dist.serving.served_model import ServedModel


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("jobs")
    dataset = small_dataset(root / "dataset")
    write_merged(mf_run(dataset), dataset, root / "model")
    return root / "model"


def recommend(*users: str, **wish) -> RecommendJob:
    return RecommendJob(RecommendBody(user_ids=list(users), **wish))


def test_a_model_that_ranks_refuses_to_predict_and_says_so(path):
    model = Model(ranking_predictor(str(path)))
    body = PredictBody.model_validate({"pairs": [{"user_id": "u1", "item_id": "i1"}]})

    (error,) = answer_jobs(model, [PredictJob(body)])

    assert isinstance(error, ConfigError)
    assert "ranks items and predicts no ratings" in str(error)
    assert status_of(error) == 409


def test_a_request_that_fails_does_not_fail_those_beside_it(path):
    model = load_model(str(path))
    jobs = [recommend("u1"), recommend("u2", items=["nothing"]), recommend("u3"), FindJob("film", 1)]

    outcomes = answer_jobs(model, jobs)

    assert isinstance(outcomes[1], UnknownIdError)
    assert status_of(outcomes[1]) == 404
    alone = [answer_jobs(model, [jobs[place]])[0] for place in (0, 2, 3)]
    assert [outcomes[place] for place in (0, 2, 3)] == alone


def test_lists_of_one_kind_are_one_call(path, monkeypatch):
    model, whole = load_model(str(path)), Model.recommend
    calls: list[list[str]] = []

    def counted(self: Model, users: list[str], *rest, **more):
        calls.append(users)
        return whole(self, users, *rest, **more)

    monkeypatch.setattr(Model, "recommend", counted)

    answer_jobs(model, [recommend("u1"), recommend("u2", "u3"), recommend("u4", n=3)])

    assert calls == [["u1", "u2", "u3"], ["u4"]]


@pytest.mark.parametrize(
    ("error", "status"), [(DataError("a"), 409), (CheckpointError("a"), 503), (BusyError("a"), 503)]
)
def test_the_status_code_says_whose_fault_it_is(error, status):
    assert status_of(error) == status


def test_a_failure_of_the_service_tells_no_trace(path, monkeypatch):
    monkeypatch.setattr(Model, "similar_users", lambda *_: 1 / 0)
    service, sent = Service(ServedModel(str(path))), []
    app = build_app(service)
    request = {
        "type": "http",
        "method": "GET",
        "path": "/similar-users",
        "query_string": b"user_id=u1",
        "headers": [],
    }

    async def receive() -> dict:
        return {"type": "http.request"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def ask() -> None:
        async with service.running(app):
            # The server logs what the application raises after it has answered.
            with contextlib.suppress(ZeroDivisionError):
                await app(request, receive, send)

    asyncio.run(ask())

    assert sent[0]["status"] == 500
    assert json.loads(sent[1]["body"]) == {"message": "the service failed; its log says where"}


def test_what_waits_is_answered_together_and_too_much_is_refused(monkeypatch):
    monkeypatch.setattr(batching, "MOST_WAITING", 3)
    sizes: list[int] = []
    is_free = threading.Event()

    def answer_all(jobs: Sequence[Job]) -> Sequence[Outcome]:
        is_free.wait(60)
        return [b"answer"] * len(jobs)

    async def ask() -> list[bytes | BaseException]:
        batcher = Batcher(answer_all, sizes.append)
        batcher.start()
        first = asyncio.create_task(batcher.answer(recommend("u0")))
        while not sizes:
            await asyncio.sleep(0.01)
        others = [asyncio.create_task(batcher.answer(recommend(f"u{number}"))) for number in range(5)]
        await asyncio.sleep(0)
        is_free.set()
        found = await asyncio.gather(first, *others, return_exceptions=True)
        batcher.stop()
        return found

    found = asyncio.run(ask())

    assert found[:4] == [b"answer"] * 4
    assert [type(one) for one in found[4:]] == [BusyError, BusyError]
    assert sizes == [1, 3]


def test_a_large_body_without_a_length_is_refused_while_it_is_read():
    async def read_all(_scope, receive, _send) -> None:
        while (await receive())["more_body"]:
            pass

    async def ignore(_message) -> None:
        pass

    async def piece() -> dict:
        return {"type": "http.request", "body": b" " * (1 << 20), "more_body": True}

    with pytest.raises(HTTPException) as refused:
        asyncio.run(BodyLimit(read_all)({"type": "http", "headers": []}, piece, ignore))

    assert refused.value.status_code == 413


def test_a_histogram_counts_up_to_each_bound():
    histogram = Histogram((1, 2))
    for value in (0.5, 1, 1.5, 7):
        histogram.add(value)

    assert list(histogram.lines("x", 'a="b"')) == [
        'x_bucket{a="b",le="1"} 2',
        'x_bucket{a="b",le="2"} 3',
        'x_bucket{a="b",le="+Inf"} 4',
        'x_sum{a="b"} 10.000000',
        'x_count{a="b"} 4',
    ]
