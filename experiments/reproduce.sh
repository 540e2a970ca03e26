#!/usr/bin/env bash
# Regenerates the numbers of the README from this checkout.
#
#   bash experiments/reproduce.sh            what the shipped weights do, the study included: about a day on two cores
#   bash experiments/reproduce.sh weights    the weights of nano, into runs/: about four hours on two cores (a sum), 20 minutes with a GPU and 16 cores
#   bash experiments/reproduce.sh policies   of these the base policies alone, and how often they succeed;
#                                            "policies toy" or "policies drawer" for one scene
#   bash experiments/reproduce.sh study      of this the study alone: every reward and learner, over several seeds
#   bash experiments/reproduce.sh comparisons  which loss, and which negatives, train best: about 3 hours on one core,
#                                            with the tower of "weights"
#
# WORKERS=1 leaves a core to others; no result depends on it. "weights" trains on a GPU if there is one. A step whose output is there
# is skipped and a long one continues where it was stopped, so this can be run again after an interruption.
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

plain_data() { # scripted episodes that look as in the experiments, for comparisons of training runs
  unless $data/train/clips.jsonl experiments.simulation.reward_data --out $data/train --workers $workers \
    --split train --episodes 600
  unless $data/validation/clips.jsonl experiments.simulation.reward_data --out $data/validation --workers $workers \
    --split validation --episodes 60
}

nano_data() { # NAME OPTIONS...: episodes of SimReward, as nano is trained on them
  unless $data/$1/clips.jsonl experiments.simulation.nano_data --out $data/$1 --counterfactuals 5 \
    --workers $workers "${@:2}"
}

nano_train_part() { # NUMBER; one that was interrupted begins again
  nano_data nano-train-$1 --split train --episodes 1500 --first $((1500 * $1)) --shifted 0.4 0.35
}

simreward_test() { # episodes with looks and words that training never has, and of the shipped fine-tuned policies
  unless $data/simreward-test/README.md experiments.simulation.simreward --train 0 --val 0 --test 400 \
    --on-policy 0.3 --workers $workers --out $data/simreward-test
}

robustness() { # MODEL METRICS
  simreward_test
  unless ${2%.json}-abstention.json benchmarks.abstention --model "$1" --out ${2%.json}-abstention.json
  step benchmarks.nano_robustness --model "$1" --data $data/simreward-test --metrics $2 \
    --abstention ${2%.json}-abstention.json
}

weights() {
  local part
  for part in {0..5}; do nano_train_part $part; done
  nano_data nano-large --split train --episodes 150 --first 50000 --size 288 384
  nano_data nano-validation --split validation --episodes 160
  local clips=(--data $data/nano-{train-{0..5},large,validation})
  local train=(reward_models.nano.train "${clips[@]}") processes=$workers
  local language=(torch.distributed.run --standalone --nproc-per-node $workers -m "${train[@]}" --threads 1)
  if "$python" -c 'import torch; raise SystemExit(not torch.cuda.is_available())'; then
    # One process trains on the GPU, others prepare its batches.
    train+=(--workers $workers) processes=1 language=("${train[@]}")
  fi
  unless runs/nano-tower/base/config.json "${train[@]}" --out runs/nano-tower --threads $workers \
    --stage tower --tower.steps 3500 --tower.batch-size 48 --tower.other-sizes 0.08 --tower.colour-jitter 0.1
  stage() { # NAME OPTIONS...: a stage of the language model; the processes share each batch
    unless runs/$1/model/config.json "${language[@]}" --out runs/$1 --stage language --tower-from runs/nano-tower \
      --language.batch-size $((48 / processes)) "${@:2}"
  }
  stage nano-first --language.steps 3000 --language.learning-rate 1e-3 --validation-examples 400 \
    --questions.describe-share 0.25 0.03 --questions.locate-share 0.2 0.02
  # By then it sees how far a task is, but takes plate and towel for one another. It learns to name them when descriptions are
  # frequent and weigh more, and to tell tasks by them when it is asked in pairs whether a video shows the one or the other.
  local warm=(--language.warmup 50 --language.learning-rate 8e-4 --questions.contrast-words plate towel)
  stage nano-descriptions --language-init runs/nano-first/model --seed 1 --language.steps 700 "${warm[@]}" \
    --questions.describe-share 0.95 0.4 --questions.locate-share 0.03 0.02 --language.loss.text 4
  stage nano-pairs --language-init runs/nano-descriptions/model --seed 1 --language.steps 400 --language.validate-every 400 \
    "${warm[@]}" --questions.contrast-share 1 --questions.describe-share 0.1 0.1 --questions.locate-share 0 0 --language.loss.text 4
  stage nano --language-init runs/nano-pairs/model --seed 2 --language.steps 1900 --validation-examples 800 \
    "${warm[@]}" --questions.contrast-share 0.3 --questions.describe-share 0.2 0.08 --questions.locate-share 0.02 0.01 --language.loss.text 3
  unless runs/nano/model/familiarity.safetensors reward_models.nano.familiarity --model runs/nano/model \
    --data $data/nano-{train-0,large,validation}
  unless runs/nano-no-negatives/model/config.json "${train[@]}" \
    --out runs/nano-no-negatives --threads $workers --stage language --tower-from runs/nano-tower \
    --questions.no-negatives --language.steps 120 --language.learning-rate 1.5e-3
  test_data
  unless runs/nano.json reward_models.bench.benchmark --model runs/nano/model \
    --no-negatives runs/nano-no-negatives/model --data $data/test --limit 2600 --out runs/nano.json
  robustness runs/nano/model runs/nano.json
}

comparisons() {
  test_data
  plain_data
  unless $data/simreward/README.md experiments.simulation.simreward --out $data/simreward \
    --train 400 --val 0 --test 0 --toy-policy None --toy-noise-policy None --drawer-policy None --drawer-noise-policy None \
    --workers $workers
  local base=runs/score-free/language/model
  unless $base/config.json benchmarks.score_free_base --data $data/train --tower runs/nano/model
  step benchmarks.losses --base $base --data $data/{train,validation}
  step benchmarks.negatives_ablation --base $base --test $data/test --organic simulator:$data/simreward
}

results() {
  test_data
  unless runs/shipped-nano.json reward_models.bench.benchmark --model roboreward-nano --data $data/test \
    --limit 2600 --out runs/shipped-nano.json
  robustness roboreward-nano runs/shipped-nano.json
  unless runs/always-three.json reward_models.bench.benchmark --model constant:3 --data $data/test \
    --limit 2600 --out runs/always-three.json
  study
  step experiments.report.results_table
  step experiments.showcase --out docs/images/scores.jpg
  step experiments.animation runs/study/toy-on-towel-nano-seed0
}

less_accurate() { # the shipped nano, trained on without failures: the longer, the less accurate
  local run=runs/successes-only steps=(10 20 30 45 60 80)
  test_data
  nano_train_part 0
  nano_data nano-validation --split validation --episodes 160
  if [[ ! -e $run/base ]]; then mkdir -p $run && cp -r reward_models/nano/weights $run/base; fi
  unless $run/model/config.json reward_models.nano.train --data $data/nano-{train-0,validation} --out $run \
    --threads $workers --stage language --tower-from $run --questions.no-negatives --validation-examples 96 \
    --language.steps 80 --language.batch-size 16 --language.learning-rate 2e-4 --language.warmup 10 \
    --language.validate-every 5 --language.keep-checkpoints
  step experiments.study.checkpoints --run $run --test $data/test --out runs/checkpoints \
    --steps "${steps[@]}" --limit 500 --workers $workers
}

study() { # nano-without-negatives needs "weights" first
  local both=({toy-on-towel,drawer}-{oracle,nano}) cloning=({toy-on-towel,drawer}-{oracle,nano}+filtered_bc) sac=({toy-on-towel,drawer}-oracle+sac)
  local others=({toy-on-towel,drawer}-{oracle-binary,simulated-human,clock,constant,random})
  local errors=(reward_models/nano/metrics.json) folder
  less_accurate
  if [[ -e runs/nano-no-negatives/model ]]; then
    others+=({toy-on-towel,drawer}-nano-without-negatives)
    unless runs/nano-no-negatives.json reward_models.bench.benchmark --model checkpoint:runs/nano-no-negatives/model \
      --data $data/test --limit 500 --out runs/nano-no-negatives.json
    errors+=(runs/nano-no-negatives.json)
  fi
  for folder in runs/checkpoints/steps-*/model; do
    others+=(drawer-"checkpoint:$folder"); errors+=("${folder%/model}.json")
  done
  # A run that fails stops neither the others nor this script: the last command says which are left.
  step experiments.study "${both[@]}" --seeds 0 1 2 3 4 --workers $workers || true
  step experiments.study "${others[@]}" "${cloning[@]}" "${sac[@]}" --seeds 0 1 2 --workers $workers || true
  step experiments.study "${both[@]}" "${others[@]}" "${cloning[@]}" "${sac[@]}" --seeds 0 1 2 3 4 --workers 0 \
    --tables experiments/results --mae "${errors[@]}"
}

case ${1:-results} in
  results) results ;;
  study) study ;;
  weights) weights ;;
  policies) policies "${2:-both}" ;;
  comparisons) comparisons ;;
  *) echo "Pass results, study, weights, policies or comparisons, not '$1'." >&2; exit 2 ;;
esac
