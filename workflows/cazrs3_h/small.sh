#!/usr/bin/env bash
# The small variant, from nothing to its figure: ./small.sh [foundation model: a name or a file]
# Everything is kept in out/; interrupted, it goes on where it was.
set -euo pipefail
model=${1:-chgnet-0.3.0}
if [ -e "$model" ]; then model=$(realpath "$model"); fi
cd "$(dirname "$0")"
run=cazrs3-h-small-$(basename "$model" | tr -c 'A-Za-z0-9.\n' '-')
mkdir -p out
export ONFLY_ARTIFACT_DIR=$PWD/out/artifacts ONFLY_STORE_DIR=$PWD/out/store
sed -e "s|^structure: |structure: ../|" -e "s|^foundation_model:.*|foundation_model: $model|" \
  -e "s|^run_id:.*|run_id: $run|" small.yaml > "out/$run.yaml"
if [ -e "out/artifacts/runs/$run/run.json" ]; then
  onfly resume "$run"
else
  onfly run "out/$run.yaml"
fi
python analyse.py "out/artifacts/runs/$run" --out "out/$run"
