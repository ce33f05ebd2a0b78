#!/usr/bin/env bash
# The chain for a team's own data: kill it anywhere and run it again, it continues where it stopped.
#   MODEL=Qwen/Qwen3-0.6B DATA=my-data RUNS=runs bash configs/pipelines/support.sh
# DATA holds support.jsonl (demonstrations), pairs.jsonl (chosen and rejected answers) and prompts.jsonl (held-out prompts).
set -euo pipefail

MODEL=${MODEL:-Qwen/Qwen3-0.6B}
DATA=${DATA:-.}
RUNS=${RUNS:-runs}

align sft    --model "$MODEL"    --data "$DATA/support.jsonl" --output "$RUNS/sft"
align reward --model "$RUNS/sft" --data "$DATA/pairs.jsonl"   --output "$RUNS/reward"
align dpo    --model "$RUNS/sft" --data "$DATA/pairs.jsonl"   --output "$RUNS/dpo"
align eval   "$RUNS/sft" "$RUNS/dpo" --data "$DATA/prompts.jsonl" --reward "$RUNS/reward"
align report "$RUNS/dpo"
