#!/usr/bin/env bash
# Against a teacher (CHGNet-r2SCAN; CHGNet is the student), both thresholds of the paper, then
# production on both models, on their foundation and on the teacher: ./teacher.sh [case]
#   cazrs3-2h   162 atoms, the paper's size: hours on a core (default)
#   cazrs3-h    21 atoms: about an hour
# Everything is kept in out/; interrupted, it goes on where it was.
set -euo pipefail
cd "$(dirname "$0")"
case=${1:-cazrs3-2h}
out=$PWD/out/$case
mkdir -p "$out"
truth() { python ../../benchmarks/truth.py --cases "$case" --resume "$out" "$@"; }
truth --json "$out/K5.json"
truth --json "$out/K15.json" --set "tolerance=[{quantity: energy, value: 15 kcal/mol}]"
python ../../benchmarks/production.py --case "$case" --resume "$out" --json "$out/production.json" \
  --figure "$out/production.png"
python analyse.py "$out"/runs/"$case"-* --out "$out/labels"
