"""The HTTP service of a model: its routes and its OpenAPI description.

POST /predict          ratings of pairs
POST /recommend        lists of users
POST /fold-in          the list of a user with ratings that were not in training
GET  /similar-items    and /similar-users
GET  /items            items by their titles
GET  /model            the model that answers
GET  /health           whether the newest model answers
GET  /metrics          in the text format of Prometheus
GET  /                 a page to try the model with
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from starlette.concurrency import run_in_threadpool

from recsys_dist.serving import bodies
from recsys_dist.serving.batcher import Batcher
from recsys_dist.serving.body_limit import BodyLimit
from recsys_dist.serving.errors import answer_errors
from recsys_dist.serving.examples import add_examples
from recsys_dist.serving.jobs import FindJob, FoldInJob, Job, PredictJob, RecommendJob, SimilarJob, answer_jobs
from recsys_dist.serving.metrics import Measured, Metrics
from recsys_dist.serving.served_model import ServedModel, Watcher
from recsys_dist.version import __version__

SUMMARY = "Predicted ratings, lists and similar items of a model of recsys_dist."
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"
)
"""The page loads nothing, and asks this service alone."""
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
REASONS = {
    400: "the body cannot be read",
    404: "an id that must be known is unknown",
    409: "the model cannot answer this",
    413: "the body is too large",
    422: "the request is malformed",
    503: "too many requests wait, or the files of the model are being replaced",
}

RawId = Annotated[str, Query(max_length=bodies.LONGEST_ID, description="As in the data.")]
Length = Annotated[int, Query(ge=1, le=bodies.LONGEST_LIST)]
Title = Annotated[
    str, Query(max_length=bodies.LONGEST_TITLE, pattern=r"\S", description="A title, or words of it.")
]


class Service:
    """The routes, and what they share: the model, the thread that answers, the one that reloads, the metrics."""

    def __init__(self, served: ServedModel, looks: bool = True) -> None:
        self.served, self.metrics = served, Metrics()
        self.batcher = Batcher(lambda jobs: answer_jobs(served.loaded.model, jobs), self.metrics.batched)
        self.watcher = Watcher(served, looks, self.metrics.reloaded)

    @asynccontextmanager
    async def running(self, _app: FastAPI) -> AsyncIterator[None]:
        """Run the threads; at the end what waits is answered."""
        self.batcher.start()
        self.watcher.start()
        try:
            yield
        finally:
            await run_in_threadpool(self.batcher.stop)
            await run_in_threadpool(self.watcher.stop)

    async def predict(self, body: bodies.PredictBody) -> Response:
        """Predicted ratings of pairs; unknown ids are cold, never an error. Refused by a model that ranks."""
        return await self._answer(PredictJob(body))

    async def recommend(self, body: bodies.RecommendBody) -> Response:
        """The best items for each user, without those rated in training; an unknown user is an average one."""
        return await self._answer(RecommendJob(body))

    async def fold_in(self, body: bodies.FoldInBody) -> Response:
        """The best items for a user with ratings that were not in training."""
        return await self._answer(FoldInJob(body))

    async def similar_items(self, item_id: RawId, n: Length = 10) -> Response:
        """The items most similar to one that has train ratings, by the cosine of their factors."""
        return await self._answer(SimilarJob("items", item_id, n))

    async def similar_users(self, user_id: RawId, n: Length = 10) -> Response:
        """The users most similar to one that has train ratings, by the cosine of their factors."""
        return await self._answer(SimilarJob("users", user_id, n))

    async def items(self, title: Title, n: Length = 10) -> Response:
        """The items whose titles match best."""
        return await self._answer(FindJob(title, n))

    async def model(self) -> bodies.ModelAnswer:
        """The model that answers at the moment."""
        loaded = self.served.loaded
        model, rating = loaded.model, loaded.model.manifest.rating
        return bodies.ModelAnswer(
            kind=model.manifest.kind,
            digest=loaded.digest,
            loaded_at=loaded.at.isoformat(timespec="seconds"),
            num_users=len(model.user_ids),
            num_items=len(model.item_ids),
            predicts_ratings=model.predictor.scorer.predicts_ratings,
            knows_uncertainty=model.knows_uncertainty,
            has_titles=model.titles.null_count < len(model.titles),
            rating_min=rating.min,
            rating_max=rating.max,
        )

    async def health(self) -> bodies.HealthAnswer:
        """`ok`; `old model` if a newer one could not be loaded."""
        failure = self.served.failure
        status = "ok" if failure is None else "old model"
        return bodies.HealthAnswer(status=status, digest=self.served.loaded.digest, reload_error=failure)

    async def metrics_text(self) -> Response:
        """Requests, times, batches and reloads since the start."""
        loaded = self.served.loaded
        text = self.metrics.text(self.batcher.num_waiting, loaded.model.manifest.kind, loaded.digest)
        return Response(text, media_type=PROMETHEUS)

    async def page(self) -> Response:
        """A page on which a person searches titles, rates items and sees lists."""
        return HTMLResponse(_page(), headers={"Content-Security-Policy": PAGE_POLICY})

    async def _answer(self, job: Job) -> Response:
        return Response(await self.batcher.answer(job), media_type="application/json")


def build_app(service: Service) -> FastAPI:
    """The ASGI application of a service. Its threads run from startup to shutdown."""
    # The pages of FastAPI that show the description load from elsewhere.
    app = FastAPI(
        title="recsys_dist", version=__version__, docs_url=None, redoc_url=None, lifespan=service.running
    )
    answer_errors(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(Measured, metrics=service.metrics)
    _add_questions(app, service)
    _add_facts(app, service)

    def described() -> dict[str, Any]:
        tree = get_openapi(title=app.title, version=app.version, description=SUMMARY, routes=app.routes)
        return add_examples(tree, service.served.loaded.model)

    app.openapi = described  # type: ignore[method-assign]
    return app


def _add_questions(app: FastAPI, service: Service) -> None:
    """The routes that ask the model."""
    questions: tuple[tuple[str, str, Any, Any], ...] = (
        ("POST", "/predict", service.predict, bodies.PredictAnswer),
        ("POST", "/recommend", service.recommend, bodies.RecommendAnswer),
        ("POST", "/fold-in", service.fold_in, bodies.FoldInAnswer),
        ("GET", "/similar-items", service.similar_items, bodies.SimilarAnswer),
        ("GET", "/similar-users", service.similar_users, bodies.SimilarAnswer),
        ("GET", "/items", service.items, bodies.ItemsAnswer),
    )
    errors: dict[int | str, dict[str, Any]] = {
        status: {"model": bodies.ErrorAnswer, "description": reason} for status, reason in REASONS.items()
    }
    for method, path, function, answer in questions:
        app.add_api_route(path, function, methods=[method], response_model=answer, responses=errors)


def _add_facts(app: FastAPI, service: Service) -> None:
    """The routes about the service itself."""
    app.add_api_route("/model", service.model, methods=["GET"])
    app.add_api_route("/health", service.health, methods=["GET"])
    app.add_api_route("/metrics", service.metrics_text, methods=["GET"], response_class=PlainTextResponse)
    app.add_api_route("/", service.page, methods=["GET"], response_class=HTMLResponse, include_in_schema=False)


def _page() -> str:
    return files("recsys_dist.serving").joinpath("page.html").read_text("utf-8")
