"""Write down what the tests know of the shipped nano, once other weights are shipped: `python -m tests.record_nano`.

Its inputs go into `golden/inputs.json`, its scores of painted clips into `nano_scores.json`. Painted clips are drawn in order until every
level and every task is among them. Those whose two likeliest levels are close are left out: another processor might swap them.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from reward_models.nano import WEIGHTS
from reward_models.nano.tasks import TASKS
from reward_models.protocol.tokens import PromptTokenizer
from roboreward_gym.registry import load_reward_model
from roboreward_gym.types import LEVELS
from tests.painted_scenes import painted_clip
from tests.test_reward_models_protocol_inputs import GOLDEN, golden_values
from tests.tiny_vlm import probabilities_of

FILE = Path(__file__).parent / "nano_scores.json"
ROWS = 64
CLOSE = 0.15
CLIPS = 3_000


def main() -> None:
    """Compute and write both."""
    write_inputs()
    write_scores()


def write_inputs() -> None:
    """Replace nano's part of the golden inputs."""
    golden = json.loads(GOLDEN.read_text("utf-8"))
    golden["nano"] = golden_values(PromptTokenizer.from_folder(WEIGHTS))
    parts = [f'"{name}": {_lines(rows)}' for name, rows in golden.items()]
    GOLDEN.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def write_scores() -> None:
    """Choose painted clips, and write their scores."""
    nano = load_reward_model("roboreward-nano?abstain=never")
    tasks = [task for names in TASKS.values() for task in names]
    rows: list[dict[str, object]] = []
    missing: set[object] = {*LEVELS, *tasks}
    for seed in range(CLIPS):
        task = tasks[seed % len(tasks)]
        [score] = nano.score([painted_clip(seed, task)])
        probabilities = probabilities_of(score)
        second, first = np.sort(probabilities)[-2:]
        new = {score.level, task} & missing
        if first - second < CLOSE or (len(rows) >= ROWS and not new):
            continue
        missing -= new
        rounded = [round(float(p), 4) for p in probabilities]
        rows.append({"seed": seed, "task": task, "level": score.level, "probabilities": rounded})
        if len(rows) >= ROWS and not missing:
            break
    else:
        raise SystemExit(f"None of {CLIPS} painted clips has {missing}.")
    FILE.write_text(_lines(rows) + "\n", encoding="utf-8")


def _lines(rows: Sequence[Mapping[str, object]]) -> str:
    """A row on each line, so that a change of one shows as one."""
    return "[\n" + ",\n".join(map(json.dumps, rows)) + "\n]"


if __name__ == "__main__":
    main()
