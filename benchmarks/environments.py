"""Environments of other programs: installed from PyPI at the versions that were tested, apart from this project's.

What cannot be had on a machine ends in an `UnavailableError` that says why.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

OLDEST_JAVA = 17
LIBMF_AVX = " -mavx -DUSEAVX" if platform.machine() == "x86_64" else ""
LIBMF_FLAGS = f"-O3 -pthread -march=native -fopenmp -DUSEOMP{LIBMF_AVX}"


@dataclass(frozen=True)
class Environment:
    """Packages from PyPI, the first one the opponent's, and the compiler flags that they are built with."""

    packages: tuple[str, ...]
    flags: dict[str, str] = field(default_factory=dict)


NUMPY = ("numpy==2.4.6", "scipy==1.17.1")
ENVIRONMENTS = {
    "libmf": Environment(("libmf==0.9.2", *NUMPY)),
    # The binding leaves out the switches of LIBMF's own Makefile: vector instructions and OpenMP. Which of the two
    # variables reaches a C++ compiler depends on the version of setuptools.
    "libmf-fast": Environment(
        ("libmf==0.9.2", *NUMPY), {"CFLAGS": LIBMF_FLAGS, "CXXFLAGS": LIBMF_FLAGS, "LDFLAGS": "-fopenmp"}
    ),
    "surprise": Environment(("scikit-surprise==1.1.5", *NUMPY)),
    # threadpoolctl is imported by cmfrec and not declared.
    "cmfrec": Environment(("cmfrec==3.5.1.post14", "threadpoolctl==3.8.0", "pandas==3.1.1", *NUMPY)),
    "duckdb": Environment(("duckdb==2.0.1",)),
    "implicit": Environment(("implicit==0.7.3", *NUMPY)),
    "spark": Environment(("pyspark==4.3.0", *NUMPY)),
}


class UnavailableError(Exception):
    """An opponent that cannot be measured here; the text says why."""


def set_up(name: str, work: Path) -> Path:
    """The Python of an opponent's environment, installed unless it stands already."""
    wanted, folder = ENVIRONMENTS[name], work / "environments" / name
    if name == "spark":
        require_java()
    python, installed = folder / "bin" / "python", folder / "installed.json"
    content = json.dumps(asdict(wanted))
    if installed.exists() and installed.read_text() == content:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    # pip keeps what it has built by version alone: that version with other flags must not come from there.
    fresh = ["--no-cache-dir"] if wanted.flags else []
    pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", *fresh, *wanted.packages]
    venv: list[str | Path] = [sys.executable, "-m", "venv", folder]
    for command in (venv, pip):
        log = subprocess.run(
            command, env={**os.environ, **wanted.flags}, capture_output=True, text=True, check=False
        )
        if log.returncode:
            folder.with_suffix(".log").write_text(log.stdout + log.stderr)
            reason = f"{last_error(log.stderr)} (all of it: {folder.with_suffix('.log')})"
            raise UnavailableError(f"{wanted.packages[0]} cannot be installed: {reason}")
    installed.write_text(content)
    return python


def version_of(name: str) -> str:
    """The version of the opponent itself."""
    return ENVIRONMENTS[name].packages[0].split("==")[1]


def last_error(output: str) -> str:
    """The line of a failed command's output that tells most: the cause a compiler gives, or the last error."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    causes = [line for line in lines if line.startswith("error: ") and "subprocess" not in line]
    errors = [line for line in lines if re.match(r"ERROR: |\w+Error: ", line)]
    return [*causes[:1], *errors[-1:], *lines[-1:], "no output"][0][:200]


def require_java() -> None:
    """Raise where Spark would find no Java that it runs on."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin" if home else None)
    hint = f"Spark needs a Java of {OLDEST_JAVA} or newer (Debian: apt-get install openjdk-17-jre-headless)"
    if java is None:
        raise UnavailableError(f"no java was found; {hint}")
    told = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', told)
    if version is None or int(version[1]) < OLDEST_JAVA:
        raise UnavailableError(f"{java} is too old; {hint}")
