"""Folders with labelled videos as questions: the published layout, or simulated reward data."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import av
import numpy as np

from reward_models.data import published
from reward_models.data.example import Example, Skipped, Video
from reward_models.data.reward_data import RewardData
from reward_models.data.sampling import balanced_sample
from reward_models.data.sources import ReadOptions
from reward_models.protocol.frames import (
    ROBOREWARD_PROTOCOL,
    TOKEN_PIXELS,
    SampledClip,
    VideoProtocol,
    resized_size,
    sample_clip,
)
from reward_models.training.errors import InvalidTrainingData
from reward_models.training.questions import TrainingSet, score_question
from reward_models.video.decode import open_video
from roboreward_gym.errors import InvalidSetting, RoboRewardError

logger = logging.getLogger(__name__)

ANY_TASK = "any"
"""What a model sees of a video does not depend on the task."""
VALIDATION = ("val", "validation")
VALIDATION_SEED = 0
"""Seed of the draw of validation examples: the same for every run, so that runs can be compared."""
SHOWN = 3
"""How many broken rows a message names."""


def open_training_data(
    folders: Sequence[Path], validation_examples: int
) -> tuple[TrainingSet, TrainingSet | None]:
    """Read training and validation examples.

    Args:
        folders: All in the published layout, or all simulated reward data.
        validation_examples: How many to validate on, at most; 0 for no validation.

    Raises:
        InvalidTrainingData: No data, data of both layouts, rows that cannot be trained on, or an empty split.
        InvalidData: Simulated reward data that is incomplete.
    """
    if not folders:
        raise InvalidTrainingData("There is no data. Name its folders: --data DIR.")
    layouts = {folder: _layout(folder) for folder in folders}
    if len(set(layouts.values())) > 1:
        listed = ", ".join(f"{folder} is {layout}" for folder, layout in layouts.items())
        raise InvalidTrainingData(
            f"The folders have different layouts: {listed}. Bring them into one: "
            "roboreward augment --source simulator:FOLDER writes the published layout."
        )
    read = _simulated if layouts[folders[0]] == "simulated" else _published
    splits = read(folders)
    train, validation = splits.get("train"), splits.get("validation")
    named = ", ".join(map(str, folders))
    if train is None or not train.questions:
        raise InvalidTrainingData(f"The split `train` of {named} has no examples.")
    if validation_examples == 0:
        return train, None
    if validation is None or not validation.questions:
        raise InvalidTrainingData(
            f"There are no validation examples in {named}, so no checkpoint can be chosen. Add a split "
            "`val`, or train without: --validation-examples 0."
        )
    subsets = [question.subset for question in validation.questions]
    chosen = choose_validation(subsets, validation_examples)
    return train, TrainingSet(validation.clips, [validation.questions[i] for i in chosen])


def choose_validation(subsets: Sequence[str], count: int) -> np.ndarray:
    """Choose examples to validate on: as many of every subset, the same for every run.

    Raises:
        InvalidSetting: Not even one of every subset.
    """
    groups = len(set(subsets))
    if count < groups:
        raise InvalidSetting(
            f"validation_examples is {count}, but the validation split has {groups} subsets. Choose "
            f"{groups} or more."
        )
    return balanced_sample(subsets, count, VALIDATION_SEED)


def training_data_sha256(*sets: TrainingSet | None) -> str:
    """Fingerprint of all questions and answers, wherever they lie; without the pixels."""
    digest = hashlib.sha256()
    for data in sets:
        for question in data.questions if data else ():
            digest.update(f"{replace(question, name='')}\n".encode())
        digest.update(b"\n")
    return digest.hexdigest()


def _layout(folder: Path) -> str:
    simulated = (folder / "clips.jsonl").is_file()
    rows = any((folder / name / published.METADATA).is_file() for name in published.SPLIT_FOLDERS)
    if simulated and rows:
        raise InvalidTrainingData(
            f"{folder} holds both clips.jsonl and {published.METADATA}. Keep one layout to a folder."
        )
    if simulated:
        return "simulated"
    if rows:
        return "published"
    if (folder / published.METADATA).is_file():
        raise InvalidTrainingData(
            f"{folder} is a single split. Name the folder that holds `train` and `val`."
        )
    raise InvalidTrainingData(
        f"{folder} holds no reward data: neither train/{published.METADATA} nor clips.jsonl. Make some: "
        "roboreward augment."
    )


def _simulated(folders: Sequence[Path]) -> Mapping[str, TrainingSet]:
    splits = RewardData.open_splits(folders)
    return {split: simulated_set(data) for split, data in splits.items()}


def simulated_set(data: RewardData) -> TrainingSet:
    """Ask for the scores of simulated clips."""
    questions = [
        score_question(e.clip, e.task, e.level, subset, f"{data.clips[e.clip].episode}#{i}")
        for i, (e, subset) in enumerate(zip(data.examples, data.subsets, strict=True))
    ]
    return TrainingSet(SimulatedClips(data), questions)


def _published(folders: Sequence[Path]) -> Mapping[str, TrainingSet]:
    found: dict[str, list[Example]] = {"train": [], "validation": []}
    broken: list[Skipped] = []
    for folder in folders:
        for split in ("train", *VALIDATION):
            if not (folder / split / published.METADATA).is_file():
                continue
            name = "train" if split == "train" else "validation"
            for item in published.read(folder, ReadOptions(split=split)):
                if isinstance(item, Example) and item.reward is not None:
                    found[name].append(item)
                elif isinstance(item, Example):
                    broken.append(Skipped(item.video.where, "no_reward", "the row has no reward"))
                elif item.rule != "empty_split":
                    broken.append(item)
    if broken:
        shown = "; ".join(f"{item.where}: {item.why}" for item in broken[:SHOWN])
        raise InvalidTrainingData(
            f"{len(broken)} rows cannot be trained on, among them {shown}. Correct or remove them."
        )
    _warn_about_leaks(found)
    return {split: example_set(items) for split, items in found.items()}


def _warn_about_leaks(splits: Mapping[str, Sequence[Example]]) -> None:
    train, validation = (
        {(e.subset, e.source_episode) for e in splits[name]} for name in ("train", "validation")
    )
    if shared := sorted(train & validation):
        logger.warning(
            "%d episodes are in both splits, such as %s: validation errors will be too low. Divide the data "
            "by episodes, as roboreward augment does.",
            len(shared),
            "/".join(shared[0]),
        )


def example_set(items: Sequence[Example]) -> TrainingSet:
    """Ask for the scores of labelled videos; rows of one file share a clip.

    Raises:
        InvalidTrainingData: A task that cannot stand in a prompt.
    """
    clips: dict[str, int] = {}
    videos, questions = [], []
    for item in items:
        where = item.video.where
        if where not in clips:
            clips[where] = len(videos)
            videos.append(item.video)
        try:
            question = score_question(clips[where], item.task, item.reward or 0, item.subset, where)
        except RoboRewardError as error:
            raise InvalidTrainingData(f"{where}: {error}") from error
        questions.append(question)
    return TrainingSet(VideoClips(tuple(videos)), questions)


@dataclass(frozen=True, eq=False)
class VideoClips:
    """Clips that are decoded when they are needed."""

    videos: tuple[Video, ...]
    protocol: VideoProtocol = ROBOREWARD_PROTOCOL

    def __len__(self) -> int:
        """How many there are."""
        return len(self.videos)

    def sampled(self, clip: int) -> SampledClip:
        """Decode a video and sample it as for scoring."""
        video = self.videos[clip]
        try:
            return sample_clip(video.read().clip(ANY_TASK), self.protocol)
        except RoboRewardError as error:
            raise InvalidTrainingData(f"{video.where} cannot be trained on: {error}") from error

    def fingerprint(self, clip: int) -> str:
        """Hash of the file and of the version of the decoder, or of the frames where there is no file."""
        video = self.videos[clip]
        if video.file is None:
            return clip_sha256(self.sampled(clip))
        digest = hashlib.sha256(av.__version__.encode())
        with video.file.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    def visual_tokens(self, clip: int) -> int:
        """Count them by what the header says."""
        file = self.videos[clip].file
        if file is None:
            return 0
        with open_video(file) as video:
            stream = video.stream
            if not stream.frames or not video.rates:
                return 0
            frames = len(self.protocol.frame_indices(stream.frames, float(video.rates[0])))
            return visual_tokens(frames, stream.height, stream.width, self.protocol)


@dataclass(frozen=True, eq=False)
class SimulatedClips:
    """Clips of simulated reward data."""

    data: RewardData
    protocol: VideoProtocol = ROBOREWARD_PROTOCOL

    def __len__(self) -> int:
        """How many there are."""
        return len(self.data.clips)

    def sampled(self, clip: int) -> SampledClip:
        """Read the stored frames."""
        return self.data.sampled(clip, ANY_TASK, self.protocol)

    def fingerprint(self, clip: int) -> str:
        """Hash of the frames: names and times of files would say nothing about what is in them."""
        return clip_sha256(self.sampled(clip))

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        return self.data.stored(0).shape

    def visual_tokens(self, clip: int) -> int:
        """Count them by the shape of the stored frames, which all clips have."""
        return visual_tokens(*self._shape[:3], self.protocol)


def visual_tokens(
    frames: int, height: int, width: int, protocol: VideoProtocol = ROBOREWARD_PROTOCOL
) -> int:
    """Number of visual tokens of so many sampled frames."""
    h, w = resized_size(frames, height, width, protocol)
    return -(-frames // 2) * (h // TOKEN_PIXELS) * (w // TOKEN_PIXELS)


def clip_sha256(clip: SampledClip) -> str:
    """Hash of sampled frames and their times."""
    frames = np.ascontiguousarray(clip.frames)
    digest = hashlib.sha256(f"{clip.fps} {clip.indices.tolist()} {frames.shape}".encode())
    digest.update(frames)
    return digest.hexdigest()
