#!/usr/bin/env bash
# Regenerates the numbers of the README from this checkout.
#
#   bash experiments/reproduce.sh            what the shipped weights do: about 4 hours on two cores
#   bash experiments/reproduce.sh weights    the weights themselves, into runs/: about 3 hours more
#
# A step whose output is there is skipped and a long one continues where it was stopped, so this can
# be run again after an interruption.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
data=runs/data

step() { printf '\n== python -m %s\n' "$*"; "$python" -m "$@"; }
unless() { # OUTPUT COMMAND...: only if OUTPUT is not there
  if [[ -e $1 ]]; then printf '== %s is there\n' "$1"; else step "${@:2}"; fi
}
run() { # CONFIG SEED
  local folder=runs/$1-seed$2
  if [[ -e $folder/result.json ]]; then printf '== %s is there\n' "$folder"; return; fi
  local resume=(); [[ -e $folder/config.json ]] && resume=(--resume)
  step experiments.run "$1" --seed "$2" "${resume[@]}"
}

test_data() {
  unless $data/test/clips.jsonl experiments.reward_data --split test --episodes 600 --out $data/test
}

weights() {
  local scene
  for scene in toy drawer; do # base policies, and early ones that fail in their own ways
    unless $data/demos-$scene experiments.demonstrations --scene $scene --out $data/demos-$scene
    unless runs/pretrain-$scene/policy policies.pretrain --demos $data/demos-$scene \
      --out runs/pretrain-$scene --save-at 300
  done
  unless $data/train/clips.jsonl experiments.reward_data --split train --out $data/train
  unless $data/cloned/clips.jsonl experiments.reward_data --split train --out $data/cloned \
    --first 1000000 --episodes 400 \
    --policy runs/pretrain-toy/policy runs/pretrain-drawer/policy \
    --half-trained runs/pretrain-toy/step-300 runs/pretrain-drawer/step-300
  unless $data/validation/clips.jsonl experiments.reward_data --split validation --episodes 100 \
    --out $data/validation
  local clips=($data/train $data/cloned $data/validation)
  unless runs/nano/model/config.json reward_models.train --data "${clips[@]}" --out runs/nano
  unless runs/nano-no-negatives/model/config.json reward_models.train --data "${clips[@]}" \
    --out runs/nano-no-negatives --tower-from runs/nano --language.no-negatives
  test_data
  unless runs/nano.json reward_models.benchmark --model runs/nano/model --data $data/test --out runs/nano.json
  unless runs/nano-no-negatives.json reward_models.benchmark --model runs/nano-no-negatives/model \
    --data $data/test --out runs/nano-no-negatives.json
}

results() {
  test_data
  unless runs/shipped-nano.json reward_models.benchmark --model roboreward-nano --data $data/test \
    --out runs/shipped-nano.json
  unless runs/always-three.json reward_models.benchmark --model constant-3 --data $data/test \
    --out runs/always-three.json
  local task seed
  for task in toy-on-towel drawer; do
    for seed in 0 1 2; do run $task-nano $seed; done
    run $task-oracle 0
    run $task-constant 0
  done
  step experiments.results_table
}

case ${1:-results} in
  results) results ;;
  weights) weights ;;
  *) echo "Expected 'results' or 'weights', got '$1'." >&2; exit 2 ;;
esac
