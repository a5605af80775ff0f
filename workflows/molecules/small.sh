#!/usr/bin/env bash
# The small variant: ./small.sh DATA.extxyz FOUNDATION (a molecule's data set, and a model file)
set -euo pipefail
data=$(realpath "$1") model=$2
if [ -e "$model" ]; then model=$(realpath "$model"); fi
cd "$(dirname "$0")"
mkdir -p out
python learn.py --data "$data" --foundation "$model" --sizes 5 10 20 --n-test 100 \
  --members 4 --steps 100 --out out/molecules-small
