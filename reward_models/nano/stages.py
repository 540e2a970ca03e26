"""The two stages of nano's training: the vision tower on dense labels, then the language model on its features."""

import shutil
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from reward_models.data.reward_data import InvalidData, RewardData
from reward_models.nano.config import LANGUAGE_STAGE, TrainConfig
from reward_models.nano.model import build_config, build_model, build_processor, save
from reward_models.nano.optimization import optimize
from reward_models.nano.questions import DESCRIBE, LOCATE, QuestionSampler, vocabulary
from reward_models.nano.tokenizer import build_tokenizer
from reward_models.nano.tower import TowerBatch, TowerBatches, make_head, tower_loss
from reward_models.nano.training_state import load_state
from reward_models.qwen3vl.patches import project_patches
from reward_models.training.arguments import training_device
from reward_models.training.data import SimulatedClips, choose_validation, simulated_set
from reward_models.training.questions import TrainingSet
from reward_models.training.run import examples_per_step, fine_tune, is_first, processes
from reward_models.training.run_folder import MODEL, SELECTED, begin_or_continue, write_settings
from roboreward_gym.errors import InvalidSetting

NOT_OF_THE_TOWER = {
    "stage",
    "device",
    "threads",
    "workers",
    "language",
    "language_init",
    "questions",
    "validation_examples",
}
"""Settings that may change until the second stage has begun; that stage checks its own."""


def train(config: TrainConfig) -> None:
    """Run the stages that are not finished yet.

    Raises:
        InvalidData: There is no training data, or two splits share the seed of an episode.
        InvalidSetting: Fewer validation examples than subsets, or several processes before the tower is trained.
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
    if is_first():
        begin_or_continue(config.out, asdict(config), free=NOT_OF_THE_TOWER)
    base = config.out / "base"
    if config.stage != "language" and config.tower_from is None:
        train_tower(config, splits["train"], base)
    if config.stage != "tower":
        if config.tower_from is not None:
            base = config.tower_from / "base"
        train_language(config, splits["train"], splits.get("validation"), base)
        # The language stage may have other settings than were noted with the tower.
        if is_first():
            write_settings(config.out, asdict(config))


def train_tower(config: TrainConfig, data: RewardData, base: Path) -> None:
    """Train the vision tower and write the model, its language half still untrained, to `base`."""
    if base.is_dir():
        return
    if processes() > 1:
        raise InvalidSetting(
            "The tower is trained by one process. Run this with --stage tower and without torchrun first."
        )
    tokenizer = build_tokenizer(vocabulary(data), lines=(DESCRIBE, LOCATE))
    processor = build_processor(tokenizer)
    model = build_model(build_config(config.size, tokenizer), config.seed)
    device = training_device(config.device)
    visual = project_patches(model.model.visual).to(device)
    if config.tower_init is not None:
        load_state(config.tower_init, {"visual": visual})
    head = make_head(visual, len(data.landmarks), config.seed).to(device)

    def batches_of(steps: range) -> DataLoader[TowerBatch]:
        return DataLoader(
            TowerBatches(data, config.tower, steps, config.seed),
            batch_size=None,
            num_workers=config.workers,
        )

    def loss_of(batch: TowerBatch) -> tuple[torch.Tensor, dict[str, float]]:
        return tower_loss(visual, head, batch.to(device), config.tower.positive_weight)

    modules = {"visual": visual, "head": head}
    every = config.checkpoint_every
    optimize(config.tower, config.out, modules, batches_of, loss_of, checkpoint_every=every)
    save(model, processor, base)


def train_language(
    config: TrainConfig, data: RewardData, validation: RewardData | None, base: Path
) -> None:
    """Train the language model and the projector by the trainer of all sizes, and write the model to `OUT/model`.

    It is the model of the step with the lowest validation macro MAE, or of the last step without validation data. A finished stage
    is left alone.
    """
    sft = replace(
        config.language,
        seed=config.seed,
        order="given",
        device=config.device,
        workers=config.workers,
    )
    assert sft.steps is not None  # TrainConfig refuses it
    questions = QuestionSampler(
        data,
        config.questions,
        steps=sft.steps,
        per_step=examples_per_step(sft),
        seed=config.seed,
    )
    folder = config.out / LANGUAGE_STAGE
    fine_tune(
        base,
        sft,
        TrainingSet(SimulatedClips(data), questions),
        _validation_set(validation, config.validation_examples),
        folder,
        features=base / "features",
        feature_dtype=torch.float16,
        init=config.language_init,
        model=config.out / MODEL,
    )
    if is_first() and not (config.out / SELECTED).is_file():
        shutil.copyfile(folder / SELECTED, config.out / SELECTED)


def _validation_set(data: RewardData | None, count: int) -> TrainingSet | None:
    if data is None:
        return None
    everything = simulated_set(data)
    chosen = choose_validation(data.subsets, count)
    return TrainingSet(everything.clips, [everything.questions[i] for i in chosen])
