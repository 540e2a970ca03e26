"""Score recordings: videos, folders of them or of frames, a list of either, or a LeRobot data set.

Prints a table on a terminal and JSON lines elsewhere; --out writes JSON lines to a file. Started again with the same
--out, it goes on where it was. A recording that cannot be scored is reported, left out, and tried again the next time.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from reward_models.model_options import ModelOptions, options_into_name
from reward_models.scoring.inputs import (
    InvalidRequest,
    Request,
    check_fps,
    from_dataset,
    from_paths,
    from_table,
)
from reward_models.scoring.log import RowWriter, ScoreLog, score_row
from reward_models.scoring.stdout import Format, printer
from reward_models.video.recording import InvalidVideo
from roboreward_gym._cli import keep_freed_memory, run_program
from roboreward_gym.errors import (
    InvalidClip,
    RewardModelFailure,
    RoboRewardError,
)
from roboreward_gym.registry import load_reward_model
from roboreward_gym.scorer import outcomes
from roboreward_gym.types import Clip, ProgressScore, RewardModel

FAILURES_IN_A_ROW = 5
"""After so many recordings that the model itself failed on, it is taken to be out of order."""


@dataclass(frozen=True)
class ScoreConfig:
    """What to score, with which model, and where to write it."""

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Video files; folders with one PNG or JPEG per frame; folders of videos, at any depth."""
    task: str | None = None
    """What the robot was told to do in these videos; in a data set, instead of its own tasks."""
    model: str = "roboreward-nano"
    """Name of the reward model."""
    options: tyro.conf.OmitArgPrefixes[ModelOptions] = field(default_factory=ModelOptions)
    """How a local model is loaded."""
    clips: Path | None = None
    """Instead of videos: a .csv or .jsonl file with columns video, task and optionally fps, id."""
    dataset: Path | None = None
    """Instead of videos: folder of a LeRobot data set (v2.0 to v3); each episode is scored for its task."""
    camera: str | None = None
    """Which camera of the data set, if it has several, such as observation.images.top."""
    fps: float | None = None
    """Frames per second of the videos: needed for folders of frames, else the time stamps tell."""
    out: Path | None = None
    """JSONL file for the scores, gone on with if it exists; without it they go to stdout."""
    format: Format | None = None
    """What stdout gets: by default, without --out, a table on a terminal and JSON lines elsewhere."""
    overlay: Path | None = None
    """Folder for copies of the videos with the score drawn below."""
    batch_size: int = 8
    """Recordings in memory and scored at a time."""
    quiet: bool = False
    """No progress bar and no summary; errors are reported still."""


@dataclass(frozen=True, eq=False)
class LoadedClip:
    """A request with the clip that was read for it."""

    request: Request
    clip: Clip


class VideoScorer:
    """Scores requests in batches, reading the next batch while the model scores this one.

    Args:
        reward_model: What scores.
        write: Takes each request with its clip and its score.
        bar: Advances by one per recording, scored or failed.
        draw: Takes the same once all scores of the batch are written; may raise `InvalidVideo`.
    """

    def __init__(
        self,
        reward_model: RewardModel,
        write: Callable[[LoadedClip, ProgressScore], None],
        bar: tqdm,
        draw: Callable[[LoadedClip, ProgressScore], None] | None = None,
    ) -> None:
        self._reward_model = reward_model
        self._write = write
        self._bar = bar
        self._draw = draw
        self._in_a_row = 0
        self.failed = 0
        """Recordings without a score: unreadable files, and clips that the model refused or failed on."""
        self.unreadable = 0
        """Recordings whose score has no level."""
        self.undrawn = 0
        """Recordings that were scored, but whose overlay cannot be drawn."""

    def run(self, requests: Sequence[Request], batch_size: int) -> None:
        """Score all requests; one that fails is reported, and the others go on.

        Raises:
            RoboRewardError: The model failed on `FAILURES_IN_A_ROW` recordings one after another, or
                can score nothing any more, as without a budget. What was scored is written.
        """
        for loaded in read_ahead(requests, batch_size):
            clips = [item for _, item in loaded if isinstance(item, LoadedClip)]
            for request, error in loaded:
                if isinstance(error, RoboRewardError):
                    self._report(request, error)
            found = outcomes(self._reward_model, [item.clip for item in clips])
            # All scores of the batch first: an error below may end the run.
            for item, score in zip(clips, found, strict=True):
                if isinstance(score, ProgressScore):
                    self._write(item, score)
                    self.unreadable += not score.readable
                    self._bar.update()
            for item, outcome in zip(clips, found, strict=True):
                if isinstance(outcome, ProgressScore):
                    self._draw_overlay(item, outcome)
            for item, outcome in zip(clips, found, strict=True):
                self._consider(item.request, outcome)

    def _draw_overlay(self, item: LoadedClip, score: ProgressScore) -> None:
        if self._draw is None:
            return
        try:
            self._draw(item, score)
        except InvalidVideo as error:
            self.undrawn += 1
            tqdm.write(f"{item.request.id}: {error}", file=sys.stderr)

    def _consider(self, request: Request, outcome: ProgressScore | RoboRewardError) -> None:
        if isinstance(outcome, ProgressScore):
            self._in_a_row = 0
            return
        if not isinstance(outcome, InvalidClip | RewardModelFailure):
            raise outcome
        self._report(request, outcome)
        self._in_a_row = self._in_a_row + 1 if isinstance(outcome, RewardModelFailure) else 0
        if self._in_a_row >= FAILURES_IN_A_ROW:
            raise outcome

    def _report(self, request: Request, error: RoboRewardError) -> None:
        self.failed += 1
        tqdm.write(f"{request.id}: {error}", file=sys.stderr)
        self._bar.update()


def read_ahead(
    requests: Sequence[Request], batch_size: int
) -> Iterator[list[tuple[Request, LoadedClip | RoboRewardError]]]:
    """Yield clips in batches, in order; at most two batches are in memory."""
    batches = [requests[i : i + batch_size] for i in range(0, len(requests), batch_size)]
    with ThreadPoolExecutor(1, thread_name_prefix="reader") as pool:
        ahead = pool.submit(read_batch, batches[0]) if batches else None
        for following in [*batches[1:], None]:
            if ahead is None:
                return
            loaded = ahead.result()
            ahead = None if following is None else pool.submit(read_batch, following)
            yield loaded


def read_batch(
    requests: Sequence[Request],
) -> list[tuple[Request, LoadedClip | RoboRewardError]]:
    """Read each recording, or say why it cannot be read."""
    return [(request, _read(request)) for request in requests]


def _read(request: Request) -> LoadedClip | RoboRewardError:
    try:
        return LoadedClip(request, request.source.read().clip(request.task))
    except RoboRewardError as error:
        return error


def requests_of(config: ScoreConfig) -> list[Request]:
    """Return everything that the command line asks for.

    Raises:
        InvalidRequest: Not exactly one of videos, --clips and --dataset, or something of it is wrong.
    """
    given = {"VIDEO": config.paths, "--clips": config.clips, "--dataset": config.dataset}
    named = [name for name, value in given.items() if value]
    if len(named) != 1:
        raise InvalidRequest(
            f"Name one of {', '.join(given)}; {' and '.join(named) or 'none'} is given. "
            "See roboreward score --help."
        )
    if config.paths and config.task is None:
        raise InvalidRequest("--task is missing: say what the robot was told to do.")
    if config.clips and config.task is not None:
        raise InvalidRequest("The list has the task of each clip: leave out --task.")
    if config.fps is not None and not config.paths:
        raise InvalidRequest(f"--fps is for videos only: {named[0]} has the rates. Leave it out.")
    if config.camera is not None and not config.dataset:
        raise InvalidRequest("--camera is for --dataset only. Leave it out.")
    check_fps(config.fps)
    if config.clips is not None:
        return from_table(config.clips)
    if config.dataset is not None:
        return from_dataset(config.dataset, config.camera, config.task)
    return from_paths(config.paths, str(config.task), config.fps)


def run(config: ScoreConfig) -> int:
    """Score everything; 1 if a recording could not be scored or its overlay not be drawn, else 0."""
    if config.batch_size < 1:
        raise InvalidRequest(f"--batch-size must be at least 1, not {config.batch_size}.")
    requests = requests_of(config)
    stdout = sys.stdout
    # What models and their libraries print is no score: stdout is for scores.
    with (
        nullcontext() if config.out is None else ScoreLog(config.out, config.model) as log,
        redirect_stdout(sys.stderr),
    ):
        todo = [request for request in requests if log is None or not log.has(request)]
        done = len(requests) - len(todo)
        if todo:
            model = load_reward_model(config.model)
            writers: list[RowWriter] = [] if log is None else [log.append]
            default = None if log is not None else "table" if stdout.isatty() else "jsonl"
            format = config.format or default
            if format is not None:
                writers.append(printer(format, [request.id for request in todo], stdout))
            bar = tqdm(
                total=len(requests),
                initial=done,
                desc="scoring",
                unit="video",
                disable=config.quiet,
            )
            with bar:
                draw = None if config.overlay is None else overlay_drawer(config.overlay)
                scorer = VideoScorer(model, writer(config.model, writers), bar, draw)
                scorer.run(todo, config.batch_size)
    failed, unreadable, undrawn = (
        (scorer.failed, scorer.unreadable, scorer.undrawn) if todo else (0, 0, 0)
    )
    if not config.quiet:
        _summarize(len(todo) - failed, done, unreadable, undrawn, failed)
    return int(failed + undrawn > 0)


def writer(model: str, writers: Sequence[RowWriter]) -> Callable[[LoadedClip, ProgressScore], None]:
    """Return a function that writes the row of a score to each of `writers`."""

    def write(item: LoadedClip, score: ProgressScore) -> None:
        clip = item.clip
        about = {
            "fps": clip.fps,
            "frames": len(clip.frames),
            "frames_total": clip.num_frames or len(clip.frames),
        }
        row = score_row(item.request, model, score, **about)
        for append in writers:
            append(row)

    return write


def overlay_drawer(folder: Path) -> Callable[[LoadedClip, ProgressScore], None]:
    """Return a function that writes the overlay of a score into the folder."""
    from reward_models.scoring.overlay import overlay_name, write_overlay

    def draw(item: LoadedClip, score: ProgressScore) -> None:
        path = folder / overlay_name(item.request.id)
        write_overlay(path, item.request.source, item.clip, score)

    return draw


def _summarize(scored: int, done: int, unreadable: int, undrawn: int, failed: int) -> None:
    parts = [f"{scored} scored"]
    if done:
        parts.append(f"{done} done before")
    if unreadable:
        parts.append(f"{unreadable} of them unreadable (level null)")
    if undrawn:
        parts.append(f"{undrawn} without an overlay, see above")
    if failed:
        parts.append(f"{failed} failed, see above")
    sys.stderr.write(", ".join(parts) + ".\n")


def main(argv: list[str] | None = None) -> int:
    """Score what the command line names; the exit status."""
    config = options_into_name(
        tyro.cli(ScoreConfig, args=argv, description=__doc__, prog="roboreward score")
    )
    keep_freed_memory()
    return run(config)


if __name__ == "__main__":
    run_program(main)
