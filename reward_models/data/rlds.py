"""RLDS data sets, such as those of Open X-Embodiment, as `tensorflow-datasets` writes them: folders of TFRecord files.

Pictures are decoded by Pillow: equal to TensorFlow's accurate decoding of JPEG; TensorFlow's default is a faster one, whose
values differ by 2 of 255 levels on average.
"""

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reward_models.data.example import Example, Frames, InvalidSource, Item, Skipped, Video
from reward_models.data.open_x import SETS, TASK_KEYS, OpenXSet
from reward_models.data.sources import ReadOptions
from reward_models.data.tfrecord import DamagedRecord, Record, Values, parse_example, records
from reward_models.video.images import BROKEN_IMAGE
from reward_models.video.recording import InvalidVideo
from roboreward_gym.types import LEVELS

INFO, FEATURES = "dataset_info.json", "features.json"
OBSERVATION = "steps/observation/"
BLACK = 8
"""A view whose first picture is nowhere brighter stands for a missing camera."""
LICENCES = {"bridge": "CC-BY-4.0", "bridge_dataset": "CC-BY-4.0", "bridge_orig": "CC-BY-4.0"}


@dataclass(frozen=True)
class RldsFolder:
    """A data set of one version.

    Attributes:
        path: The folder.
        name: Its name.
        splits: Shards of each split with the number of records that each should have.
        cameras: Keys of colour images in an observation.
    """

    path: Path
    name: str
    splits: Mapping[str, tuple[tuple[Path, int], ...]]
    cameras: tuple[str, ...]

    @classmethod
    def open(cls, path: Path) -> "RldsFolder":
        """Read the metadata of `<name>/<version>`, or of `<name>` with one version in it.

        Raises:
            InvalidSource: Missing or damaged metadata, or another file format than TFRecord.
        """
        if not (path / INFO).is_file():
            inside = sorted(p.parent for p in path.glob(f"*/{INFO}"))
            if len(inside) != 1:
                raise InvalidSource(
                    f"{path} is not an RLDS data set: it has no {INFO}, and {len(inside)} versions in it have one. "
                    "Name the folder of a version, such as bridge_dataset/1.0.0."
                )
            path = inside[0]
        info, features = _json(path / INFO), _json(path / FEATURES)
        form = info.get("fileFormat", "tfrecord")
        if form != "tfrecord":
            raise InvalidSource(
                f"{path} has files of the format {form}. Only tfrecord can be read: convert it with "
                "tensorflow-datasets."
            )
        try:
            name = str(info["name"])
            splits = {s["name"]: tuple(_shards(path, name, s)) for s in info["splits"]}
            leaves = dict(_leaves("", features))
            keys = [k for k, it in leaves.items() if k.startswith(OBSERVATION) and _is_colour(it)]
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise InvalidSource(
                f"The metadata in {path} are damaged: {error!r}. Fetch them again."
            ) from error
        return cls(path, name, splits, tuple(key.removeprefix(OBSERVATION) for key in keys))


def read(path: Path, options: ReadOptions) -> Iterator[Item]:
    """Yield every episode as a success, as RoboReward took them, except those that say otherwise.

    Raises:
        InvalidSource: No such data set or split, several views and none known as the main one, or no frame rate.
    """
    folder = RldsFolder.open(path)
    about = SETS.get(folder.name)
    fps = options.fps or (about.hz if about else None)
    if fps is None:
        raise InvalidSource(
            f"{folder.name} is not in the table of known sets, and its files have no frame rate. Pass "
            "--read.fps, the control rate in Hz."
        )
    camera = _camera(folder, about, options.camera)
    if options.split is not None and options.split not in folder.splits:
        raise InvalidSource(
            f"{folder.path} has no split {options.split}; it has {', '.join(folder.splits)}."
        )
    return _read(folder, about, camera, fps, options)


def _read(
    folder: RldsFolder, about: OpenXSet | None, camera: str, fps: float, options: ReadOptions
) -> Iterator[Item]:
    for split, shards in folder.splits.items():
        if options.split not in (None, split):
            continue
        index = 0
        for path, promised in shards:
            if not path.is_file():
                yield Skipped(
                    str(path), "missing_shard", f"{path.name} with {promised} episodes is missing"
                )
                index += promised
                continue
            found = 0
            for record in records(path):
                yield _episode(folder, about, camera, fps, options, record, split, index + found)
                found += 1
            if found != promised:
                why = f"{path.name} has {found} episodes; {INFO} promises {promised}"
                yield Skipped(str(path), "incomplete_shard", why)
            index += promised


def _episode(
    folder: RldsFolder,
    about: OpenXSet | None,
    camera: str,
    fps: float,
    options: ReadOptions,
    record: Record,
    split: str,
    index: int,
) -> Item:
    # The name that the published data set gives to such an episode.
    name = f"{folder.name}_originalsplit_{split}_index_{index}"
    try:
        features = parse_example(record.read())
    except DamagedRecord as error:
        return Skipped(name, "damaged_record", str(error))
    except InvalidSource as error:
        return Skipped(name, "unreadable_record", str(error))
    task = task_of(features) or options.task
    if not task:
        return Skipped(
            name, "no_task", "the episode has no task; pass --read.task for all such episodes"
        )
    if has_failed(features, split):
        return Skipped(name, "failed_episode", "it is marked as a failure, and of no known level")
    pictures = features.get(OBSERVATION + camera)
    if not isinstance(pictures, list) or not pictures:
        return Skipped(name, "no_images", f"it has no images of {camera}")
    try:
        if _image(pictures[0]).max() < BLACK:
            return Skipped(name, "dummy_camera", f"{camera} is black: there was no such camera")
    except InvalidVideo as error:
        return Skipped(name, "damaged_image", str(error))
    bgr = about is not None and about.bgr
    return Example(
        video=Video(
            f"{record.path}@{record.offset}", partial(_frames, record, camera, fps, bgr=bgr)
        ),
        task=task,
        reward=LEVELS[-1],
        subset=options.subset or folder.name,
        source_episode=name,
        kind="original",
        original_task=task,
        licence=options.licence or LICENCES.get(folder.name, ""),
    )


def task_of(features: Mapping[str, Values]) -> str:
    """Return the first task that an episode states and that is not empty; empty if there is none."""
    for key in TASK_KEYS:
        values = features.get(f"steps/{key}")
        if isinstance(values, np.ndarray):  # language_table: code points, padded by zeros
            steps = max(len(features.get("steps/is_first", ())), 1)
            text = _from_code_points(values[: len(values) // steps])
        else:
            text = values[0].decode("utf-8", errors="replace") if values else ""
        if text.strip():
            return text.strip()
    return ""


def _from_code_points(values: np.ndarray) -> str:
    try:
        return "".join(map(chr, values)).rstrip("\0")
    except (ValueError, OverflowError, TypeError):  # numbers that are not text
        return ""


def has_failed(features: Mapping[str, Values], split: str) -> bool:
    """Whether an episode is known as a failure: by its split (SOAR), its file (DROID), or a flag (kuka, bc_z)."""
    path = b"".join(_bytes(features.get("episode_metadata/file_path")))
    flags = [
        features.get(key)
        for key in ("success", "steps/observation/episode_success", "episode_metadata/success")
    ]
    flagged = any(isinstance(f, np.ndarray) and len(f) > 0 and not f[-1] for f in flags)
    return split == "failure" or b"/failure/" in path or flagged


def _bytes(values: Values | None) -> list[bytes]:
    return values if isinstance(values, list) else []


def _frames(record: Record, camera: str, fps: float, *, bgr: bool) -> Frames:
    pictures = _bytes(parse_example(record.read()).get(OBSERVATION + camera))
    images = [_image(picture) for picture in pictures]
    if len({image.shape for image in images}) != 1:
        raise InvalidVideo(f"The pictures of {camera} in {record} have different sizes.")
    frames = np.stack(images)
    return Frames(frames[..., ::-1] if bgr else frames, fps)


def _image(data: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except BROKEN_IMAGE as error:
        raise InvalidVideo(f"A picture of the record cannot be read: {error}.") from error


def _camera(folder: RldsFolder, about: OpenXSet | None, wanted: str | None) -> str:
    chosen = wanted or (about.camera if about else None)
    if chosen is None and len(folder.cameras) == 1:
        return folder.cameras[0]
    if chosen in folder.cameras:
        return chosen
    raise InvalidSource(
        f"{folder.name} has the cameras {', '.join(folder.cameras) or 'none'}"
        f"{f', and no {chosen}' if chosen else ''}. Pass one of them as --read.camera."
    )


def _shards(path: Path, name: str, split: Mapping[str, Any]) -> Iterator[tuple[Path, int]]:
    template = split.get("filepathTemplate") or "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    lengths = [int(length) for length in split["shardLengths"]]
    for number, length in enumerate(lengths):
        file = template.format(
            DATASET=name,
            SPLIT=split["name"],
            FILEFORMAT="tfrecord",
            SHARD_X_OF_Y=f"{number:05d}-of-{len(lengths):05d}",
        )
        yield path / file, length


def _leaves(prefix: str, node: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Path and description of every feature that is not a dictionary."""
    inner = node.get("sequence", {}).get("feature", node)
    children = inner.get("featuresDict", {}).get("features")
    if children is None:
        yield prefix.rstrip("/"), inner
        return
    for name, child in children.items():
        yield from _leaves(f"{prefix}{name}/", child)


def _is_colour(leaf: Mapping[str, Any]) -> bool:
    image = leaf.get("image")
    if image is None:
        return False
    return image.get("dtype", "uint8") == "uint8" and image["shape"]["dimensions"][-1] == "3"


def _json(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidSource(f"{path} cannot be read: {error}.") from error
    if not isinstance(value, dict):
        raise InvalidSource(f"{path} is not a JSON object.")
    return value
