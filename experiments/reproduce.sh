#!/usr/bin/env bash
# Regenerates the numbers of the README from this checkout.
#
#   bash experiments/reproduce.sh            what the shipped weights do, the study included: about a day on two cores
#   bash experiments/reproduce.sh weights    the weights themselves, into runs/: about 3 hours more
#   bash experiments/reproduce.sh policies   of these the base policies alone, and how often they succeed;
#                                            "policies toy" or "policies drawer" for one scene
#   bash experiments/reproduce.sh study      of this the study alone: every reward and learner, over several seeds
#   bash experiments/reproduce.sh comparisons  which loss, and which negatives, train best: about 3 hours on one core,
#                                            with the data and the tower of "weights"
#
# WORKERS=1 leaves a core to others; no result depends on it. A step whose output is there is skipped and a long one continues where it was stopped, so this can
# be run again after an interruption.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
data=runs/data
workers=${WORKERS:-2}

step() { printf '\n== python -m %s\n' "$*"; "$python" -m "$@"; }
unless() { # OUTPUT COMMAND...: only if OUTPUT is not there
  if [[ -e $1 ]]; then printf '== %s is there\n' "$1"; else step "${@:2}"; fi
}
test_data() {
  unless $data/test/clips.jsonl experiments.simulation.reward_data --split test --episodes 520 \
    --workers $workers --out $data/test
}

pretrain() { # SCENE DEMONSTRATIONS... -- CLONING...
  local scene=$1 demos=() resume=(); shift
  while [[ $1 != -- ]]; do demos+=("$1"); shift; done; shift
  unless $data/demos-$scene/meta.json experiments.simulation.demonstrations --scene $scene \
    --out $data/demos-$scene --workers $workers "${demos[@]}"
  [[ -e runs/pretrain-$scene/config.json ]] && resume=(--resume)
  unless runs/pretrain-$scene/policy policies.pretrain --demos $data/demos-$scene \
    --out runs/pretrain-$scene --save-at 350 "$@" "${resume[@]}"
}

reward_data() { # NAME OPTIONS...
  unless $data/$1/clips.jsonl experiments.simulation.reward_data --out $data/$1 --workers $workers "${@:2}"
}

base_success() { # SCENE ENVIRONMENT: of 200 starts, as the experiments measure it
  step experiments.evaluate --policy runs/pretrain-$1/policy --env robots:$2 --episodes 200 \
    --workers $workers --out runs/base-$1
}

toy_policy() {
  pretrain toy --episodes 900 --detours 0.3 --idle 4 \
    -- --steps 7000 --vision-steps 600 --start-share 0.25
  base_success toy WidowXToyOnTowel-v0
}

drawer_policy() {
  pretrain drawer -- --steps 2500 --vision-steps 250
  base_success drawer WidowXDrawer-v0
}

policies() { # [SCENE]
  case ${1:-both} in
    toy) toy_policy ;;
    drawer) drawer_policy ;;
    both) toy_policy; drawer_policy ;;
    *) echo "Pass toy or drawer, not '$1'." >&2; exit 2 ;;
  esac
}

weights() {
  policies
  local clones=(--policy runs/pretrain-toy/policy runs/pretrain-drawer/policy
    --half-trained runs/pretrain-toy/step-350 runs/pretrain-drawer/step-350)
  reward_data train --split train --episodes 1500
  reward_data sides --split train --episodes 800 --first 20000 --layout sides
  reward_data cloned --split train --episodes 480 --first 10000 "${learners[@]}"
  reward_data validation --split validation --episodes 60
  reward_data validation-cloned --split validation --episodes 60 --first 1000 "${learners[@]}"
  local first=(--data $data/{train,cloned,validation})
  local clips=(--data $data/{train,cloned,sides,validation,validation-cloned})
  # Warm restarts: each begins with the weights of the one before, and draws rare levels more often.
  unless runs/nano-1/model/config.json reward_models.nano.train "${first[@]}" --out runs/nano-1 \
    --tower.steps 1150 --language.steps 1200 --language.learning-rate 1.5e-3 \
    --questions.describe-share 0.25 0.05 --questions.locate-share 0.2 0.03
  unless runs/nano-2/model/config.json reward_models.nano.train "${first[@]}" --out runs/nano-2 \
    --stage language --tower-from runs/nano-1 --language-init runs/nano-1/model \
    --language.steps 650 --language.learning-rate 1e-3 --language.warmup 30 --questions.balance 0.6 \
    --questions.describe-share 0.1 0.03 --questions.locate-share 0.08 0.02
  unless runs/nano/model/config.json reward_models.nano.train "${clips[@]}" --out runs/nano \
    --tower-init runs/nano-1/tower.safetensors --tower.steps 900 \
    --language-init runs/nano-2/model --language.steps 1900 \
    --language.learning-rate 1e-3 --language.warmup 50 --questions.balance 0.6 \
    --questions.describe-share 0.1 0.02 --questions.locate-share 0.15 0.02
  unless runs/nano/model/familiarity.safetensors reward_models.nano.familiarity --model runs/nano/model \
    "${clips[@]}"
  unless runs/nano-no-negatives/model/config.json reward_models.nano.train "${clips[@]}" \
    --out runs/nano-no-negatives --stage language --tower-from runs/nano \
    --questions.no-negatives --language.steps 120 --language.learning-rate 1.5e-3
  test_data
  unless runs/nano.json reward_models.bench.benchmark --model runs/nano/model \
    --no-negatives runs/nano-no-negatives/model --data $data/test --limit 2600 --out runs/nano.json
}

comparisons() {
  test_data
  unless $data/simreward/README.md experiments.simulation.simreward --out $data/simreward \
    --train 400 --val 0 --test 0 --workers $workers
  local base=runs/score-free/language/model
  unless $base/config.json benchmarks.score_free_base --data $data/train --tower runs/nano/model
  step benchmarks.losses --base $base --data $data/{train,validation}
  step benchmarks.negatives_ablation --base $base --test $data/test --organic simulator:$data/simreward
}

results() {
  test_data
  unless runs/shipped-nano.json reward_models.bench.benchmark --model roboreward-nano --data $data/test \
    --limit 2600 --out runs/shipped-nano.json
  unless runs/always-three.json reward_models.bench.benchmark --model constant:3 --data $data/test \
    --limit 2600 --out runs/always-three.json
  study
  step experiments.report.results_table
  step experiments.showcase --out docs/images/scores.jpg
  step experiments.animation runs/study/toy-on-towel-nano-seed0
}

study() { # nano-without-negatives and the checkpoints need "weights" first
  local both=({toy-on-towel,drawer}-{oracle,nano}) learners=({toy-on-towel,drawer}-{oracle,nano}+{sac,filtered_bc})
  local others=({toy-on-towel,drawer}-{oracle-binary,simulated-human,clock,constant,random}) errors=() folder
  [[ -e runs/nano-no-negatives/model ]] && others+=({toy-on-towel,drawer}-nano-without-negatives)
  if [[ -e runs/nano/base ]]; then
    test_data
    step experiments.study.checkpoints --tower-from runs/nano --data $data/train $data/validation \
      --test $data/test --out runs/checkpoints --workers $workers
    for folder in runs/checkpoints/steps-*/model; do
      others+=({toy-on-towel,drawer}-"checkpoint:$folder"); errors+=("${folder%/model}.json")
    done
  fi
  # A run that fails stops neither the others nor this script: the last command says which are left.
  step experiments.study "${both[@]}" --seeds 0 1 2 3 4 --workers $workers || true
  step experiments.study "${others[@]}" "${learners[@]}" --seeds 0 1 2 --workers $workers || true
  step experiments.study "${both[@]}" "${others[@]}" "${learners[@]}" --seeds 0 1 2 3 4 --workers 0 \
    --tables experiments/results ${errors:+--mae "${errors[@]}"}
}

case ${1:-results} in
  results) results ;;
  study) study ;;
  weights) weights ;;
  policies) policies "${2:-both}" ;;
  comparisons) comparisons ;;
  *) echo "Pass results, study, weights, policies or comparisons, not '$1'." >&2; exit 2 ;;
esac
