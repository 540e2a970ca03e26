"""Score recordings: videos, folders of them or of frames, a list of either, or a LeRobot data set.

Prints a table on a terminal and JSON lines elsewhere; --out writes JSON lines to a file. Started again with the same
--out, it continues where it stopped. A recording that cannot be scored is reported, left out, and tried again the next time.
"""

import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from reward_models.model_options import ModelOptions, options_into_name
from reward_models.scale.places import Place
from reward_models.scoring.batches import Scored, Worker, load_model, read_ahead, score_batch
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
)
from roboreward_gym.operating_point import OperatingPoint
from roboreward_gym.types import ProgressScore

FAILURES_IN_A_ROW = 5
"""Recordings in a row on which the model itself failed, after which it is taken to be out of order."""


@dataclass(frozen=True)
class ScoreConfig:
    """What to score, with which model, and where to write it."""

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Video files; folders with one PNG or JPEG per frame; folders of videos, at any depth."""
    task: str | None = None
    """The task of these videos; in a data set, instead of its own tasks."""
    model: str = ""
    """Name of the reward model, such as roboreward-8b; without it the error lists them and for whom each is."""
    options: tyro.conf.OmitArgPrefixes[ModelOptions] = field(default_factory=ModelOptions)
    """How a local model is loaded."""
    clips: Path | None = None
    """Instead of videos: a .csv or .jsonl file with columns video, task and optionally fps, id."""
    dataset: Path | None = None
    """Instead of videos: folder of a LeRobot data set (v2.0 to v3); each episode is scored for its task."""
    camera: str | None = None
    """Which camera of the data set, if it has several, such as observation.images.top."""
    fps: float | None = None
    """Frames per second of the videos: needed for folders of frames, else taken from their time stamps."""
    out: Path | None = None
    """JSONL file for the scores, continued if it exists; without it they go to stdout."""
    format: Format | None = None
    """What stdout gets: by default, without --out, a table on a terminal and JSON lines elsewhere."""
    calibration: Path | None = None
    """Operating point from roboreward calibrate: rows then say whether a score counts as success."""
    overlay: Path | None = None
    """Folder for copies of the videos with the score drawn below."""
    progress: int = 0
    """Score this many moments of each recording, evenly spread, as if it ended there: rows then have `progress`, and an
    overlay plots it. Each is one more score, and with a paid model one more request."""
    batch_size: int = 8
    """Recordings scored at a time; as many more are in memory."""
    readers: int = 4
    """Threads that read recordings, in each process."""
    concurrency: int | None = None
    """Most requests under way at a time to a model behind an API, 4 by default; needs a batch at least as large."""
    shard: str | None = None
    """Score a part of the recordings only: 2/8 is the second of eight. Each part needs an --out of its own."""
    place: tyro.conf.OmitArgPrefixes[Place] = field(default_factory=Place)
    """Where to work."""
    quiet: bool = False
    """No progress bar and no summary; errors are reported still."""


def batches_of(requests: Sequence[Request], size: int) -> Iterator[Sequence[Request]]:
    """Cut into batches."""
    return (requests[i : i + size] for i in range(0, len(requests), size))


def scored_batches(config: ScoreConfig, requests: Sequence[Request]) -> Generator[list[Scored]]:
    """Read and score, wherever the configuration says; in the order of the requests."""
    if config.place.here:
        model = load_model(config.model, config.concurrency)
        for loaded in read_ahead(requests, config.batch_size, config.readers):
            yield score_batch(model, loaded, config.progress)
        return
    job = partial(
        Worker,
        config.model,
        config.concurrency,
        config.readers,
        config.place.workers,
        config.progress,
    )
    for take in config.place.map(job, batches_of(requests, config.batch_size)):
        yield take()


class Collector:
    """Writes scores as they come, reports what has none, and ends a run whose model is out of order.

    Args:
        write: Takes each scored request.
        bar: Advances by one per recording, scored or failed.
        draw: Takes the same once all scores of the batch are written; may raise `InvalidVideo`.
    """

    def __init__(
        self,
        write: Callable[[Scored, ProgressScore], None],
        bar: tqdm,
        draw: Callable[[Scored, ProgressScore], None] | None = None,
    ) -> None:
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

    def take(self, batches: Iterable[Sequence[Scored]]) -> None:
        """Take all batches; a recording that fails is reported, and the others go on.

        Raises:
            RoboRewardError: The model failed on `FAILURES_IN_A_ROW` recordings one after another, or
                can score nothing any more, as without a budget. What was scored is written.
        """
        for batch in batches:
            # All scores of the batch first: an error below may end the run.
            for one in batch:
                if isinstance(one.outcome, ProgressScore):
                    self._write(one, one.outcome)
                    self.unreadable += not one.outcome.readable
                    self._bar.update()
            for one in batch:
                if isinstance(one.outcome, ProgressScore):
                    self._draw_overlay(one, one.outcome)
            for one in batch:
                self._consider(one)

    def _draw_overlay(self, one: Scored, score: ProgressScore) -> None:
        if self._draw is None:
            return
        try:
            self._draw(one, score)
        except InvalidVideo as error:
            self.undrawn += 1
            tqdm.write(f"{one.request.id}: {error}", file=sys.stderr)

    def _consider(self, one: Scored) -> None:
        if isinstance(one.outcome, ProgressScore):
            self._in_a_row = 0
            return
        read = one.about is not None
        if read and not isinstance(one.outcome, InvalidClip | RewardModelFailure):
            raise one.outcome
        self.failed += 1
        tqdm.write(f"{one.request.id}: {one.outcome}", file=sys.stderr)
        self._bar.update()
        if read:
            failed = isinstance(one.outcome, RewardModelFailure)
            self._in_a_row = self._in_a_row + 1 if failed else 0
            if self._in_a_row >= FAILURES_IN_A_ROW:
                raise one.outcome


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
        raise InvalidRequest(
            "--task is missing. Pass what the robot had to do, such as --task 'open the drawer'."
        )
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


def part(requests: list[Request], shard: str | None) -> list[Request]:
    """Return the requests of one shard, `2/8` for the second of eight; all without one.

    Raises:
        InvalidRequest: It is not a shard.
    """
    if shard is None:
        return requests
    number, slash, of = shard.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise InvalidRequest(f"--shard is {shard!r}. Write 2/8 for the second of eight parts.")
    return requests[int(number) - 1 :: int(of)]


def check(config: ScoreConfig) -> None:
    """Refuse settings that do not fit together.

    Raises:
        InvalidRequest: Says which.
    """
    for name in ("batch_size", "readers", "concurrency"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise InvalidRequest(f"--{name.replace('_', '-')} must be at least 1, not {value}.")
    if config.progress == 1 or config.progress < 0:
        raise InvalidRequest(f"--progress needs two moments or more, not {config.progress}.")
    if config.concurrency is not None and config.concurrency > config.batch_size:
        raise InvalidRequest(
            f"--concurrency {config.concurrency} needs --batch-size {config.concurrency} or more."
        )
    if config.overlay is not None and not config.place.here:
        raise InvalidRequest(
            "--overlay needs one worker: draw in a run without --workers and --ray."
        )


def run(config: ScoreConfig) -> int:
    """Score everything; 1 if a recording could not be scored or its overlay not be drawn, else 0."""
    check(config)
    requests = part(requests_of(config), config.shard)
    point = None if config.calibration is None else OperatingPoint.load(config.calibration)
    stdout = sys.stdout
    failed = unreadable = undrawn = 0
    # What models and their libraries print is not a score: stdout is for scores.
    with (
        nullcontext() if config.out is None else ScoreLog(config.out, config.model) as log,
        redirect_stdout(sys.stderr),
    ):
        todo = [request for request in requests if log is None or not log.has(request)]
        done = len(requests) - len(todo)
        if todo:
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
            with bar, closing(scored_batches(config, todo)) as batches:
                draw = None if config.overlay is None else overlay_drawer(config.overlay)
                collector = Collector(writer(config.model, writers, point), bar, draw)
                collector.take(batches)
            failed, unreadable, undrawn = collector.failed, collector.unreadable, collector.undrawn
    if not config.quiet:
        _summarize(len(todo) - failed, done, unreadable, undrawn, failed)
    return int(failed + undrawn > 0)


def writer(
    model: str, writers: Sequence[RowWriter], point: OperatingPoint | None = None
) -> Callable[[Scored, ProgressScore], None]:
    """Return a function that writes the row of a score to each of `writers`, with `success` at an operating point."""

    def write(one: Scored, score: ProgressScore) -> None:
        about = dict(one.about or {})
        if one.progress:
            about["progress"] = [list(point) for point in one.progress]
        if point is not None:
            about["success"] = point.is_success(score) if score.readable else None
        row = score_row(one.request, model, score, **about)
        for append in writers:
            append(row)

    return write


def overlay_drawer(folder: Path) -> Callable[[Scored, ProgressScore], None]:
    """Return a function that writes the overlay of a score into the folder."""
    from reward_models.scoring.overlay import overlay_name, write_overlay

    def draw(one: Scored, score: ProgressScore) -> None:
        if one.clip is not None:
            path = folder / overlay_name(one.request.id)
            write_overlay(path, one.request.source, one.clip, score, one.progress)

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
