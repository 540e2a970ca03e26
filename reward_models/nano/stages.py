"""The two stages of nano's training: the vision tower on dense labels, then the language model on its features."""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from reward_models.bench.metrics import summarize
from reward_models.data.reward_data import InvalidData, RewardData
from reward_models.data.sampling import balanced_sample
from reward_models.nano.config import SELECTED, TrainConfig
from reward_models.nano.features import CachedTower, FeatureCache, cache_features
from reward_models.nano.language import ChatEncoder, language_loss, predict_levels
from reward_models.nano.model import build_config, build_model, build_processor, save
from reward_models.nano.optimization import best_path, optimize, state_path
from reward_models.nano.questions import DESCRIBE, LOCATE, QuestionSampler, vocabulary
from reward_models.nano.tokenizer import build_tokenizer
from reward_models.nano.tower import draw_batch, make_head, tower_loss
from reward_models.nano.training_state import load_state, saved_validation_macro_mae
from reward_models.protocol.tokens import PromptTokenizer
from reward_models.qwen3vl.loading import load_model
from reward_models.qwen3vl.patches import project_patches
from roboreward_gym.errors import InvalidSetting, WeightsError

VALIDATION_SEED = 0
"""Seed of the draw of validation examples: the same for every run, so that runs can be compared."""


def train(config: TrainConfig) -> None:
    """Run the stages that are not finished yet.

    Raises:
        InvalidData: There is no training data, or two splits share the seed of an episode.
        InvalidSetting: Fewer validation examples than subsets.
        WeightsError: The folder of the run was begun with another configuration.
        TrainingFailure: The loss is not finite.
    """
    torch.set_num_threads(config.threads)
    splits = RewardData.open_splits(config.data)
    if "train" not in splits:
        raise InvalidData(
            f"There is no clip of the split 'train' in {[str(f) for f in config.data]}. "
            "Collect some: python -m experiments.simulation.reward_data --split train"
        )
    config.out.mkdir(parents=True, exist_ok=True)
    _check_config(config)
    base = config.out / "base"
    if config.stage != "language" and config.tower_from is None:
        train_tower(config, splits["train"], base)
    if config.stage != "tower":
        if config.tower_from is not None:
            base = config.tower_from / "base"
        train_language(config, splits["train"], splits.get("validation"), base)


def train_tower(config: TrainConfig, data: RewardData, base: Path) -> None:
    """Train the vision tower and write the model, its language half still untrained, to `base`."""
    if base.is_dir():
        return
    tokenizer = build_tokenizer(vocabulary(data), lines=(DESCRIBE, LOCATE))
    processor = build_processor(tokenizer)
    model = build_model(build_config(config.size, tokenizer), config.seed)
    visual = project_patches(model.model.visual)
    if config.tower_init is not None:
        load_state(config.tower_init, {"visual": visual})
    head = make_head(visual, len(data.landmarks), config.seed)

    def loss_at(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        rng = np.random.default_rng((config.seed, step))
        batch = draw_batch(data, config.tower, rng)
        return tower_loss(visual, head, batch, config.tower.positive_weight)

    optimize(config, "tower", config.tower, {"visual": visual, "head": head}, loss_at)
    save(model, processor, base)


def train_language(
    config: TrainConfig, data: RewardData, validation: RewardData | None, base: Path
) -> None:
    """Train the language model on cached features and write the whole model to `OUT/model`.

    It is the model of the step with the lowest validation macro MAE, or of the last step without validation data.
    """
    if (config.out / "model").is_dir():
        return
    model = load_model(base, torch.float32)
    processor = Qwen3VLProcessor.from_pretrained(base, local_files_only=True)
    tower = project_patches(model.model.visual).eval()
    train_cache = cache_features(model, data, base / "features" / "train")
    validate = None
    encoder = ChatEncoder(PromptTokenizer.from_folder(base))
    if validation is not None:
        chosen = validation_examples(validation, config.validation_examples)
        folder = base / "features" / "validation"
        cache = cache_features(model, validation, folder)
        validate = partial(validation_numbers, model, encoder, validation, cache, chosen)
    # From here on the tower is no part of the model that is trained.
    model.model.visual = CachedTower(tower)
    if config.language_init is not None:
        load_state(config.language_init, {"language": model})
    sampler = QuestionSampler(data, config.language, encoder.end_of_turn, config.seed)

    def loss_at(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        batch = encoder.collate(sampler.draw(step), train_cache, config.language.text_weight)
        loss, logits = language_loss(model, batch)
        right = logits[batch.is_digit].argmax(-1) == batch.targets[batch.is_digit]
        return loss, {"score_accuracy": right.float().mean().item()}

    optimize(config, "language", config.language, {"language": model}, loss_at, validate)
    _select(config, model)
    model.model.visual = tower
    save(model, processor, config.out / "model")


def validation_examples(data: RewardData, count: int) -> np.ndarray:
    """Choose examples that a run is validated on: as many of every subset, the same for every run.

    Raises:
        InvalidSetting: Not even one of every subset.
    """
    subsets = len(set(data.subsets))
    if count < subsets:
        raise InvalidSetting(
            f"validation_examples is {count}, but the validation split has {subsets} subsets (scene and "
            f"kind). Choose {subsets} or more."
        )
    return balanced_sample(data.subsets, count, VALIDATION_SEED)


def validation_numbers(
    model: Qwen3VLForConditionalGeneration,
    encoder: ChatEncoder,
    data: RewardData,
    cache: FeatureCache,
    chosen: np.ndarray,
) -> dict[str, float]:
    """Errors of the present weights on the chosen examples, from the cached features of their clips."""
    examples = [data.examples[i] for i in chosen]
    levels = predict_levels(model, encoder, cache, examples)
    numbers = summarize(
        levels, np.array([e.level for e in examples]), [data.subsets[i] for i in chosen]
    )
    names = ("macro_mae", "level_macro_mae", "false_positive_rate", "true_positive_rate")
    return {f"validation_{name}": numbers[name] for name in names}


def _select(config: TrainConfig, model: Qwen3VLForConditionalGeneration) -> None:
    """Load the best weights, and note which they are."""
    best = best_path(config.out, "language")
    if best.is_file():
        step, error = load_state(best, {"language": model}), saved_validation_macro_mae(best)
    else:
        step, error = load_state(state_path(config.out, "language"), {"language": model}), None
    selected = {"step": step, "steps": config.language.steps, "validation_macro_mae": error}
    text = json.dumps(selected, indent=2) + "\n"
    (config.out / SELECTED).write_text(text, encoding="utf-8")


def _check_config(config: TrainConfig) -> None:
    """Write the configuration, or refuse to go on with another one in the same folder."""
    text = json.dumps(asdict(config), indent=2, default=str, sort_keys=True)
    path = config.out / "config.json"
    if path.is_file():
        before, now = json.loads(path.read_text(encoding="utf-8")), json.loads(text)
        # The stage only says how far to go.
        changed = sorted(
            k for k in now if k not in ("stage", "threads") and before.get(k) != now[k]
        )
        if changed:
            raise WeightsError(
                f"The run in {config.out} was begun with other values of {', '.join(changed)}. "
                "Choose another --out, or delete the folder."
            )
    path.write_text(text + "\n", encoding="utf-8")
