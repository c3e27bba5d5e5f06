#!/usr/bin/env bash
# Install this project into .venv, with the versions of constraints.txt; does nothing if that is done already.
#
#   bash launch/setup.sh            what the commands need
#   bash launch/setup.sh dev,s3     and what these extras need
#
# A torch that is already in .venv (a CPU build, a ROCm build) is kept; otherwise pip's default torch is installed.
# PYTHON is the interpreter of .venv (default: python3).
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
extras=${1:-}
python=${PYTHON:-python3}
venv_python=.venv/bin/python

fail() {
    echo "error: $1" >&2
    exit 2
}

command -v "$python" >/dev/null || fail "$python is not installed; Python 3.11 or newer is needed"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version) is too old; 3.11 or newer is needed; name another one with PYTHON=/path/to/python3.11"

# Equal stamps mean that the same files were installed by the same script into the same place.
stamp_of() {
    "$python" - "$PWD" launch/setup.sh pyproject.toml constraints.txt <<'HASH'
import hashlib, pathlib, sys
files = b"\0".join(pathlib.Path(name).read_bytes() for name in sys.argv[2:])
print(hashlib.sha256(sys.argv[1].encode() + b"\0" + files).hexdigest())
HASH
}
stamp=$(stamp_of)
# One mark for the project and one for each extra.
marks=(.venv/installed)
for extra in ${extras//,/ }; do
    marks+=(".venv/installed-$extra")
done
is_installed() {
    [[ -x $venv_python ]] || return
    for mark in "${marks[@]}"; do
        [[ -f $mark && $(<"$mark") == "$stamp" ]] || return
    done
}
if is_installed; then
    exit 0
fi

echo "installing into $PWD/.venv, once; this takes a few minutes"
# Without Debian's python3-venv the environment has no pip. Creating it again keeps its content.
if ! "$venv_python" -m pip --version >/dev/null 2>&1; then
    "$python" -m venv .venv || fail "$python cannot make a virtual environment; on Debian: apt-get install python3-venv"
fi
pip=("$venv_python" -m pip --quiet --disable-pip-version-check)
torch_in_venv() {
    "$venv_python" -c 'from importlib.metadata import version; print("torch==" + version("torch"))' 2>/dev/null
}
# torch is installed first and alone, so that packages that require any torch find the tested one.
torch_in_venv >/dev/null || "${pip[@]}" install "$(grep '^torch==' constraints.txt)"
grep -v '^torch==' constraints.txt >.venv/constraints.txt
torch_in_venv >>.venv/constraints.txt
"${pip[@]}" install --constraint .venv/constraints.txt --editable ".${extras:+[$extras]}"
for mark in "${marks[@]}"; do
    echo "$stamp" >"$mark"
done
