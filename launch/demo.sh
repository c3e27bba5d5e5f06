#!/usr/bin/env bash
# `recsys-dist demo`: the whole way on real ratings (MovieTweetings 100K), from files to lists and pages of figures.
# Installs what it needs into .venv; results go to runs/demo. Arguments go to the command.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash launch/setup.sh report
exec .venv/bin/recsys-dist demo "$@"
