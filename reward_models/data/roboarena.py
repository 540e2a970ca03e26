"""RoboArena dumps: sessions in which people graded several policies on one task from 0 to 100.

A session is a folder with `metadata.yaml` and a folder `<LETTER>_<policy>` per episode with videos of several cameras. Names of
files differ between dumps, so they are found by the camera in them. The videos play at 10 Hz what ran at 15 Hz; they are
taken as they are, as the published reward data has them.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from reward_models.data.example import Example, InvalidSource, Item, Skipped
from reward_models.data.published import ROBOARENA
from reward_models.data.sources import ReadOptions
from reward_models.data.video_file import video_of

CAMERAS = ("left", "right")
"""Views that RoboReward took; the one from the wrist is upside down."""
LICENCE = "MIT"
METADATA = "metadata.yaml"


def level_of(progress: float, cuts: Sequence[float]) -> int:
    """Return the level of a progress in percent.

    >>> [level_of(p, (10.0, 40.0, 70.0, 100.0)) for p in (0, 9, 10, 55, 99, 100)]
    [1, 1, 2, 3, 4, 5]
    """
    return 1 + bisect_right(list(cuts), progress)


def read(path: Path, options: ReadOptions) -> Iterator[Item]:
    """Yield every episode once per camera.

    Raises:
        InvalidSource: No sessions.
    """
    sessions = sorted(p.parent for p in path.rglob(METADATA))
    if not sessions:
        raise InvalidSource(
            f"{path} has no sessions with a {METADATA}. Name the folder of a RoboArena dump."
        )
    return (item for session in sessions for item in _session(session, options))


def _session(folder: Path, options: ReadOptions) -> Iterator[Item]:
    try:
        about = yaml.safe_load((folder / METADATA).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        yield Skipped(str(folder), "damaged_metadata", f"{METADATA} cannot be read: {error}")
        return
    policies = about.get("policies") if isinstance(about, dict) else None
    task = about.get("language_instruction") if isinstance(about, dict) else None
    if not isinstance(policies, dict) or not isinstance(task, str) or not task.strip():
        yield Skipped(
            str(folder), "damaged_metadata", "it has no policies, or no language_instruction"
        )
        return
    for letter, graded in policies.items():
        if graded is not None:  # a policy that was planned and not run
            yield from _episode(folder, str(letter), graded, task.strip(), options)


def _episode(
    session: Path, letter: str, graded: Mapping[str, Any], task: str, options: ReadOptions
) -> Iterator[Item]:
    name = f"{session.name}_{letter}"
    partial = graded.get("partial_success") if isinstance(graded, dict) else None
    if isinstance(partial, bool) or not isinstance(partial, int | float) or not 0 <= partial <= 1:
        yield Skipped(name, "no_label", f"its partial_success is {partial!r}, not a number in 0..1")
        return
    folders = [p for p in session.iterdir() if p.is_dir() and p.name.startswith(f"{letter}_")]
    videos = [
        (camera, file)
        for camera in (CAMERAS if options.camera is None else (options.camera,))
        for file in sorted(f for p in folders for f in p.glob("*.mp4") if camera in f.name)
    ]
    if not videos:
        yield Skipped(name, "no_video", "there is no video of the cameras from outside")
    # 100 * 0.29 is 28.999..., and a cut at 29 would miss it.
    level = level_of(round(100 * partial, 6), options.progress_thresholds)
    for camera, file in videos:
        yield Example(
            video=video_of(file),
            task=task,
            reward=level,
            subset=options.subset or ROBOARENA,
            source_episode=name,
            kind="organic",
            original_task=task,
            check=f"A person graded the episode with {100 * partial:g} of 100, seen from the {camera}.",
            checked_by="person",
            licence=options.licence or LICENCE,
        )
