"""Small LeRobot data sets written without LeRobot: each frame tells its place in the whole set by its brightness."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.video_files import flat_frames, write_video

CAMERA = "observation.images.top"
LENGTHS = (5, 7, 10, 8)
FPS = 5
TASKS = ("open the drawer", "shut the drawer")


def frames_of(episode: int) -> list[int]:
    """Numbers of the frames of an episode in the whole set."""
    start = sum(LENGTHS[:episode])
    return list(range(start, start + LENGTHS[episode]))


def task_of(episode: int) -> str:
    return TASKS[episode % len(TASKS)]


def write_info(folder: Path, version: str, **changes: Any) -> None:
    """Write `meta/info.json`; a change to None leaves the entry out."""
    info = {
        "codebase_version": version,
        "fps": FPS,
        "total_episodes": len(LENGTHS),
        "features": {CAMERA: {"dtype": "video", "shape": [32, 48, 3]}},
        **changes,
    }
    (folder / "meta").mkdir(parents=True, exist_ok=True)
    text = json.dumps({key: value for key, value in info.items() if value is not None})
    (folder / "meta/info.json").write_text(text)


def write_v3(
    folder: Path,
    *,
    lost: Sequence[int] = (),
    drift_s: float | Sequence[float] = 0.0,
    to_timestamp_frames: int = 0,
    as_images: bool = False,
    task_column: str = "task",
    labels: Sequence[str] = (),
) -> Path:
    """Write a data set of version 3.

    Args:
        folder: New folder.
        lost: Episodes that are missing in the metadata, while their frames and rows are there.
        drift_s: What is wrong with `from_timestamp`, in all episodes or in each.
        to_timestamp_frames: What is wrong with `to_timestamp`.
        as_images: Whether frames lie in the rows.
        task_column: Name of the column with texts in `tasks.parquet`.
        labels: Further "tasks" of each episode.
    """
    feature = {"dtype": "image" if as_images else "video", "shape": [32, 48, 3]}
    write_info(folder, "v3.0", features={CAMERA: feature})
    frames = flat_frames(sum(LENGTHS))
    if not as_images:
        video = folder / f"videos/{CAMERA}/chunk-000/file-000.mp4"
        video.parent.mkdir(parents=True)
        write_video(video, frames, FPS)
    drifts = [drift_s] * len(LENGTHS) if isinstance(drift_s, float) else list(drift_s)
    about, rows = [], []
    for episode, length in enumerate(LENGTHS):
        numbers = frames_of(episode)
        rows += [
            row_of(episode, i, frames[n] if as_images else None) for i, n in enumerate(numbers)
        ]
        if episode in lost:
            continue
        start = numbers[0] / FPS
        about.append(
            {
                "episode_index": episode,
                "tasks": [task_of(episode), *labels],
                "length": length,
                "data/chunk_index": 0,
                "data/file_index": 0,
                "dataset_from_index": numbers[0],
                f"videos/{CAMERA}/chunk_index": 0,
                f"videos/{CAMERA}/file_index": 0,
                f"videos/{CAMERA}/from_timestamp": max(start + drifts[episode], 0.0),
                f"videos/{CAMERA}/to_timestamp": start + (length + to_timestamp_frames) / FPS,
                "stats/action/min": [0.0],
            }
        )
    write_parquet(folder / "data/chunk-000/file-000.parquet", rows)
    write_parquet(folder / "meta/episodes/chunk-000/file-000.parquet", about)
    texts = [{"task_index": i, task_column: text} for i, text in enumerate([*TASKS, *labels])]
    write_parquet(folder / "meta/tasks.parquet", texts)
    return folder


def write_v2(folder: Path, version: str = "v2.1", labels: Sequence[str] = ()) -> Path:
    """Write a data set of version 2, a video and a Parquet file per episode."""
    write_info(folder, version)
    frames = flat_frames(sum(LENGTHS))
    lines = []
    for episode, length in enumerate(LENGTHS):
        video = folder / f"videos/chunk-000/{CAMERA}/episode_{episode:06}.mp4"
        video.parent.mkdir(parents=True, exist_ok=True)
        write_video(video, frames[frames_of(episode)], FPS)
        rows = [row_of(episode, i) for i in range(length)]
        write_parquet(folder / f"data/chunk-000/episode_{episode:06}.parquet", rows)
        tasks = [task_of(episode), *labels]
        lines.append({"episode_index": episode, "tasks": tasks, "length": length})
    texts = [{"task_index": i, "task": text} for i, text in enumerate([*TASKS, *labels])]
    for name, table in {"episodes": lines, "tasks": texts}.items():
        (folder / f"meta/{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    return folder


def row_of(episode: int, frame: int, image: np.ndarray | None = None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "episode_index": episode,
        "frame_index": frame,
        "index": frames_of(episode)[frame],
        "timestamp": frame / FPS,
        "task_index": episode % len(TASKS),
    }
    if image is not None:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        row[CAMERA] = {"bytes": buffer.getvalue(), "path": f"frame-{frame:06}.png"}
    return row


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
