"""transformers' `Trainer` with our loss, our numbers, and errors that say what to do."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import (
    EvalPrediction,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from reward_models.bench.metrics import (
    calibration_error,
    false_positive_rate,
    macro_mean_absolute_error,
    true_positive_rate,
)
from reward_models.json_lines import without_nan
from reward_models.training.collate import MODEL_INPUTS, Collator
from reward_models.training.config import LossConfig
from reward_models.training.errors import TrainingFailure
from reward_models.training.losses import answer_loss, digit_log_mass
from reward_models.training.order import Samples
from roboreward_gym.types import LEVELS

METRICS = "metrics.jsonl"

# Between processes on a CPU accelerate calls it "cpu:0", to where torch cannot restore the state of an optimizer.
torch.serialization.register_package(
    15, lambda _: None, lambda storage, place: storage if place == "cpu:0" else None
)


class RewardTrainer(Trainer):
    """Trains on the answers alone.

    Args:
        model: The model, frozen where it shall not be trained.
        args: Arguments of the library.
        collator: Makes batches.
        digits: Token ids of the levels.
        loss: Which loss.
        train: What to train on, in order.
        validation: What to validate on.
        callbacks: Called by the library.
    """

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        *,
        collator: Collator,
        digits: Sequence[int],
        loss: LossConfig,
        train: Samples,
        validation: Samples | None,
        callbacks: list[TrainerCallback],
    ) -> None:
        super().__init__(
            model,
            args,
            data_collator=collator,
            train_dataset=train,
            eval_dataset=validation,
            compute_metrics=self._numbers if validation else None,
            callbacks=callbacks,
        )
        # Every batch has the same number of answers, so the mean over batches is the mean over answers.
        self.model_accepts_loss_kwargs = False
        self._loss, self._train, self._validation = loss, train, validation
        self._digits = torch.tensor(digits, device=args.device)
        self._step_examples: list[int] = []
        self.add_callback(_CheckGradients(self))

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,  # noqa: FBT001, FBT002 - as the library calls it
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return the loss of a batch, and with `return_outputs` the log-probabilities of the five digits.

        Raises:
            TrainingFailure: The loss is not finite; the message names the examples.
        """
        logits = self._answer_logits(model, inputs)
        loss = answer_loss(logits, inputs, self._digits, self._loss)
        numbers = inputs["index"].tolist()
        if not torch.isfinite(loss):
            raise TrainingFailure(self._not_finite("loss", loss.item(), numbers))
        if self.model.training:
            self._step_examples += numbers
        if not return_outputs:
            return loss
        return loss, digit_log_mass(logits.float(), inputs["digit"], self._digits)

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        prediction_loss_only: bool,  # noqa: FBT001 - as the library calls it
        ignore_keys: list[str] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Return loss, `(B, 5)` log-probabilities of the digits, and the numbers of the examples."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad():
            loss, mass = self.compute_loss(model, inputs, return_outputs=True)
        if prediction_loss_only:
            return loss, None, None
        return loss, mass, inputs["index"]

    def _answer_logits(self, model: nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """`(B, K, vocabulary)` at the positions before the last K tokens: no others are computed."""
        kept = inputs["targets"].shape[1]
        given = {name: inputs[name] for name in MODEL_INPUTS}
        return model(**given, use_cache=False, logits_to_keep=kept + 1).logits[:, :-1]

    def _numbers(self, prediction: EvalPrediction) -> dict[str, float]:
        """Errors on the validation examples."""
        assert self._validation is not None
        asked = [self._validation.questions[int(i)] for i in np.ravel(prediction.label_ids)]
        levels = np.argmax(prediction.predictions, -1).astype(np.float64) + LEVELS[0]
        truth = np.array([question.level for question in asked])
        by_level = [str(level) for level in truth]
        probabilities = _softmax(np.asarray(prediction.predictions, np.float64))
        expected = probabilities @ np.array(LEVELS)
        right = (levels == truth).astype(np.float64)
        return {
            "macro_mae": macro_mean_absolute_error(levels, truth, [q.subset for q in asked])[0],
            "level_macro_mae": macro_mean_absolute_error(levels, truth, by_level)[0],
            "false_positive_rate": false_positive_rate(levels, truth),
            "true_positive_rate": true_positive_rate(levels, truth),
            "expected_mae": float(np.abs(expected - truth).mean()),
            "calibration_error": calibration_error(probabilities.max(1), right),
        }

    def check_gradients(self) -> None:
        """Check the gradients of a step, before it changes any weight.

        Raises:
            TrainingFailure: They are not finite although the loss was; the message names the examples of the step.
        """
        examples, self._step_examples = self._step_examples, []
        gradients = (p.grad for p in self.model.parameters() if p.grad is not None)
        # Under FSDP each process has its part; what is not finite in one has made the norm, and by it all parts, so.
        parts = [g.to_local() if isinstance(g, DTensor) else g for g in gradients]
        norms = [torch.linalg.vector_norm(part, dtype=torch.float32) for part in parts]
        norm = torch.stack(norms).norm()
        if not torch.isfinite(norm):
            raise TrainingFailure(self._not_finite("gradient", norm.item(), examples))

    def _not_finite(self, what: str, value: float, examples: Sequence[int]) -> str:
        data = self._train if self.model.training else self._validation
        assert data is not None
        names = [data.questions[i].name for i in examples]
        return (
            f"The {what} of step {self.state.global_step + 1} is {value}; its examples are {', '.join(names)}. Look "
            "at them, or lower --sft.learning-rate. The checkpoints of earlier steps are whole; delete those from "
            "which this comes back."
        )


class _CheckGradients(TrainerCallback):
    """Looks at the gradients of each step of a trainer."""

    def __init__(self, trainer: RewardTrainer) -> None:
        self._trainer = trainer

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Check them."""
        del args, state, control
        self._trainer.check_gradients()


class MetricsFile(TrainerCallback):
    """Writes what the library logs as lines of JSON; a resumed run has each step once.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Write the whole history, which is as long as the checkpoint that the run was resumed from."""
        del args, control
        if state.is_world_process_zero:
            lines = (json.dumps(without_nan(row)) + "\n" for row in state.log_history)
            self._path.write_text("".join(lines), encoding="utf-8")


class ValidateLast(TrainerCallback):
    """Validates and saves the last step too, wherever it falls."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Ask the library for both."""
        if state.global_step == state.max_steps:
            control.should_evaluate = args.eval_strategy != "no"
            control.should_save = True


def _softmax(log_mass: np.ndarray) -> np.ndarray:
    """Probabilities of the levels, given that it is one of them; `(N, 5)`."""
    mass = np.exp(log_mass - log_mass.max(1, keepdims=True))
    return mass / mass.sum(1, keepdims=True)
