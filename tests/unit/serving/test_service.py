"""The service as its clients see it: answers of the Python API, errors as one message, reloads, a graceful end."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from recsys_dist.api.model import Model, load_model
from recsys_dist.cli import main
from tests.support.merged import mf_run, write_merged
from tests.support.prepared import small_dataset
from tests.support.serving import RunningServer, running_server, wait_until

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with two models, and `current`, a symbolic link to the first."""
    root = tmp_path_factory.mktemp("serving")
    dataset = small_dataset(root / "dataset")
    for name, seed in (("first", 0), ("second", 1)):
        write_merged(mf_run(dataset, seed=seed), dataset, root / name)
    (root / "current").symlink_to("first")
    return root


@pytest.fixture(scope="module")
def server(folder) -> Iterator[RunningServer]:
    with running_server(folder / "first", folder / "first.log", "--no-watch") as running:
        yield running


@pytest.fixture(scope="module")
def model(folder) -> Model:
    return load_model(str(folder / "first"))


def test_predict_answers_as_the_python_api_does_also_for_unknown_ids(server, model):
    users, items = ["u1", "u1", "nobody"], ["i2", "nothing", "i3"]

    status, answer = server.ask(
        "/predict", {"pairs": [{"user_id": u, "item_id": i} for u, i in zip(users, items, strict=True)]}
    )

    rating, std = model.predict(users, items, return_std=True)
    assert status == 200
    assert [one["rating"] for one in answer["predictions"]] == pytest.approx(rating.tolist(), abs=1e-4)
    assert [one["std"] for one in answer["predictions"]] == pytest.approx(std.tolist(), abs=1e-4)
    assert [one["user_id"] for one in answer["predictions"]] == users


def test_recommend_answers_as_the_python_api_does(server, model):
    wish = {"n": 4, "rank_by": "lower", "confidence": 0.8, "exclude": ["i3"]}

    status, answer = server.ask("/recommend", {"user_ids": ["u1", "nobody"], **wish})

    expected = model.recommend(["u1", "nobody"], **wish)
    assert status == 200
    assert answer == {
        "lists": [{"user_id": one.user_id, "items": [row._asdict() for row in one.rows()]} for one in expected]
    }


def test_fold_in_answers_as_the_python_api_does_and_names_unknown_items(server, model):
    rated = [{"item_id": "i1", "rating": 5}, {"item_id": "nothing", "rating": 4}, {"item_id": "i2", "rating": 1.5}]

    status, answer = server.ask("/fold-in", {"ratings": rated, "user_id": "u7", "n": 5})

    expected = model.fold_in(["i1", "i2"], [5, 1.5], "u7").recommend(5)
    assert status == 200
    assert answer == {"items": [row._asdict() for row in expected.rows()], "unknown_items": ["nothing"]}


def test_similar_items_and_titles_are_found(server, model):
    _, similar = server.ask("/similar-items?item_id=i1&n=3")
    _, users = server.ask("/similar-users?user_id=u1&n=3")
    _, found = server.ask("/items?title=film%2013&n=1")

    assert [one["id"] for one in similar["similar"]] == model.similar_items("i1", 3).ids
    assert [one["id"] for one in users["similar"]] == model.similar_users("u1", 3).ids
    assert found == {"items": [{"item_id": "i13", "title": "Film 13"}], "is_match": True}


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/similar-items?item_id=nothing", None, 404, "unknown item 'nothing'"),
        ("/similar-users?user_id=nobody", None, 404, "unknown user 'nobody'"),
        ("/fold-in", {"ratings": [], "user_id": "nobody"}, 404, "unknown user 'nobody'"),
        ("/recommend", {"user_ids": ["u1"], "items": ["nothing"]}, 404, "unknown item 'nothing'"),
        ("/fold-in", {"ratings": [{"item_id": "i1", "rating": 9}]}, 409, "outside the range of the data, 1 to 5"),
        ("/recommend", {"user_ids": ["u1"], "n": 0}, 422, "body.n: "),
        ("/recommend", {"user_ids": ["u1"], "n": 1001}, 422, "body.n: "),
        ("/recommend", {"user_ids": ["u1"] * 1001}, 422, "body.user_ids: "),
        ("/recommend", {"user_ids": [True]}, 422, "body.user_ids.0"),
        ("/recommend", {"user_ids": ["u1"], "top": 5}, 422, "body.top: "),
        ("/fold-in", b'{"ratings": [{"item_id": "i1", "rating": NaN}]}', 422, "body.ratings.0.rating: "),
        ("/recommend", b'{"user_ids": ["\\ud800"]}', 422, "body.user_ids.0"),
        ("/recommend", b"{", 422, "JSON decode error"),
        ("/items?title=%20", None, 422, "query.title: "),
        ("/nothing", None, 404, "there is no /nothing"),
        ("/predict", None, 405, "/predict does not take GET"),
    ],
)
def test_an_error_is_one_object_with_a_message(path, body, status, message, server):
    code, answer = server.ask(path, body)

    assert code == status
    assert list(answer) == ["message"]
    assert message in answer["message"]
    assert "\n" not in answer["message"]


def test_a_large_body_is_refused_before_it_is_sent(server):
    client = HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    client.putrequest("POST", "/recommend")
    client.putheader("Content-Type", "application/json")
    client.putheader("Content-Length", str(5 << 20))
    client.endheaders()
    answer = client.getresponse()

    assert answer.status == 413
    assert "larger than 4 MiB" in json.loads(answer.read())["message"]
    client.close()


def test_the_description_has_examples_that_can_be_sent_as_they_are(server):
    _, tree = server.ask("/openapi.json")

    for path in ("/predict", "/recommend", "/fold-in"):
        request = tree["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert server.ask(path, request["example"])[0] == 200


def test_the_model_and_its_health_are_told(server, model):
    _, facts = server.ask("/model")
    _, health = server.ask("/health")

    digest = model.manifest.contents_digest
    assert (facts["kind"], facts["num_users"], facts["digest"]) == ("mf", 120, digest)
    assert facts["predicts_ratings"]
    assert facts["knows_uncertainty"]
    assert health == {"status": "ok", "digest": digest, "reload_error": None}


def test_metrics_count_requests_and_batches(server):
    server.ask("/recommend", {"user_ids": ["u1"]})
    server.ask("/no/such/path")

    lines = server.text("/metrics").splitlines()

    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert float(values['recsys_dist_requests_total{path="/recommend",status="200"}']) >= 1
    assert float(values['recsys_dist_request_seconds_bucket{path="/recommend",le="+Inf"}']) >= 1
    assert float(values["recsys_dist_batch_requests_count"]) >= 1
    # Paths of clients are not labels, which would grow without bound.
    assert not any("/no/such/path" in line for line in lines)


def test_requests_at_once_get_their_own_answers(server, model):
    answers: dict[str, list[str]] = {}

    def ask(user: str) -> None:
        _, answer = server.ask("/recommend", {"user_ids": [user], "n": 5})
        answers[user] = [item["item_id"] for item in answer["lists"][0]["items"]]

    users = [f"u{number}" for number in range(30)]
    _together([threading.Thread(target=ask, args=(user,)) for user in users])

    assert answers == {one.user_id: one.item_ids for one in model.recommend(users, 5)}


def _together(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_new_model_takes_over_without_a_dropped_request(folder):
    digests = {name: load_model(str(folder / name)).manifest.contents_digest for name in ("first", "second")}
    statuses: list[int] = []
    is_over = threading.Event()

    with running_server(folder / "current", folder / "current.log") as server:

        def ask() -> None:
            while not is_over.is_set():
                statuses.append(server.ask("/recommend", {"user_ids": ["u1"]})[0])

        clients = [threading.Thread(target=ask) for _ in range(3)]
        for client in clients:
            client.start()
        assert server.ask("/health")[1]["digest"] == digests["first"]
        _point(folder / "current", "second")
        wait_until(lambda: server.ask("/health")[1]["digest"] == digests["second"])
        # Asked for by a signal, the model is loaded again even if it has not changed.
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: 'reloads_total{outcome="ok"} 2' in server.text("/metrics"))
        is_over.set()
        for client in clients:
            client.join()

        _point(folder / "current", "broken")
        (folder / "broken").mkdir()
        (folder / "broken" / "model.json").write_text("{")
        wait_until(lambda: server.ask("/health")[1]["reload_error"] is not None)
        health = server.ask("/health")[1]
        assert (health["status"], health["digest"]) == ("old model", digests["second"])
        assert server.ask("/recommend", {"user_ids": ["u1"]})[0] == 200

    assert len(statuses) > 10
    assert set(statuses) == {200}
    assert "Traceback" not in server.log.read_text()


def _point(link: Path, target: str) -> None:
    """Point a symbolic link elsewhere, at once."""
    beside = link.with_suffix(".new")
    beside.symlink_to(target)
    beside.rename(link)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_under_way_is_answered_before_the_end(number, folder):
    with running_server(folder / "first", folder / "ended.log", "--no-verify") as server:
        host, _, port = server.url.removeprefix("http://").partition(":")
        body = json.dumps({"user_ids": ["u1"]}).encode()
        with socket.create_connection((host, int(port))) as client:
            head = f"POST /recommend HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:5])
            # The request is under way when a later one has been answered.
            server.ask("/health")
            server.process.send_signal(number)
            client.sendall(body[5:])
            answer = b"".join(iter(lambda: client.recv(1 << 16), b""))
        assert answer.startswith(b"HTTP/1.1 200")
        assert server.process.wait(60) == 0
    assert server.log.read_text() == ""


def test_a_port_in_use_and_a_folder_without_a_model_are_one_line(folder, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as in_use:
            main(["serve", str(folder / "first"), "--port", str(port)])
    with pytest.raises(SystemExit) as missing:
        main(["serve", str(folder / "dataset"), "--port", "0"])

    lines = capsys.readouterr().err.splitlines()
    assert (in_use.value.code, missing.value.code) == (2, 2)
    assert len(lines) == 2
    assert lines[0].startswith(f"error: cannot listen on 127.0.0.1, port {port}: ")
    assert "is a prepared dataset, not a model folder" in lines[1]
