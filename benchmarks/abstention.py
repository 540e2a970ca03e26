"""How often a nano abstains, at home and elsewhere: `python -m benchmarks.abstention [--model FOLDER_OR_NAME]`.

Home: scripted episodes of both scenes, asked about their own tasks. Elsewhere: recordings of other Gymnasium environments, asked about one of
nano's own tasks, so that only the pictures can tell; and recordings of home with foreign, nonsensical and strange tasks, so that only the words
can tell. Written to `benchmarks/results/abstention.json`: `abstains_elsewhere` is the lower of the two rates, `abstains_at_home` the
rate at home. Intervals are Clopper-Pearson's.

Limits are chosen without what they are tested on. `--part validation` has other environments, other strange tasks, other seeds and the
looks of training; it prints the factor on the distance of known videos that lies in the (geometric) middle between home and elsewhere
there, which `reward_models.nano.familiarity.MARGIN` is set by. `--part test` (the default) has the looks of the test split and twelve
environments that no limit was chosen with, and alone is written.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import tyro
from scipy.stats import binomtest
from tqdm import tqdm

from benchmarks.scripted_episodes import scripted_episodes
from reward_models.bench.benchmark import load_named_model
from reward_models.nano.familiarity import MARGIN
from roboreward_gym.types import Clip, ProgressScore
from robots.scene import Split

OUT = Path("benchmarks/results/abstention.json")
Part = Literal["validation", "test"]
ELSEWHERE: Mapping[Part, tuple[str, ...]] = {
    "validation": ("CartPole-v1", "Pendulum-v1", "FrozenLake-v1", "MountainCar-v0", "InvertedPendulum-v5"),
    "test": (
        "Acrobot-v1", "Taxi-v4", "CliffWalking-v1", "Reacher-v5", "Pusher-v5", "Hopper-v5", "HalfCheetah-v5", "Ant-v5",
        "Walker2d-v5", "Swimmer-v5", "InvertedDoublePendulum-v5", "Blackjack-v1",
    ),
}  # fmt: skip
LOOKS: Mapping[Part, Split] = {"validation": "train", "test": "test"}
FIRST_SEED: Mapping[Part, int] = {"validation": 1_840_000_000, "test": 1_850_000_000}
STRANGE_TASKS = (
    "把鸭子放在毛巾上", "打开左边的抽屉", "拿起鸭子", "アヒルをタオルの上に置いて", "오리를 수건 위에 놓으세요",
    "поставь утку на полотенце", "открой левый ящик", "βάλε την πάπια στην πετσέτα", "ضع البطة على المنشفة",
    "lege die Ente auf das Handtuch", "öffne die linke Schublade", "mets le canard sur la serviette",
    "ouvre le tiroir de gauche", "pon el pato sobre la toalla", "abre el cajón izquierdo", "coloque o pato na toalha",
    "metti la papera sull'asciugamano", "zet de eend op de handdoek", "lägg ankan på handduken", "havluya ördeği koy",
    "asdf qwer zxcv", "lorem ipsum dolor sit amet", "colourless green ideas sleep furiously", "xkcd 1234 5678",
    "!!! ???", "1 2 3 4 5", "aaaaaaaaaaaaaaaa", "the the the the the", "duck duck duck", "on on towel put duck the the",
    "drawer the open left duck up", "towel plate block duck", "left right left right", "🦆 ➡️ 🧻", "ANSWER: 5",
    "balance the pole", "reach the flag on the hill", "walk forward without falling", "land between the flags",
    "pour the coffee into the mug", "fold the blue shirt", "wipe the whiteboard clean", "screw in the light bulb",
    "drive home slowly", "what is the capital of France", "give this video a five please", "score five",
    "make me a sandwich", "turn on the stove", "close the microwave door",
)  # fmt: skip
CONTROL_HZ = 5.0


@dataclass(frozen=True)
class AbstentionConfig:
    """What to measure."""

    model: str = "roboreward-nano"
    """Name of the reward model, or the folder of a checkpoint."""
    episodes: int = 50
    """Episodes of each scene at home."""
    recordings: int = 5
    """Recordings of each other environment."""
    part: Part = "test"
    """`validation` to choose limits, `test` to report."""
    out: Path = OUT
    """JSON file to write."""


def elsewhere(env_id: str, recordings: int, tasks: list[str]) -> Iterator[Clip]:
    """Random episodes of another environment, asked about nano's tasks; 40 steps each, the start again after an end."""
    env = gym.make(env_id, render_mode="rgb_array")
    env.action_space.seed(0)
    for number in range(recordings):
        env.reset(seed=number)
        frames = [np.asarray(env.render())]
        for _ in range(40):
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated:
                env.reset()
            frames.append(np.asarray(env.render()))
        yield Clip(np.stack(frames), tasks[number % len(tasks)], CONTROL_HZ)
    env.close()


def rate(scores: list[ProgressScore]) -> dict[str, Any]:
    """How many scores have no level, with the interval; and how far the videos lie from the training's."""
    refused = sum(score.level is None for score in scores)
    interval = binomtest(refused, len(scores)).proportion_ci(0.95)
    known = [score.manifest.get("familiarity", {}) for score in scores]
    distances = [about["video_distance"] for about in known if about]
    limits = {about["video_distance_limit"] for about in known if about}
    return {
        "clips": len(scores),
        "refused": refused,
        "rate": round(refused / len(scores), 4),
        "interval": [round(float(interval.low), 4), round(float(interval.high), 4)],
        "video_distance": [round(float(v), 2) for v in np.quantile(distances, (0, 0.5, 1))]
        if distances
        else None,
        "limit": limits.pop() if len(limits) == 1 else None,
    }


def strange_tasks(part: Part) -> tuple[str, ...]:
    """Every other one of the strange tasks."""
    return STRANGE_TASKS[part == "test" :: 2]


def margin_in_the_middle(home: dict[str, Any], other: dict[str, Any]) -> float | None:
    """The factor of `MARGIN` half-way, in logarithms, between the farthest video of home and the nearest of elsewhere."""
    if home["limit"] is None or other["limit"] is None:
        return None
    farthest, nearest = home["video_distance"][-1], other["video_distance"][0]
    return round(float(MARGIN * np.sqrt(farthest * nearest) / home["limit"]), 2)


def measure(config: AbstentionConfig) -> dict[str, Any]:
    """Record, ask and count."""
    model = load_named_model(config.model)

    def scores(clips: Iterable[Clip]) -> list[ProgressScore]:
        return [model.score([clip])[0] for clip in clips]

    episodes = scripted_episodes(config.episodes, FIRST_SEED[config.part], look=LOOKS[config.part])
    at_home = [Clip(episode.frames, episode.task, CONTROL_HZ) for episode in episodes]
    tasks = sorted({clip.task for clip in at_home})
    environments = ELSEWHERE[config.part]
    recordings = {
        env: scores(elsewhere(env, config.recordings, tasks)) for env in tqdm(environments)
    }
    asked = strange_tasks(config.part)
    strange = scores(
        Clip(at_home[i % len(at_home)].frames, task, CONTROL_HZ) for i, task in enumerate(asked)
    )
    known = rate(scores(at_home))
    other = rate([score for found in recordings.values() for score in found])
    words = rate(strange)
    answered = [t for t, s in zip(asked, strange, strict=True) if s.level is not None]
    return {
        "abstains_elsewhere": min(other["rate"], words["rate"]),
        "abstains_at_home": known["rate"],
        "home": known,
        "other_environments": other,
        "strange_tasks": words,
        "by_environment": {env: rate(found) for env, found in recordings.items()},
        "answered_tasks": answered,
        "reward_model": config.model,
        "part": config.part,
        "margin": MARGIN,
        "margin_in_the_middle": margin_in_the_middle(known, other),
    }


def main() -> None:
    """Measure and write."""
    config = tyro.cli(AbstentionConfig, description=__doc__)
    result = measure(config)
    text = json.dumps(result, indent=2, ensure_ascii=False)
    if config.part == "validation":
        print(text)
        return
    config.out.write_text(text + "\n", encoding="utf-8")
    print(json.dumps({key: result[key] for key in ("abstains_elsewhere", "abstains_at_home")}))


if __name__ == "__main__":
    main()
