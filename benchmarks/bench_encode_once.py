"""What `roboreward bench` saves by encoding a video once for all its rows: `python -m benchmarks.bench_encode_once`.

Simulated successes are written in the published layout, each video with a row for every task of its scene: as published, a
row is a file of its own with the same bytes. nano answers all rows twice: row by row, and as `bench` does it, which decodes a
video once and runs the vision tower on it once. Counted is the CPU time of decoding and scoring in one thread; every answer must
be bit-exact the same. Written to `benchmarks/results/bench_encode_once.json`; `ratio` is the time row by row over that of `bench`.
"""

import json
import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from experiments.simulation.published_data import PublishedDataConfig, collect
from reward_models.bench.answers import Answer, AnswerLog
from reward_models.bench.ask import ask
from reward_models.bench.questions import Questions, from_source
from reward_models.data.published import METADATA
from reward_models.nano.tasks import TASKS
from roboreward_gym.registry import load_reward_model
from roboreward_gym.types import RewardModel

OUT = Path("benchmarks/results/bench_encode_once.json")
EPISODES = 3
"""Videos of each scene."""
ROUNDS = 3


def write_rows(folder: Path) -> int:
    """Give every video a row for each task of its scene; returns the rows of the last video."""
    lines, tasks = [], ()
    rows = [json.loads(line) for line in (folder / METADATA).read_text().splitlines()]
    for row in rows:
        file = folder / row["file_name"]
        scene = next(scene for scene in TASKS if scene in row["file_name"])
        tasks = TASKS[scene]
        for number, task in enumerate(tasks):
            copy = file.with_stem(f"{file.stem}_{number}")
            shutil.copy(file, copy)
            name = f"{copy.parent.name}/{copy.name}"
            own = task == row["task"]
            about = {"kind": "original" if own else "counterfactual", "reward": 5 if own else 1}
            lines.append({"file_name": name, "task": task, **about, "gpt5_mini_check": ""})
    (folder / METADATA).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return len(lines) // len(rows)


def seconds(model: RewardModel, questions: Questions) -> tuple[float, dict[str, Answer]]:
    """CPU time of answering everything, and the answers without their times."""
    log = AnswerLog(None, "", "")
    began = time.process_time()
    ask(model, questions, log)
    spent = time.process_time() - began
    return spent, {key: replace(a, seconds=0.0) for key, a in log.answers.items()}


def main() -> None:
    """Measure and write."""
    torch.set_num_threads(1)
    model = load_reward_model("roboreward-nano")
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "data"
        collect(PublishedDataConfig(data, episodes=EPISODES, split="test", workers=1))
        per_video = write_rows(data / "test")
        shared = from_source(f"published:{data}")
        # With a name of its own for each row no two of them are known to show the same video.
        apart = replace(shared, rows=tuple(replace(r, video=r.key) for r in shared.rows))
        seconds(model, shared)
        times: list[tuple[float, float]] = []
        for _ in range(ROUNDS):
            one_by_one, answers = seconds(model, apart)
            together, same = seconds(model, shared)
            if answers != same:
                raise SystemExit("The answers differ: encoding once must change none.")
            times.append((one_by_one, together))
    ratios = [a / b for a, b in times]
    result = {
        "ratio": round(statistics.median(ratios), 2),
        "ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
        "rows": len(shared),
        "videos": len({row.video for row in shared.rows}),
        "rows_per_video": per_video,
        "row_by_row_ms_per_row": round(1e3 * min(a for a, _ in times) / len(shared), 1),
        "bench_ms_per_row": round(1e3 * min(b for _, b in times) / len(shared), 1),
        "answers_equal": True,
        "reward_model": "roboreward-nano",
        "machine": "one CPU thread",
    }
    OUT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
