"""RLDS without TensorFlow: what tensorflow-datasets reads of real BridgeData, and every way in which a shard is broken."""

import hashlib
import io
import json
import re
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reward_models.data.example import Example, InvalidSource, Item, Skipped
from reward_models.data.open_x import SETS
from reward_models.data.rlds import read, task_of
from reward_models.data.sources import ReadOptions, read_source
from reward_models.data.tfrecord import masked_crc, parse_example, records

SHARED = Path(__file__).resolve().parents[2] / "shared/data"
BRIDGE = "octo_bridge_rlds/tests/debug_dataset/bridge_dataset/1.0.0"
GOLDEN = json.loads((Path(__file__).parent / "golden/octo_bridge.json").read_text())


def shared(name: str) -> Path:
    for root in (SHARED, Path(__file__).resolve().parents[3] / "shared/data"):
        if (root / name).exists():
            return root / name
    pytest.skip(
        f"needs shared/data/{name}, real data by others that is not part of this repository"
    )


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


@pytest.mark.parametrize("split", ["train", "val"])
def test_real_bridge_episodes_equal_what_tensorflow_datasets_reads(split: str) -> None:
    folder = shared(BRIDGE)
    found = list(records(folder / f"bridge_dataset-{split}.tfrecord-00000-of-00001"))
    assert len(found) == len(GOLDEN["splits"][split]) == 25
    for record, known in zip(found, GOLDEN["splits"][split], strict=True):
        features = parse_example(record.read())
        assert len(features["steps/is_first"]) == known["steps"]
        assert task_of(features) == known["language"]
        assert digest(features["steps/action"].tobytes()) == known["action_sha256"]  # type: ignore[union-attr]
        for key in ("image_0", "image_3"):
            assert digest(b"".join(features[f"steps/observation/{key}"])) == known[f"{key}_sha256"]


def test_real_bridge_pixels_equal_tensorflows_accurate_decoding() -> None:
    items = read_source(f"rlds:{shared(BRIDGE)}", ReadOptions(split="train"))
    for item, known in zip(items, GOLDEN["splits"]["train"], strict=True):
        assert isinstance(item, Example)
        frames = item.video.read().frames
        assert [digest(frames[i].tobytes()) for i in (0, -1)] == known["pixels_sha256"]
        assert (item.video.read().fps, item.reward, item.licence) == (5, 5, "CC-BY-4.0")


def test_a_dummy_camera_of_real_data_is_skipped() -> None:
    items = list(read_source(f"rlds:{shared(BRIDGE)}", ReadOptions(camera="image_3")))
    assert {item.rule for item in items if isinstance(item, Skipped)} == {"dummy_camera"}
    assert len(items) == 50


def test_the_table_has_the_28_sets_of_the_paper_and_bridges_newer_build() -> None:
    assert len(SETS) == 28 + 2
    assert sum(about.in_test for about in SETS.values()) == 22


# A small writer of TFRecord files, so that they can be broken.


def _varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _feature(values: Sequence[Any]) -> bytes:
    if isinstance(values[0], bytes):
        return _field(1, b"".join(_field(1, v) for v in values))
    if isinstance(values[0], float):
        return _field(2, _field(1, struct.pack(f"<{len(values)}f", *values)))
    return _field(3, _field(1, b"".join(_varint(int(v)) for v in values)))


def message(features: Mapping[str, Sequence[Any]]) -> bytes:
    entries = (_field(1, k.encode()) + _field(2, _feature(v)) for k, v in features.items())
    return _field(1, b"".join(_field(1, entry) for entry in entries))


def framed(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    crcs = (struct.pack("<I", masked_crc(part)) for part in (length, data))
    return length + next(crcs) + data + next(crcs)


def picture(value: int, size: tuple[int, int] = (16, 12)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, 10, 20)).save(buffer, "PNG")
    return buffer.getvalue()


def episode(task: str = "open the drawer", **more: Sequence[Any]) -> dict[str, Sequence[Any]]:
    return {
        "steps/is_first": [1, 0, 0],
        "steps/language_instruction": [task.encode()] * 3,
        "steps/observation/image": [picture(v) for v in (100, 110, 120)],
        **more,
    }


def data_set(
    folder: Path,
    shards: Sequence[bytes],
    lengths: Sequence[int],
    *,
    name: str = "cmu_play_fusion",
    images: Sequence[str] = ("image",),
    split: str = "train",
    **info: Any,
) -> Path:
    folder.mkdir()
    image = {
        "pythonClassName": "Image",
        "image": {"shape": {"dimensions": ["12", "16", "3"]}, "dtype": "uint8"},
    }
    observation = {"featuresDict": {"features": dict.fromkeys(images, image)}}
    steps = {"sequence": {"feature": {"featuresDict": {"features": {"observation": observation}}}}}
    features = {"featuresDict": {"features": {"steps": steps}}}
    (folder / "features.json").write_text(json.dumps(features))
    about = {"name": split, "shardLengths": [str(n) for n in lengths]}
    (folder / "dataset_info.json").write_text(json.dumps({"name": name, "splits": [about], **info}))
    for i, shard in enumerate(shards):
        (folder / f"{name}-{split}.tfrecord-{i:05d}-of-{len(lengths):05d}").write_bytes(shard)
    return folder


def rules(items: Sequence[Item]) -> Counter[str]:
    return Counter(item.rule if isinstance(item, Skipped) else "read" for item in items)


def test_numbers_of_both_signs_and_kinds_are_read() -> None:
    features = parse_example(message({"i": [1, -2, 2**40], "f": [0.5, -1.0], "b": [b"x\0", b""]}))
    assert features["i"].tolist() == [1, -2, 2**40]  # type: ignore[union-attr]
    assert features["f"].tolist() == [0.5, -1.0]  # type: ignore[union-attr]
    assert features["b"] == [b"x\0", b""]


def test_nothing_is_decoded_before_it_is_asked_for(tmp_path: Path) -> None:
    broken = episode()
    broken["steps/observation/image"] = [picture(100), b"no picture", picture(120)]
    items = list(read(data_set(tmp_path / "d", [framed(message(broken))], [1]), ReadOptions()))
    assert isinstance(items[0], Example)
    with pytest.raises(ValueError, match="cannot be read"):
        items[0].video.read()


def test_a_shard_cut_short_keeps_the_episodes_before_and_is_reported(tmp_path: Path) -> None:
    whole = framed(message(episode()))
    items = list(read(data_set(tmp_path / "d", [whole + whole[:-9]], [2]), ReadOptions()))
    assert rules(items) == {"read": 1, "damaged_record": 1}


def test_a_shard_that_ends_between_records_is_reported(tmp_path: Path) -> None:
    items = list(read(data_set(tmp_path / "d", [framed(message(episode()))], [3]), ReadOptions()))
    assert rules(items) == {"read": 1, "incomplete_shard": 1}


def test_a_flipped_bit_costs_its_episode_only(tmp_path: Path) -> None:
    whole = framed(message(episode()))
    flipped = bytearray(whole)
    flipped[len(flipped) // 2] ^= 1
    items = list(
        read(data_set(tmp_path / "d", [whole + bytes(flipped) + whole], [3]), ReadOptions())
    )
    assert rules(items) == {"read": 2, "damaged_record": 1}


def test_a_damaged_length_ends_the_shard_and_is_reported(tmp_path: Path) -> None:
    whole = framed(message(episode()))
    shard = whole + b"\xff" * 8 + whole[8:]
    items = list(read(data_set(tmp_path / "d", [shard], [2]), ReadOptions()))
    assert rules(items) == {"read": 1, "damaged_record": 1}


def test_a_missing_shard_keeps_the_numbers_of_the_episodes_after_it(tmp_path: Path) -> None:
    whole = framed(message(episode()))
    folder = data_set(tmp_path / "d", [whole * 2, whole], [2, 1])
    (folder / "cmu_play_fusion-train.tfrecord-00000-of-00002").unlink()
    items = list(read(folder, ReadOptions()))
    assert rules(items) == {"read": 1, "missing_shard": 1}
    assert items[1].source_episode.endswith("_index_2")  # type: ignore[union-attr]


def test_an_episode_without_a_task_is_reported_or_gets_the_given_one(tmp_path: Path) -> None:
    folder = data_set(tmp_path / "d", [framed(message(episode(task=" ")))], [1])
    assert rules(list(read(folder, ReadOptions()))) == {"no_task": 1}
    [item] = read(folder, ReadOptions(task="open it"))
    assert isinstance(item, Example)
    assert item.task == "open it"


def test_the_first_of_several_tasks_that_is_not_empty_counts(tmp_path: Path) -> None:
    del tmp_path
    features = parse_example(
        message(episode(task="", **{"steps/language_instruction_2": [b"close it"]}))
    )
    assert task_of(features) == "close it"
    codes = [ord(c) for c in "push"] + [0] * 4
    features = parse_example(
        message({"steps/is_first": [1, 0], "steps/observation/instruction": codes * 2})
    )
    assert task_of(features) == "push"


@pytest.mark.parametrize(
    ("name", "split", "more"),
    [
        ("droid", "train", {"episode_metadata/file_path": [b"/lab/failure/2023/x.h5"]}),
        ("soar", "failure", {}),
        ("kuka", "train", {"success": [0]}),
    ],
)
def test_episodes_that_say_they_failed_are_no_successes(
    tmp_path: Path, name: str, split: str, more: dict[str, Any]
) -> None:
    data = [framed(message(episode(**more)))]
    folder = data_set(tmp_path / "d", data, [1], name=name, split=split)
    items = list(read(folder, ReadOptions(fps=5.0, camera="image")))
    assert rules(items) == {"failed_episode": 1}


def test_exchanged_colours_of_nyu_rot_are_put_right(tmp_path: Path) -> None:
    name = "nyu_rot_dataset_converted_externally_to_rlds"
    [item] = read(
        data_set(tmp_path / "d", [framed(message(episode()))], [1], name=name), ReadOptions()
    )
    assert isinstance(item, Example)
    assert item.video.read().frames[0, 0, 0].tolist() == [20, 10, 100]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fileFormat": "array_record"}, "array_record"),
        ({"name": "my_own_set"}, "frame rate"),
        ({"images": ("left", "right")}, "--read.camera"),
        ({"splits": [{"name": "train"}]}, "damaged"),
        ({"splits": [{"name": "a", "shardLengths": ["1"], "filepathTemplate": "{0}"}]}, "damaged"),
    ],
)
def test_what_cannot_be_read_at_all_is_an_error(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    folder = data_set(tmp_path / "d", [framed(message(episode()))], [1], **change)
    with pytest.raises(InvalidSource, match=words):
        read(folder, ReadOptions())


@pytest.mark.parametrize(
    "image",
    [None, {}, {"shape": None}, {"shape": {"dimensions": []}}, {"shape": {"dimensions": {}}}],
)
def test_a_damaged_description_of_a_camera_is_an_error(tmp_path: Path, image: Any) -> None:
    folder = data_set(tmp_path / "d", [framed(message(episode()))], [1])
    path = folder / "features.json"
    path.write_text(re.sub(r'"image": {"shape.*?"uint8"}', f'"image": {json.dumps(image)}', path.read_text()))  # fmt: skip
    with pytest.raises(InvalidSource):
        read(folder, ReadOptions())


def test_metadata_that_are_nested_too_deeply_are_an_error(tmp_path: Path) -> None:
    folder = data_set(tmp_path / "d", [framed(message(episode()))], [1])
    (folder / "features.json").write_text("[" * 100_000)
    with pytest.raises(InvalidSource, match="cannot be read"):
        read(folder, ReadOptions())


@pytest.mark.parametrize("values", [[-1, -2], [2**62, 1], [0.5, float("nan")]])
def test_numbers_that_are_no_text_are_no_task(tmp_path: Path, values: list[Any]) -> None:
    wrong = episode(**{"steps/is_first": [1], "steps/language_instruction": values})
    items = list(read(data_set(tmp_path / "d", [framed(message(wrong))], [1]), ReadOptions()))
    assert rules(items) == {"no_task": 1}


def test_a_broken_png_costs_its_episode_only(tmp_path: Path) -> None:
    png = bytearray(picture(100))
    at = png.index(b"IDAT")
    png[at - 4 : at] = (int.from_bytes(png[at - 4 : at], "big") // 2).to_bytes(4, "big")
    broken = bytes(png)  # Pillow says SyntaxError
    wrong = episode(**{"steps/observation/image": [broken] * 3})
    shard = framed(message(wrong)) + framed(message(episode()))
    items = list(read(data_set(tmp_path / "d", [shard], [2]), ReadOptions()))
    assert rules(items) == {"damaged_image": 1, "read": 1}


def test_an_unknown_split_names_those_that_there_are(tmp_path: Path) -> None:
    folder = data_set(tmp_path / "d", [framed(message(episode()))], [1])
    with pytest.raises(InvalidSource, match="no split test; it has train"):
        read(folder, ReadOptions(split="test"))


def test_pictures_of_several_sizes_are_an_error_of_the_video(tmp_path: Path) -> None:
    sizes = episode(**{"steps/observation/image": [picture(90), picture(90, (8, 8))]})
    [item] = read(data_set(tmp_path / "d", [framed(message(sizes))], [1]), ReadOptions())
    assert isinstance(item, Example)
    with pytest.raises(ValueError, match="different sizes"):
        item.video.read()


def test_numpy_is_what_comes_out(tmp_path: Path) -> None:
    [item] = read(data_set(tmp_path / "d", [framed(message(episode()))], [1]), ReadOptions())
    assert isinstance(item, Example)
    video = item.video.read()
    assert (video.frames.dtype, video.frames.shape, video.fps) == (np.uint8, (3, 12, 16, 3), 5.0)
