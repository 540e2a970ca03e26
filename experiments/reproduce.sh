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
  unless $data/test/clips.jsonl experiments.reward_data --split test --episodes 520 --out $data/test
}

pretrain() { # SCENE STEPS VISION_STEPS
  unless $data/demos-$1/meta.json experiments.demonstrations --scene "$1" --out $data/demos-$1
  local resume=(); [[ -e runs/pretrain-$1/config.json ]] && resume=(--resume)
  unless runs/pretrain-$1/policy policies.pretrain --demos $data/demos-$1 --out runs/pretrain-$1 \
    --steps "$2" --vision-steps "$3" --save-at 350 "${resume[@]}"
}

weights() {
  pretrain toy 6500 250
  pretrain drawer 2500 250
  unless $data/train/clips.jsonl experiments.reward_data --split train --episodes 1500 \
    --out $data/train
  unless $data/cloned/clips.jsonl experiments.reward_data --split train --episodes 220 \
    --first 10000 --out $data/cloned \
    --policy runs/pretrain-toy/policy runs/pretrain-drawer/policy \
    --half-trained runs/pretrain-toy/step-350 runs/pretrain-drawer/step-350
  unless $data/validation/clips.jsonl experiments.reward_data --split validation --episodes 60 \
    --out $data/validation
  local clips=($data/train $data/cloned $data/validation)
  local mixed=(--language.describe-share 0.25 0.05 --language.locate-share 0.2 0.03)
  unless runs/nano-1/model/config.json reward_models.train --data "${clips[@]}" --out runs/nano-1 \
    --tower.steps 1150 --language.steps 1200 --language.learning-rate 1.5e-3 "${mixed[@]}"
  # A warm restart of the language model, with rare levels drawn more often.
  unless runs/nano/model/config.json reward_models.train --data "${clips[@]}" --out runs/nano \
    --stage language --tower-from runs/nano-1 --language-init runs/nano-1/language.safetensors \
    --language.steps 650 --language.learning-rate 1e-3 --language.warmup 30 --language.balance 0.6 \
    --language.describe-share 0.1 0.03 --language.locate-share 0.08 0.02
  unless runs/nano-no-negatives/model/config.json reward_models.train --data "${clips[@]}" \
    --out runs/nano-no-negatives --stage language --tower-from runs/nano-1 \
    --language.no-negatives --language.steps 120 --language.learning-rate 1.5e-3
  test_data
  unless runs/nano.json reward_models.benchmark --model runs/nano/model \
    --no-negatives runs/nano-no-negatives/model --data $data/test --limit 2600 --out runs/nano.json
}

results() {
  test_data
  unless runs/shipped-nano.json reward_models.benchmark --model roboreward-nano --data $data/test \
    --limit 2600 --out runs/shipped-nano.json
  unless runs/always-three.json reward_models.benchmark --model constant-3 --data $data/test \
    --limit 2600 --out runs/always-three.json
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
