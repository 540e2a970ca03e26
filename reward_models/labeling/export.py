"""What people rated, as a data set in the published RoboReward layout."""

from collections.abc import Iterator
from pathlib import Path

from reward_models.data.example import Example
from reward_models.data.published_writer import Row, write_examples
from reward_models.data.video_file import VideoFormat, video_of
from reward_models.labeling.folder import LabelFolder, RatedVideo, Rating, level_of
from roboreward_gym.errors import InvalidSetting

SPLIT, SUBSET = "train", "rated"


def export(folder: LabelFolder, out: Path) -> list[Row]:
    """Write all videos with a level, one row each, and return the rows. Videos that nobody could tell are left out.

    The level of several people is the lower median; all of them are named in the columns of the check.

    Raises:
        InvalidSetting: Nothing is rated yet.
        OutputError: The folder holds a data set already, or cannot be written.
    """
    rated = list(_examples(folder))
    if not rated:
        raise InvalidSetting(f"No video in {folder.path} has a level yet.")
    return write_examples(out, SPLIT, rated, VideoFormat(fps=0))


def _examples(folder: LabelFolder) -> Iterator[Example]:
    videos = folder.videos()
    for name, ratings in folder.ratings_of(videos).items():
        level = level_of(ratings)
        if level is not None:
            yield example_of(folder, videos[name], level, ratings)


def example_of(
    folder: LabelFolder, video: RatedVideo, level: int | None, ratings: list[Rating]
) -> Example:
    """Return a video with what people said about it; its kind is organic: people rated it."""
    source = video.source
    said = ", ".join(f"{one.rater}: {one.level or 'cannot tell'}" for one in ratings)
    return Example(
        video_of(folder.path / video.file),
        video.task,
        level,
        source.get("subset") or SUBSET,
        source.get("source_episode") or video.id,
        "organic",
        original_task=source.get("original_task"),
        kept=source.get("kept") or 1.0,
        check=f"{said} ANSWER: TRUE" if ratings else "",
        checked_by=", ".join(sorted({one.rater for one in ratings})),
        licence=source.get("licence") or "",
    )
