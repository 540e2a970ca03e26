"""Judge films: videos, folders of frames, a list of either, or a LeRobot data set.

Writes a line of JSON per film. Stopped and started again with the same --out, it goes on where it
was; a film that cannot be read is reported and left out, and tried again the next time.
"""

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from reward_models.scoring.inputs import (
    InvalidRequest,
    Request,
    check_fps,
    from_table,
    from_videos,
)
from reward_models.scoring.log import ScoreLog, score_row
from roboreward_gym._cli import run_program
from roboreward_gym.allocator import keep_freed_memory
from roboreward_gym.errors import (
    InvalidClip,
    RewardModelFailure,
    RewardModelUnavailable,
    RoboRewardError,
)
from roboreward_gym.registry import load_reward_model
from roboreward_gym.types import Clip, ProgressScore, RewardModel

FAILURES_IN_A_ROW = 5
"""After so many films that the judge itself failed on, it is taken to be out of order."""


@dataclass(frozen=True)
class ScoreConfig:
    """What to score, by whom, and where to."""

    videos: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Video files, or folders with one PNG or JPEG per frame."""
    task: str | None = None
    """What the robot was told to do in these videos; in a data set, instead of its own tasks."""
    model: str = "roboreward-nano"
    """Name of the judge."""
    clips: Path | None = None
    """Instead of videos: a .csv or .jsonl file with columns video, task and optionally fps, id."""
    dataset: Path | None = None
    """Instead of videos: folder of a LeRobot data set (v3); asks about the task of each episode."""
    camera: str | None = None
    """Which camera of the data set, if it has several, such as observation.images.top."""
    fps: float | None = None
    """Frames per second of the videos: needed for folders, else the time stamps tell."""
    out: Path | None = None
    """JSONL file, gone on with if it exists; stdout without."""
    overlay: Path | None = None
    """Folder for videos with the score drawn below."""
    batch_size: int = 8
    """Films in memory and asked about at a time."""


@dataclass(frozen=True, eq=False)
class Film:
    """A request with what was read for it."""

    request: Request
    clip: Clip
    frames_total: int


class Scorer:
    """Scores requests in batches, reading the next batch while the judge looks at this one.

    Args:
        judge: Who is asked.
        log: Where scores go.
        overlay: Folder for videos with the score drawn below.
        bar: Advances by one per film, scored or failed.
    """

    def __init__(self, judge: RewardModel, log: ScoreLog, overlay: Path | None, bar: tqdm) -> None:
        self._judge = judge
        self._log = log
        self._overlay = overlay
        self._bar = bar
        self._in_a_row = 0
        self.failed = 0
        """Films without a score: unreadable files, and clips that the judge refused."""
        self.unreadable = 0
        """Films whose score has no level."""

    def run(self, requests: Sequence[Request], batch_size: int) -> None:
        """Score all requests; a film that fails is reported, and the others go on."""
        for loaded in read_ahead(requests, batch_size):
            films = [film for _, film in loaded if isinstance(film, Film)]
            for request, error in loaded:
                if isinstance(error, RoboRewardError):
                    self._report(request, error)
            self._score(films)

    def _score(self, films: Sequence[Film]) -> None:
        if not films:
            return
        try:
            scores = ask(self._judge, [film.clip for film in films])
        except (InvalidClip, RewardModelFailure) as error:
            if len(films) > 1:  # one bad clip must not cost the others their score
                for film in films:
                    self._score([film])
                return
            self._report(films[0].request, error)
            self._in_a_row = self._in_a_row + 1 if isinstance(error, RewardModelFailure) else 0
            if self._in_a_row >= FAILURES_IN_A_ROW:
                raise
            return
        self._in_a_row = 0
        for film, score in zip(films, scores, strict=True):
            self._write(film, score)

    def _write(self, film: Film, score: ProgressScore) -> None:
        if self._overlay is not None:
            from reward_models.scoring.overlay import overlay_name, write_overlay

            write_overlay(self._overlay / overlay_name(film.request.id), film.clip, score)
        about = {
            "fps": film.clip.fps,
            "frames": len(film.clip.frames),
            "frames_total": film.frames_total,
        }
        self._log.append(score_row(film.request, self._log.model, score, **about))
        self.unreadable += not score.readable
        self._bar.update()

    def _report(self, request: Request, error: RoboRewardError) -> None:
        self.failed += 1
        tqdm.write(f"{request.id}: {error}", file=sys.stderr)
        self._bar.update()


def ask(judge: RewardModel, clips: Sequence[Clip]) -> list[ProgressScore]:
    """Have clips judged.

    Raises:
        RewardModelFailure: The judge did not answer once per clip.
    """
    scores = judge.score(clips)
    if len(scores) != len(clips):
        raise RewardModelFailure(
            f"Expected {len(clips)} scores, got {len(scores)}: the judge lost count."
        )
    return scores


def read_ahead(
    requests: Sequence[Request], batch_size: int
) -> Iterator[list[tuple[Request, Film | RoboRewardError]]]:
    """Films in batches, in order; at most two batches are in memory."""
    batches = [requests[i : i + batch_size] for i in range(0, len(requests), batch_size)]
    with ThreadPoolExecutor(1, thread_name_prefix="reader") as pool:
        ahead = pool.submit(read_batch, batches[0]) if batches else None
        for following in [*batches[1:], None]:
            if ahead is None:
                return
            loaded = ahead.result()
            ahead = None if following is None else pool.submit(read_batch, following)
            yield loaded


def read_batch(requests: Sequence[Request]) -> list[tuple[Request, Film | RoboRewardError]]:
    """Read each film, or say why it cannot be read."""
    return [(request, _read(request)) for request in requests]


def _read(request: Request) -> Film | RoboRewardError:
    try:
        footage = request.read()
        clip = Clip(footage.frames, request.task, footage.fps)
    except RoboRewardError as error:
        return error
    return Film(request, clip, footage.total)


def requests_of(config: ScoreConfig) -> list[Request]:
    """Everything that the command line asks for.

    Raises:
        InvalidRequest: Not exactly one of videos, --clips and --dataset, or something of it is wrong.
    """
    given = {"VIDEO": config.videos, "--clips": config.clips, "--dataset": config.dataset}
    named = [name for name, value in given.items() if value]
    if len(named) != 1:
        raise InvalidRequest(
            f"Expected one of {', '.join(given)}, got {' and '.join(named) or 'none'}. "
            "See roboreward score --help."
        )
    if config.videos and config.task is None:
        raise InvalidRequest("Expected --task, got none: say what the robot was told to do.")
    if config.clips and config.task is not None:
        raise InvalidRequest("Expected the task of each clip in the list, got --task.")
    if config.fps is not None and not config.videos:
        raise InvalidRequest(
            f"Expected --fps with videos only, got it with {named[0]}, which tells."
        )
    if config.camera is not None and not config.dataset:
        raise InvalidRequest("Expected --camera with --dataset only, got it without.")
    check_fps(config.fps)
    if config.clips is not None:
        return from_table(config.clips)
    if config.dataset is not None:
        try:
            from reward_models.data.lerobot import dataset_requests
        except ModuleNotFoundError as error:
            raise RewardModelUnavailable(
                f"Expected {error.name} to read a LeRobot data set, which is not installed. "
                "Run: pip install 'roboreward-gym[models,lerobot]'"
            ) from error

        return dataset_requests(config.dataset, config.camera, config.task)
    return from_videos(config.videos, str(config.task), config.fps)


def run(config: ScoreConfig) -> int:
    """Score everything; 1 if a film could not be scored, else 0."""
    if config.batch_size < 1:
        raise InvalidRequest(f"Expected --batch-size of at least 1, got {config.batch_size}.")
    requests = requests_of(config)
    # What judges and their libraries print is no score: stdout is for scores.
    with ScoreLog(config.out, config.model) as log, redirect_stdout(sys.stderr):
        todo = [request for request in requests if not log.has(request)]
        judge = load_reward_model(config.model) if todo else None
        done = len(requests) - len(todo)
        with tqdm(total=len(requests), initial=done, desc="scoring", unit="film") as bar:
            if judge is None:
                return 0
            scorer = Scorer(judge, log, config.overlay, bar)
            scorer.run(todo, config.batch_size)
    _summarize(scorer, len(todo), done)
    return int(scorer.failed > 0)


def _summarize(scorer: Scorer, asked: int, done: int) -> None:
    parts = [f"{asked - scorer.failed} scored"]
    if done:
        parts.append(f"{done} done before")
    if scorer.unreadable:
        parts.append(f"{scorer.unreadable} of them unreadable (level null)")
    if scorer.failed:
        parts.append(f"{scorer.failed} failed, see above")
    sys.stderr.write(", ".join(parts) + ".\n")


def main(argv: list[str] | None = None) -> int:
    """Score what the command line names; the exit status."""
    config = tyro.cli(ScoreConfig, args=argv, description=__doc__, prog="roboreward score")
    keep_freed_memory()
    return run(config)


if __name__ == "__main__":
    run_program(main)
