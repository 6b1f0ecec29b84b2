#!/usr/bin/env bash
# Measures one accelerator from a bare machine without a network: bash benchmarks/device.sh [--quick]
#
# Before, on a machine with a network and the same Python:  pip download -d wheels ".[gpu]" hatchling
# With a folder `wheels` here, a new environment is made of it in $VENV (build/device);
# without one, the `python` on the path is used. It stops after nine minutes, the installation included.
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
