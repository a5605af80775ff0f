#!/usr/bin/env bash
# Against a teacher (CHGNet-r2SCAN; CHGNet is the student), both jumps: ./teacher.sh [case]
#   lamno3-160  160 atoms, the paper's size, 3 ps for each temperature: hours on a core (default)
#   lamno3      20 atoms
# Everything is kept in out/; interrupted, it goes on where it was.
set -euo pipefail
cd "$(dirname "$0")"
case=${1:-lamno3-160}
out=$PWD/out/$case
mkdir -p "$out"
python ../../benchmarks/truth.py --cases "$case" --resume "$out" --json "$out/truth.json"
python ../../benchmarks/production.py --case "$case" --resume "$out" --json "$out/production.json" \
  --figure "$out/production.png"
python analyse.py "$out"/runs/"$case"-* --out "$out/labels"
