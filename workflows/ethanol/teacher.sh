#!/usr/bin/env bash
# Against a teacher, at the paper's temperature, threshold and length: ./teacher.sh DIR
#   DIR has MACE_SPICE_converted.model (the student) and ani500k_small_CC.model (the teacher, coupled cluster)
# Then MD on the tuned model, on its foundation and on the teacher. About an hour on a core.
# Everything is kept in out/; interrupted, it goes on where it was.
set -euo pipefail
models=$(realpath "${1:?the folder with the two MACE files}")
cd "$(dirname "$0")"
out=$PWD/out/teacher
mkdir -p "$out"
python ../../benchmarks/truth.py --cases ethanol-300 --models "$models" --resume "$out" \
  --json "$out/truth.json"
python ../../benchmarks/production.py --case ethanol-300 --models "$models" --resume "$out" \
  --runs 3 --steps 10000 --json "$out/production.json" --figure "$out/production.png"
python analyse.py "$out"/runs/ethanol-300-* --out "$out/labels"
