"""launch/k8s: valid for the Kubernetes API, the parts of a job fit together, and the commands can run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.support.job_commands import REPOSITORY, check_command

FOLDER = REPOSITORY / "launch" / "k8s"
FILES = sorted(FOLDER.glob("*.yaml"))
VERSIONS = ("1.31", "1.34", "1.37")


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def job_of(name: str) -> dict[str, Any]:
    return next(document for document in documents(FOLDER / name) if document["kind"] == "Job")


def test_there_is_a_job_for_each_stage() -> None:
    assert [path.name for path in FILES] == ["evaluate.yaml", "prepare.yaml", "train.yaml"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_document_is_valid(path: Path, version: str) -> None:
    for document in documents(path):
        kubernetes_validate.validate(document, version, strict=True)


def test_the_schemas_refuse_what_the_api_would() -> None:
    job = job_of("train.yaml")
    job["spec"]["completionmode"] = "Indexed"

    with pytest.raises(kubernetes_validate.ValidationError, match="completionmode"):
        kubernetes_validate.validate(job, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_job_runs_without_privileges_and_its_failure_rules_name_its_container(path: Path) -> None:
    spec = job_of(path.name)["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    volumes = {volume["name"] for volume in pod["volumes"]}

    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] > 0
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert container["resources"]["limits"]["memory"]
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    # A pod failure policy is only allowed together with this.
    assert pod["restartPolicy"] == "Never"
    codes = [rule["onExitCodes"] for rule in spec["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    assert {code["containerName"] for code in codes} == {container["name"]}


def test_the_pods_of_training_meet_at_the_first_one() -> None:
    service = next(document for document in documents(FOLDER / "train.yaml") if document["kind"] == "Service")
    job = job_of("train.yaml")
    name, spec, pod = job["metadata"]["name"], job["spec"], job["spec"]["template"]["spec"]
    command = pod["containers"][0]["command"]
    settings = {entry["name"]: entry.get("value") for entry in pod["containers"][0]["env"]}

    # In an Indexed Job the host name of a pod is NAME-INDEX, and a headless service gives it a DNS name.
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    assert pod["subdomain"] == service["metadata"]["name"]
    assert f"--master-addr={name}-0.{pod['subdomain']}" in command
    assert f"--master-port={service['spec']['ports'][0]['port']}" in command
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == int(settings["NNODES"])
    # Rank 0's shell waits for the ranks to save before it is killed.
    assert pod["terminationGracePeriodSeconds"] > 100


def test_a_saved_run_does_not_use_up_the_retries() -> None:
    rules = job_of("train.yaml")["spec"]["podFailurePolicy"]["rules"]
    ignored = [
        rule["onExitCodes"]["values"] for rule in rules if rule["action"] == "Ignore" and "onExitCodes" in rule
    ]

    assert ignored == [[75, 143]]


def test_the_ranks_of_a_pod_have_shared_memory_for_nccl() -> None:
    pod = job_of("train.yaml")["spec"]["template"]["spec"]
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["mountPath"] == "/dev/shm"]

    assert {"name": mount["name"], "emptyDir": {"medium": "Memory"}} in pod["volumes"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_commands_can_run(path: Path) -> None:
    (container,) = job_of(path.name)["spec"]["template"]["spec"]["containers"]
    values = {entry["name"]: entry.get("value", "0") for entry in container.get("env", [])}
    command = [re.sub(r"\$\((\w+)\)", lambda found: values[found[1]], word) for word in container["command"]]

    settings = check_command(command)

    assert (settings is None) == (path.name == "evaluate.yaml")
