#!/usr/bin/env bash
# Rounds of: answers of the newest run, what to ask, votes, a new policy, the comparison. Kill it anywhere and run it again.
#   MODEL=runs/sft DATA=my-data PEOPLE=ana,ben ROUNDS=3 bash configs/pipelines/collect-loop.sh
# DATA holds prompts-1.jsonl, prompts-2.jsonl, ... (fresh prompts of each round) and prompts.jsonl (held-out prompts).
# The page is served until Ctrl-C; the round then goes on with the votes that are there. Without people, on the toy world:
#   ANSWER='python -m data_recipes.toy.people' MODEL=quickstart/runs/sft DATA=toy bash configs/pipelines/collect-loop.sh
# How accurate the reward model gets with so many votes, random beside chosen ones: benchmarks/active_choice.py draws it.
# STAGE_OPTIONS goes to both training stages, e.g. "--max-steps 40 --batch-size 16".
set -euo pipefail

MODEL=${MODEL:-runs/sft}
DATA=${DATA:-.}
RUNS=${RUNS:-runs/loop}
PEOPLE=${PEOPLE:-me}
ROUNDS=${ROUNDS:-2}
OVERLAP=${OVERLAP:-1}
CHOOSE=${CHOOSE:-disagreement}
ANSWER=${ANSWER:-align collect serve}
TOKENS=${TOKENS:-256}
STAGE_OPTIONS=${STAGE_OPTIONS:-}
VOTES="$RUNS/votes.db"

mkdir -p "$RUNS"
pairs=()
policy=$MODEL
before=$MODEL
for round in $(seq 1 "$ROUNDS"); do
  here="$RUNS/round-$round"
  mkdir -p "$here"

  # Answers of the newest run, beside those of the one before it; the first round has one run only, so two answers of it.
  if [ "$policy" = "$before" ]; then
    align generate "$policy" --samples 2 --temperature 1 --seed "$round" --max-new-tokens "$TOKENS" \
      --data "$DATA/prompts-$round.jsonl" --output "$here/candidates.jsonl"
  else
    align generate "$policy" "$before" --temperature 1 --seed "$round" --max-new-tokens "$TOKENS" \
      --data "$DATA/prompts-$round.jsonl" --output "$here/candidates.jsonl"
  fi

  # What to ask: at random at first, then where the last round's two reward runs disagree (a fifth stays random).
  if [ "$round" = 1 ]; then
    if [ ! -e "$VOTES" ]; then
      rm -f "$VOTES.new"*  # what a kill may have left
      align collect init "$VOTES.new" --items "$here/candidates.jsonl" --annotators "$PEOPLE" --overlap "$OVERLAP"
      mv "$VOTES.new" "$VOTES"
    fi
  else
    last="$RUNS/round-$((round - 1))"
    align collect score "$here/candidates.jsonl" --reward "$last/reward-a" --reward "$last/reward-b" --output "$here/scored.jsonl"
    align collect add "$VOTES" "$here/scored.jsonl" --list "round-$round" --overlap "$OVERLAP" --choose "$CHOOSE"
  fi

  # Votes, and how far to trust them.
  if [ ! -e "$here/closed" ]; then
    $ANSWER "$VOTES"
    align collect close "$VOTES"
    touch "$here/closed"
  fi
  align collect stats "$VOTES" --html "$here/stats.html"

  # Training on all rounds so far: two reward runs that will tell what to ask next, and the next policy.
  align collect export "$VOTES" --to dpo --list "$([ "$round" = 1 ] && echo main || echo "round-$round")" --output "$here/pairs.jsonl"
  pairs+=(--data "$here/pairs.jsonl")
  align reward --model "$MODEL" "${pairs[@]}" --output "$here/reward-a" --seed 1 $STAGE_OPTIONS
  align reward --model "$MODEL" "${pairs[@]}" --output "$here/reward-b" --seed 2 $STAGE_OPTIONS
  align dpo --model "$policy" --data "$here/pairs.jsonl" --output "$here/dpo" $STAGE_OPTIONS
  before=$policy
  policy="$here/dpo"

  # Better? By the reward run, which is a proxy; by people, as soon as they have voted on answers of both.
  align eval "$before" "$policy" --data "$DATA/prompts.jsonl" --reward "$here/reward-a" --max-new-tokens "$TOKENS" \
    --output "$here/eval"
  if [ "$round" -gt 1 ]; then
    align collect rank "$VOTES" --list "round-$round" --plot "$here/ranking.svg"
  fi
done
