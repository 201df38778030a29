#!/bin/sh
# Installs lang1 into a virtual environment: the one script that make, CI and the images use.
#
#   docker/install-python.sh VENV EXTRAS     EXTRAS: "", "train" or "dev"
#
# PYTHON        interpreter that makes the environment            (python3)
# TORCH_INDEX   package index to take torch from, e.g. the CPU builds' index of pytorch.org; empty: pip's own settings
set -eu
venv=$1
extras=${2:-}
root=$(cd "$(dirname "$0")/.." && pwd)
# A venv made without ensurepip has a python and no pip, and would fail for ever after.
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    "${PYTHON:-python3}" -m venv --clear "$venv" || {
        echo "python3 cannot make virtual environments; on Debian: apt-get install python3-venv" >&2
        exit 1
    }
fi
pip="$venv/bin/python -m pip --disable-pip-version-check install --quiet"

# torch first and by its exact version: asked for as a range, pip may take a CUDA build of several gigabytes instead.
torch=$(grep '^torch==' "$root/constraints.txt")
if ! "$venv/bin/python" -c "import importlib.metadata as m, sys; sys.exit(m.version('torch').split('+')[0] != '${torch#torch==}')" 2>/dev/null; then
    $pip ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$torch"
fi
target=$root${extras:+[$extras]}
$pip --constraint "$root/constraints.txt" --editable "$target"

# litgpt pins a huggingface_hub that transformers is past. It runs with the newer one, so it goes in without its own
# needs, which the train extra has, and is tried here: pip cannot tell whether it works.
case $extras in
train | dev)
    $pip --no-deps "$(grep '^litgpt==' "$root/constraints.txt")"
    "$venv/bin/python" -c "from litgpt.model import GPT"
    ;;
esac
