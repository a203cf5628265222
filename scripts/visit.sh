#!/usr/bin/env bash
# One visit to a machine that keeps nothing: draw the data, train what the time allows, leave the results in one small file.
#
#     bash scripts/visit.sh OUT --profile paper --minutes 7.5 --pace 0.25
#     mkdir -p results/paper && tar -xzf OUT/results.tgz -C results/paper     # then, at home
#
# OUT is a folder that comes home; the rest are the options of `python -m replication.engine.visit`. What came home before (in results/PROFILE)
# is not made again. PYTHON, DATA and RUNS name the interpreter (python3), the packed images (data) and the runs (runs/visit; of
# one profile only).
set -euo pipefail
out=$(mkdir -p "${1:?usage: scripts/visit.sh OUT [options of replication.engine.visit]}" && cd "$1" && pwd)
shift
cd "$(dirname "$0")/.."
python=${PYTHON:-python3} data=${DATA:-data} runs=${RUNS:-runs/visit} status=0
mkdir -p "$runs"
[ -e "$data/shapes2d.json" ] || "$python" -m data_prep.shapes2d --out "$data"
"$python" -m replication.engine.visit --data "$data" --out "$runs" "$@" || status=$?
# Weights stay: a checkpoint is gigabytes, and the report does without decoders.
tar -czf "$out/results.tgz" -C "$runs" --exclude=./checkpoints --exclude=./kept --exclude=./old --exclude=./.lock .
exit $status
