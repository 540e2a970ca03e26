"""Environments that no one here wrote, recorded and scored: `make test-envs`, or `python -m benchmarks.any_env [NAME ...]`.

Each case of `benchmarks.any_env_cases` runs in a process of its own: an episode of ten steps with the null reward model
`clock:0.2`. It works if the score comes with the end and nowhere else, with the right task, and if the frames show
something that moves. A warning or a refusal that is expected must say what to do. The rows go to
`benchmarks/results/any_env.json` and, as a table, into `docs/your_env.md`. The exit status is 1 if a row is not as expected.
"""

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import warnings
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.any_env_cases import CASES, Case
from roboreward_gym import VLMRewardVectorWrapper, VLMRewardWrapper
from roboreward_gym.errors import RoboRewardError
from roboreward_gym.frames import dead_camera

RESULTS = Path(__file__).parent / "results" / "any_env.json"
PAGE = Path(__file__).parents[1] / "docs" / "your_env.md"
BEGIN, END = "<!-- any env -->\n", "<!-- /any env -->\n"
HEADER = "| environment | version | result | what to pass |\n| --- | --- | --- | --- |\n"
HEADLESS = {"MUJOCO_GL": "egl", "PYOPENGL_PLATFORM": "egl", "SDL_VIDEODRIVER": "dummy"}
JUDGE = "clock:0.2"
LIMIT_S = 600
MOST_STEPS = 40


class Broken(Exception):
    """The plugin did something else than it promises."""


def play(case: Case) -> dict[str, Any]:
    """Record and score one episode; returns what was seen of it."""
    env = case.make()
    is_vector = isinstance(env, gym.vector.VectorEnv)
    wrapper: Any = VLMRewardVectorWrapper if is_vector else VLMRewardWrapper
    wrapped = wrapper(env, JUDGE, **case.settings)
    _seed_spaces(env)
    wrapped.reset() if is_vector else wrapped.reset(seed=0)
    for step in range(1, MOST_STEPS + 1):
        _, reward, terminated, truncated, info = wrapped.step(_action(wrapped, is_vector))
        ended = np.atleast_1d(np.logical_or(terminated, truncated))
        if ("roboreward/level" in info) != bool(ended.any()):
            raise Broken(f"step {step}: score and end of the episode do not come together")
        if np.atleast_1d(reward)[~ended].any():
            raise Broken(f"step {step}: a reward without a score")
        if ended.any():
            break
    else:
        raise Broken(f"no episode ended within {MOST_STEPS} steps")
    which = int(np.flatnonzero(ended)[0])
    clip = wrapped.last_clips[which] if is_vector else wrapped.last_clip
    if not np.isfinite(np.atleast_1d(reward)[which]):
        raise Broken("the reward is not finite")
    if clip.num_frames not in (None, step + 1) or (clip.num_frames or len(clip.frames)) != step + 1:
        raise Broken(f"{len(clip.frames)} frames of {step} steps")
    if "task" in case.settings and clip.task != case.settings["task"]:
        raise Broken(f"the task is {clip.task!r}")
    if case.expected == "works" and (fault := dead_camera(clip)) is not None:
        raise Broken(f"the recording shows nothing: {fault}")
    height, width = clip.frames.shape[1:3]
    return {
        "task": clip.task,
        "frames": len(clip.frames),
        "size": f"{width}x{height}",
        "fps": clip.fps,
    }


def _seed_spaces(env: Any) -> None:
    for name in ("action_space", "single_action_space"):
        if (space := getattr(env, name, None)) is not None:
            space.seed(0)


def _action(env: Any, is_vector: bool) -> Any:  # noqa: FBT001
    if not is_vector:
        return env.action_space.sample()
    one = getattr(env.env, "single_action_space", env.action_space)
    return np.array([one.sample() for _ in range(env.num_envs)])


def run_here(case: Case) -> dict[str, Any]:
    """Play the case and compare what happens with what is expected."""
    heard: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: heard.append(record.getMessage())
    logging.getLogger("roboreward_gym").addHandler(handler)
    found: dict[str, Any] = {}
    try:
        found, said = play(case), " ".join(heard)
        result = "warned" if heard else "works"
    except RoboRewardError as error:
        result, said = "refused", f"{type(error).__name__}: {error}"
    except Broken as error:
        result, said = "broken", str(error)
    if case.says not in said:
        result, said = "broken", f"instead of {case.says!r}: {said}"
    row = {"env": case.env, "package": case.package, "version": version(case.package)}
    return {**row, "result": result, "as_expected": result == case.expected, "said": said, **found}


def run_apart(case: Case) -> dict[str, Any]:
    """Run the case in a process of its own: a simulator that dies or stays takes nothing with it."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.any_env", "--here", case.env]
    row = {"env": case.env, "package": case.package, "version": version(case.package)}
    failed = {**row, "result": "broken", "as_expected": False}
    process = subprocess.Popen(
        command,
        env={**os.environ, **HEADLESS},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return {**failed, "said": f"no end within {LIMIT_S} s"}
    finally:
        with suppress(ProcessLookupError):  # ViZDoom's game is a process that outlives Python
            os.killpg(process.pid, signal.SIGKILL)
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if process.returncode == 0 and lines:
        return json.loads(lines[-1])
    return {**failed, "said": errors.strip()[-400:]}


def table(report: dict[str, Any]) -> str:
    """The rows as Markdown; cases without one were not run."""
    found = {row["env"]: row for row in report["rows"]}
    lines = []
    for case in CASES:
        row = found.get(case.env, {"version": "", "result": "not run"})
        lines.append(
            f"| {case.env} | {case.package} {row['version']} | {row['result']} | {case.needs} |\n"
        )
    when = f"\nRun on {report['date']} with Gymnasium {report['gymnasium']}, without a screen or a GPU.\n"
    return HEADER + "".join(lines) + when


def write_results(rows: list[dict[str, Any]], path: Path = RESULTS) -> dict[str, Any]:
    """Put the rows in the place of former ones of the same environments; returns all."""
    former = json.loads(path.read_text())["rows"] if path.exists() else []
    found = {row["env"]: row for row in [*former, *rows]}
    report = {
        "date": datetime.now(UTC).date().isoformat(),
        "gymnasium": gym.__version__,
        "rows": [found[case.env] for case in CASES if case.env in found],
    }
    path.write_text(json.dumps(report, indent=1) + "\n")
    return report


def write_page(report: dict[str, Any], page: Path = PAGE) -> None:
    """Put the table between its two marks."""
    before, rest = page.read_text().split(BEGIN)
    after = rest.split(END)[1]
    page.write_text(f"{before}{BEGIN}{table(report)}{END}{after}")


def is_named(env: str, names: list[str]) -> bool:
    """Whether an environment is meant by these names or parts of names; by none all are."""
    whole = {case.env for case in CASES}
    return not names or any(name == env or (name not in whole and name in env) for name in names)


def main() -> int:
    """Run the cases that are named, or all, and write their results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.any_env", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of names of environments; all by default")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here is not None:
        warnings.simplefilter("ignore")
        case = next(case for case in CASES if case.env == options.here)
        print(f"\n{json.dumps(run_here(case))}", flush=True)
        os._exit(0)  # some simulators crash when Python tears them down
    wanted = [case for case in CASES if is_named(case.env, options.names)]
    rows = []
    for case in wanted:
        row = run_apart(case)
        rows.append(row)
        write_page(write_results([row]))
        mark = "  " if row["as_expected"] else "! "
        print(
            f"{mark}{row['result']:>8}  {row['env']}  {row['said'] if mark == '! ' else ''}",
            flush=True,
        )
    failed = sum(not row["as_expected"] for row in rows)
    print(f"{len(rows) - failed} of {len(rows)} as expected.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
