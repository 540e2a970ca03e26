"""Whether nano's scores depend on the versions of the libraries: `python -m benchmarks.score_across_versions`.

Clips of the simulated robot are rendered once from seeds, into one file. This environment, the newest versions
(`make test-newest`) and the oldest supported transformers (`make test-transformers`) then score the same bytes, each in
a process of its own, and `foundations.json` gets the differences as `newest` and `oldest`.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.foundations import record
from reward_models.nano import WEIGHTS
from reward_models.protocol.frames import sample_clip
from reward_models.qwen3vl.roboreward import RoboReward
from roboreward_gym.types import Clip

PACKAGES = ("transformers", "torch", "torchvision", "tokenizers", "numpy", "pillow")
EPISODES, CLIPS_PER_EPISODE = 9, 4
FIRST_SEED = 1_800_000_000
LENGTHS = (1.0, 0.75, 0.45, 0.3)
"""Parts of an episode that its four clips show."""
CONTROL_HZ = 5.0
TOLERANCE = 1e-5


@dataclass(frozen=True)
class VersionsConfig:
    """Compare scores between environments."""

    folder: Path = Path("runs/versions")
    """Where clips and scores are kept."""
    newest: Path = Path(".venv-newest/bin/python")
    """Interpreter of the environment with the newest versions."""
    oldest: Path = Path(".venv-transformers/5.0/bin/python")
    """Interpreter of the environment with the oldest supported transformers."""


def make_clips() -> list[Clip]:
    """Record scripted episodes, good and bad, whole and cut short, under their own and under other tasks."""
    from benchmarks.scripted_episodes import scripted_episodes  # the other environments lack MuJoCo

    clips = []
    for episode in scripted_episodes(EPISODES, FIRST_SEED):
        for number, part in enumerate(LENGTHS):
            other = episode.tasks[(episode.number + number) % len(episode.tasks)]
            shown = episode.frames[: round(part * len(episode.frames))]
            clips.append(Clip(shown, episode.task if number % 2 == 0 else other, CONTROL_HZ))
    return clips


def save_clips(clips: list[Clip], path: Path) -> None:
    """Write what the model looks at of each clip into one file of arrays."""
    sampled = [sample_clip(clip) for clip in clips]
    arrays = {f"frames_{i}": clip.frames for i, clip in enumerate(sampled)}
    arrays |= {f"indices_{i}": clip.indices for i, clip in enumerate(sampled)}
    rest = [{"task": clip.task, "fps": clip.fps, "num_frames": clip.total} for clip in sampled]
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays["about"] = np.array(json.dumps(rest))
    np.savez_compressed(path, **arrays)  # ty: ignore[invalid-argument-type] its stub knows no dict


def load_clips(path: Path) -> list[Clip]:
    """Read them back, as recordings that were thinned."""
    with np.load(path, allow_pickle=False) as file:
        return [
            Clip(file[f"frames_{i}"], indices=file[f"indices_{i}"], **about)
            for i, about in enumerate(json.loads(str(file["about"])))
        ]


def score_clips(clips: Path, out: Path) -> None:
    """Score with the libraries of this process, and say which they are."""
    # By its name nano would be computed by torch alone.
    scores = RoboReward(WEIGHTS, device="cpu", library="transformers").score(load_clips(clips))
    result = {
        "versions": {
            "python": sys.version.split()[0],
            **{name: version(name) for name in PACKAGES},
        },
        "levels": [score.level for score in scores],
        "probabilities": [
            None if score.probabilities is None else score.probabilities.tolist()
            for score in scores
        ],
        "off_format": [score.off_format for score in scores],
    }
    out.write_text(json.dumps(result), encoding="utf-8")


def compare(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Return what `foundations.json` holds of another environment."""
    readable = [p is not None for p in ours["probabilities"]]
    if readable != [p is not None for p in theirs["probabilities"]]:
        difference = 1.0
    else:
        rows = [[p for p in scores["probabilities"] if p is not None] for scores in (ours, theirs)]
        difference = float(np.abs(np.array(rows[0]) - np.array(rows[1])).max())
    return {
        "versions": theirs["versions"],
        "clips": len(ours["levels"]),
        "levels_equal": sum(a == b for a, b in zip(ours["levels"], theirs["levels"], strict=True)),
        "max_probability_difference": difference,
    }


def scores_of(python: Path, clips: Path, out: Path) -> dict[str, Any]:
    """Score the clips with another interpreter."""
    command = [str(python), "-m", "benchmarks.score_across_versions", "score", str(clips), str(out)]
    subprocess.run(command, check=True)
    return json.loads(out.read_text(encoding="utf-8"))


def main(config: VersionsConfig) -> int:
    """Compare, print and record; 1 if a score differs."""
    missing = [path for path in (config.newest, config.oldest) if not path.exists()]
    if missing:
        print(f"There is no {missing[0]}. Run: make test-newest test-transformers", file=sys.stderr)
        return 1
    clips = config.folder / "clips.npz"
    if not clips.exists():
        save_clips(make_clips(), clips)
    ours = scores_of(Path(sys.executable), clips, config.folder / "here.json")
    found = {
        name: compare(ours, scores_of(python, clips, config.folder / f"{name}.json"))
        for name, python in (("newest", config.newest), ("oldest", config.oldest))
    }
    for result in found.values():
        result["reference"] = ours["versions"]
    record(newest=found["newest"], oldest=found["oldest"])
    print(json.dumps(found, indent=2))
    equal = all(
        result["levels_equal"] == result["clips"]
        and result["max_probability_difference"] <= TOLERANCE
        for result in found.values()
    )
    return 0 if equal else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["score"]:
        score_clips(*map(Path, sys.argv[2:4]))
    else:
        import tyro

        sys.exit(main(tyro.cli(VersionsConfig, description=__doc__)))
