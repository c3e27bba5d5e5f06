"""Secrets in URLs are refused before anything is written, and stay out of what is said."""

from __future__ import annotations

import fsspec
import pytest

from recsys_dist.cli import main
from recsys_dist.errors import ConfigError
from recsys_dist.storage.filesystem import reason
from recsys_dist.storage.folder import Folder
from recsys_dist.storage.remote import connection_options, masked, refuse_credentials

SECRET = "Wj4lr/X+secret0"


@pytest.mark.parametrize(
    "url",
    [
        f"s3://AKIA0:{SECRET}@bucket/data",
        f"https://user:{SECRET}@host:8080/ratings.csv",
        f"simplecache::s3://AKIA0:{SECRET}@bucket/data",
        f"https://host/ratings.csv?x=1&X-Amz-Signature={SECRET}",
        f"https://host/ratings.csv?access_token={SECRET}&x=1",
        f"abfs://container/data?sig={SECRET}",
        f"s3://bucket/data?aws_secret_access_key={SECRET}",
    ],
)
def test_a_url_with_a_secret_is_refused_and_masked(url, tmp_path, capsys):
    with pytest.raises(ConfigError, match=r"\*\*\*.*a URL with credentials") as refused:
        Folder(url)
    assert SECRET not in str(refused.value)

    (tmp_path / "prepare.yaml").write_text("input: {columns: {user: 0, item: 1, rating: 2}, header: false}")
    for overrides in ([f"input.paths={url}", f"output={tmp_path}/out"], ["input.paths=a.csv", f"output={url}"]):
        with pytest.raises(SystemExit):
            main(["prepare", "--config", str(tmp_path / "prepare.yaml"), *overrides])
    told = "".join(capsys.readouterr())
    assert told.count("a URL with credentials") == 2
    assert SECRET not in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prepare.yaml"]


HARMLESS = [
    "s3://bucket/a@b/c:d",
    "https://host:8080/a@b?page=2",
    "sftp://user@host/data",
    "s3://bucket/x?versionId=3",
]


@pytest.mark.parametrize("url", HARMLESS)
def test_other_urls_stay_as_they_are(url):
    assert masked(url) == url


@pytest.mark.parametrize("url", [*HARMLESS, "/disk/a:b@c?token=1"])
def test_other_urls_and_any_path_are_accepted(url):
    refuse_credentials(url)


def test_secrets_of_an_endpoint_stay_out_of_errors():
    error = OSError(
        f'Could not connect to the endpoint URL: "http://me:{SECRET}@host:9000/b?X-Amz-Credential=AKIA0"'
    )

    assert reason(error) == 'Could not connect to the endpoint URL: "http://***@host:9000/b?X-Amz-Credential=***"'


def test_the_settings_of_the_person_on_retries_come_first(monkeypatch):
    for name in ("AWS_RETRY_MODE", "AWS_MAX_ATTEMPTS"):
        monkeypatch.delenv(name, raising=False)
    assert connection_options("s3://b/x") == {
        "config_kwargs": {"retries": {"mode": "standard", "total_max_attempts": 5}}
    }
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "9")
    assert connection_options("s3://b/x") == {"config_kwargs": {"retries": {"mode": "standard"}}}
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {}})
    assert connection_options("s3://b/x") == {}
    assert connection_options("gs://b/x") == connection_options("/b/x") == {}
