#!/usr/bin/env bash
# Measures one accelerator from a bare machine without a network: bash benchmarks/device.sh [--quick]
#
# First, on a machine with a network and the same Python version:  pip download -d wheels ".[gpu]" hatchling
# With a folder `wheels` in the repository, a new environment is created from it in $VENV (build/device);
# without one, the `python` on the PATH is used. Stops after nine minutes, including installation.
set -euo pipefail
cd "$(dirname "$0")/.."
python=python
if [ -d wheels ]; then
    venv=${VENV:-build/device}
    python3 -m venv "$venv"
    python=$venv/bin/python
    "$python" -m pip install -q --no-index --find-links wheels ".[gpu]"
fi
exec timeout $((540 - SECONDS)) "$python" -m benchmarks.device "$@"
