"""What `report.html` of a finished run shows: videos, curves, confusion, frame strips, config."""

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from experiments.config import CONSTANT, NANO, TRUTH, ExperimentConfig
from experiments.evaluate import EpisodeRunner, Evaluation, PolicySpec
from experiments.metrics import paired_gain
from experiments.phases import Finished, kept_noise_policy, policy_spec
from experiments.report.gain import Gain
from experiments.report.losses import run_charts
from experiments.report.page import EpisodeVideo, Group, Page
from experiments.robot import robot_words, ros_id
from experiments.run_folder import RunFolder, read_lines
from experiments.strips import load_strips, representative
from policies.checkpoint import METRICS

REWARD_WORDS = {
    TRUTH: "the simulator's truth",
    CONSTANT: "a constant score",
    NANO: "the scores of roboreward-nano, which saw the video of each episode and the task",
}
SIMULATOR, PERSON = "the simulator's state", "the person who watched"
HONEST_NOTE = (
    "The reward was the predicted level alone. True success comes from {}; neither learning nor the decision which "
    "policy is kept uses it."
)
ORACLE_NOTE = "The reward was the true level, so the two curves agree."


def write_report(
    config: ExperimentConfig, folder: RunFolder, finished: Finished, groups: Sequence[Group] = ()
) -> Path:
    """Write the page of a finished run into its folder.

    Args:
        config: The experiment.
        folder: Its run folder.
        finished: What came out.
        groups: Frame strips to show before those of the training episodes.
    """
    videos, note = videos_of(config, folder, finished.base, finished.final)
    chosen = representative(load_strips(folder / "strips"))
    training = Group(
        "Training episodes and their scores",
        "Of each kind (false and true positives and negatives of success) up to three, spread evenly over the run.",
        chosen,
    )
    robot = finished.record.get("robot")
    truth = PERSON if robot is not None and robot["real"] else SIMULATOR
    page = Page(
        title=f"{chosen[0].task.capitalize() if chosen else config.name}, fine-tuned",
        lead=(
            f"A diffusion policy for {robot_words(robot)}, fine-tuned in "
            f"{len(finished.training)} episodes by {REWARD_WORDS.get(config.reward_model, f'the scores of {config.reward_model}')}."
        ),
        base=finished.base.rate,
        final=finished.final.rate,
        gain=gain_of(finished),
        training=finished.training,
        curve_note=ORACLE_NOTE if config.reward_model == TRUTH else HONEST_NOTE.format(truth),
        videos=videos,
        video_note=note,
        groups=[*groups, training],
        table=table(config, finished.record),
        losses=run_charts(read_lines(folder / "training" / METRICS)),
    )
    return page.write(folder / "report.html")


def gain_of(finished: Finished) -> Gain:
    """What was gained on the starts that both policies played and whose ends are known."""
    before, after = (
        {o.seed: o.success for o in evaluation.outcomes if not math.isnan(o.level)}
        for evaluation in (finished.base, finished.final)
    )
    seeds = sorted(before.keys() & after.keys())
    kept = [bool(finished.record["improved"])]
    if not seeds:
        return Gain(math.nan, (math.nan, math.nan), kept)
    return Gain(*paired_gain([before[s] for s in seeds], [after[s] for s in seeds]), kept)


def videos_of(
    config: ExperimentConfig, folder: RunFolder, base: Evaluation, final: Evaluation
) -> tuple[list[EpisodeVideo], str]:
    """Play one start before and after again, with the camera kept, and say how it was chosen.

    In simulation only: a report moves no robot.
    """
    if config.env_id == ros_id(config.env_id):
        return [], "Played over ROS 2: every episode is in the run's folder `episodes`."
    pairs = list(zip(base.outcomes, final.outcomes, strict=False))
    better = [b.seed for b, f in pairs if f.success and not b.success]
    worse = [b.seed for b, f in pairs if b.success and not f.success]
    seed = (better or [b.seed for b, _ in pairs])[0]
    note = (
        f"The same start, played by both; the first of the {len(better)} of {len(pairs)} evaluation "
        f"episodes that turned from failure to success ({len(worse)} turned the other way)."
        if better
        else f"The first evaluation episode; none of {len(pairs)} turned from failure to success."
    )
    before = _play(policy_spec(config), seed, "Before: base policy")
    after = _play(
        policy_spec(config, kept_noise_policy(folder)), seed, "After: the policy that was kept"
    )
    return [before, after], note


def table(config: ExperimentConfig, record: Mapping[str, Any]) -> dict[str, Any]:
    """Config and provenance, name to text."""
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    commit = record["git_commit"] + (" with uncommitted changes" if record["git_dirty"] else "")
    return {
        "Experiment": f"{config.name}, seed {config.seed}",
        "Environment": config.env_id,
        "Robot": robot_words(record.get("robot")),
        "Base policy": config.policy,
        "Reward": f"{config.reward_model}, mapped by {config.reward_map}",
        "Training episodes": training_words(record),
        "Kept": decision_words(record),
        "Evaluation episodes": f"{record['base_episodes']} before, {record['final_episodes']} after",
        "Fine-tuner": ", ".join(f"{k}={v}" for k, v in vars(config.dsrl).items()),
        "Wall time": f"{record['minutes']:.1f} min",
        "Commit": commit,
        "Versions": f"python {record['python']}, {versions}",
    }


def training_words(record: Mapping[str, Any]) -> str:
    """How many training episodes, and how many of them were left out because they have no score."""
    unscored = record.get("unscored_episodes", 0)
    left_out = f", {unscored} of them without a score and left out" if unscored else ""
    return f"{record['training_episodes']}{left_out}"


def decision_words(record: Mapping[str, Any]) -> str:
    """Which policy was kept, and why."""
    kept = "the fine-tuned policy" if record["improved"] else "the base policy: no significant gain"
    rewards = [record["warm_up_reward"], record["validation_reward"]]
    before, after = ("none" if reward is None else f"{reward:.2f}" for reward in rewards)
    return f"{kept} (mean reward {before} in the warm-up, {after} in the validation, p = {record['p_value']:.4f})"


def _play(spec: PolicySpec, seed: int, words: str) -> EpisodeVideo:
    with closing(EpisodeRunner(spec)) as runner:
        outcome = runner.play(seed)
        clip, score = runner.video
    predicted = "" if score.level is None else f"Predicted level {score.level}. "
    caption = f"{words}. {predicted}True level {outcome.level:.0f}."
    return EpisodeVideo(clip.frames, clip.fps, caption)
