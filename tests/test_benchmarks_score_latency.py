import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from benchmarks import score_latency, wrapper_path
from benchmarks.score_latency import (
    Cell,
    LatencyConfig,
    Table,
    add_ratios,
    main,
    summarize,
)
from benchmarks.wrapper_path import WrapperPath
from reward_models.nano import WEIGHTS
from roboreward_gym import Clip
from tests.tiny_vlm import random_clip

SMALL = {"frames": (4,), "sizes": ((64, 96),), "batches": (1, 2), "repeats": 1}


def test_the_comparison_writes_its_ratios_and_goes_on_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_latency, "describe_machine", lambda _: {"device": "test"})
    monkeypatch.setattr(wrapper_path, "PREFIXES", 2)
    monkeypatch.setattr(wrapper_path, "MAX_NEW_TOKENS", 6)
    config = LatencyConfig(weights=("nano",), out=tmp_path, **SMALL)
    main(replace(config, batches=(1,)))
    first = json.loads((tmp_path / "score_latency.json").read_text())["table"]
    main(config)
    result = json.loads((tmp_path / "score_latency.json").read_text())
    for name in ("ratio_vs_generate", "ratio_vs_ten_prefixes", "ratio_to_bare_forward"):
        assert result[name] > 0
    ratios = result["table"][1]["ratios"]  # the summary leaves them out where a core was busy
    assert ratios["batch2_ratio_vs_single"] > 0
    assert ratios["batch2_ratio_vs_single_on_all_cores"] > 0
    assert result["device"] == "test"
    assert [row["batch"] for row in result["table"]] == [1, 2]
    assert result["table"][0] == first[0], "not measured again"
    assert 1 <= first[0]["generated_tokens"] <= 6
    assert "nano 4x96x64 batch 2" in capsys.readouterr().out


def test_cells_of_another_machine_are_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell("nano", 4, 64, 96, 1)
    config = LatencyConfig(weights=("nano",), out=tmp_path, **SMALL)
    path = tmp_path / "score_latency.json"
    times = dict.fromkeys(("ours_ms_per_clip", "ours_wall_ms_per_clip", "forward_ms_per_clip"), 1)
    Table(path, config).add({**cell._asdict(), **times})
    assert Table(path, config).has(cell)
    monkeypatch.setattr(score_latency, "describe_machine", lambda _: {"device": "another"})
    assert not Table(path, config).has(cell)


def test_no_cell_is_begun_behind_the_limit(tmp_path: Path) -> None:
    main(LatencyConfig(out=tmp_path, limit_s=-1.0, **SMALL))
    assert not list(tmp_path.iterdir())


def test_ratios_of_each_cell_their_median_and_the_worst() -> None:
    def row(frames: int, batch: int, ours: float, wall: float, **others: float) -> dict[str, Any]:
        times = {"ours": ours, "ours_wall": wall, **others}
        cell = Cell("nano", frames, 8, 8, batch)._asdict()
        return {**cell, **{f"{key}_ms_per_clip": value for key, value in times.items()}}

    rows = [
        row(8, 1, 10.0, 11.0, forward=8.0, generate=30.0, ten_prefixes=200.0),
        row(
            8,
            32,
            9.0,
            5.0,
            forward=9.0,
            generate=45.0,
            single_wall=11.0,
            single_on_all_cores_wall=6.0,
        ),
        row(32, 1, 20.0, 22.0, forward=16.0, generate=100.0),
    ]
    add_ratios(rows)
    assert rows[0]["ratios"] == {
        "ratio_to_bare_forward": 1.25,
        "ratio_vs_generate": 3.0,
        "ratio_vs_ten_prefixes": 20.0,
    }
    # Ten prefixes take as many times `generate` as for a single clip; beside single clips the wall counts.
    assert rows[1]["ratios"] == {
        "ratio_to_bare_forward": 1.0,
        "ratio_vs_generate": 5.0,
        "ratio_vs_ten_prefixes": 33.33,
        "batch32_ratio_vs_single": 2.2,
        "batch32_ratio_vs_single_on_all_cores": 1.2,
        "cores_used": 1.8,
    }
    summary = summarize(rows)
    assert summary["ratio_to_bare_forward"] == summary["ratio_to_bare_forward_worst"] == 1.25
    assert (summary["ratio_vs_generate"], summary["ratio_vs_generate_worst"]) == (5.0, 3.0)
    assert summary["batch32_ratio_vs_single"] == 2.2
    rows[1]["cores"] = 4
    disturbed = summarize(rows)
    assert "batch32_ratio_vs_single" not in disturbed, "it got 1.8 of 4 cores"
    assert disturbed["ratio_vs_generate"] == 5.0


def test_a_single_clip_is_given_all_cores_and_only_then(monkeypatch: pytest.MonkeyPatch) -> None:
    seen_threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", seen_threads.append)
    monkeypatch.setattr(score_latency, "free_cores", lambda: 4)

    class Model:
        def score(self, clips: list[Clip]) -> None:
            seen_threads.append(-len(clips))

    score_latency.score_on_all_cores(Model(), [random_clip(4)], 1)  # ty: ignore[invalid-argument-type]
    assert seen_threads == [4, -1, 1]


def test_the_wrappers_way_enlarges_frames_and_shows_the_video_first() -> None:
    original = Qwen3VLForConditionalGeneration.from_pretrained(WEIGHTS).float()
    processor = Qwen3VLProcessor.from_pretrained(WEIGHTS, local_files_only=True)
    inputs = WrapperPath(original, processor)._inputs(random_clip(8, size=(192, 320)))
    # 540 visual tokens, where the published protocol needs 240.
    assert inputs["video_grid_thw"].tolist() == [[4, 18, 30]]
    kinds = np.asarray(inputs["mm_token_type_ids"][0])
    assert kinds.argmax() < 20


@pytest.mark.parametrize("field", ["repeats", "threads"])
def test_nothing_is_measured_zero_times(field: str) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        LatencyConfig(**{field: 0})


def test_a_published_shape_is_timed_with_random_weights(tmp_path: Path) -> None:
    main(LatencyConfig(shape="tiny", out=tmp_path, **SMALL))
    result = json.loads((tmp_path / "score_latency_tiny.json").read_text())
    assert [row["batch"] for row in result["table"]] == [1, 2]
    assert all(row["weights"] == "tiny" for row in result["table"])
    assert result["table"][0]["ours_p95_wall_ms"] >= result["table"][0]["ours_wall_ms_per_clip"]
    assert "ratio_to_bare_forward" in result
    assert "ratio_vs_generate" not in result
