import json
from pathlib import Path

import numpy as np
import pytest
from transformers import Qwen3VLForConditionalGeneration

from benchmarks import score_latency, wrapper_path
from benchmarks.score_latency import LatencyConfig, main, summarize
from benchmarks.wrapper_path import WrapperPath
from reward_models.nano import WEIGHTS
from reward_models.roboreward import RoboReward
from tests.tiny_vlm import random_clip

SMALL = {"frames": (4,), "sizes": ((64, 96),), "batches": (1, 2), "repeats": 1}


def test_the_comparison_writes_its_ratios(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_latency, "describe_machine", lambda _: {"device": "test"})
    monkeypatch.setattr(wrapper_path, "PREFIXES", 2)
    monkeypatch.setattr(wrapper_path, "MAX_NEW_TOKENS", 6)
    main(LatencyConfig(weights=("nano",), out=tmp_path, **SMALL))
    result = json.loads((tmp_path / "score_latency.json").read_text())
    for name in ("ratio_vs_generate", "ratio_vs_ten_prefixes", "ratio_to_bare_forward"):
        assert result[name] > 0
    assert result["batch2_ratio_vs_single"] > 0
    assert result["device"] == "test"
    assert [row["batch"] for row in result["table"]] == [1, 2]
    assert 1 <= result["table"][0]["generated_tokens"] <= 6
    assert "nano 4x96x64 batch 2" in capsys.readouterr().out


def test_ratios_are_medians_over_cells() -> None:
    def row(frames: int, batch: int, ours: float, **others: float) -> dict[str, object]:
        times = {f"{key}_ms_per_clip": value for key, value in {"ours": ours, **others}.items()}
        return {"frames": frames, "size": [8, 8], "batch": batch, **times}

    rows = [
        row(8, 1, 10.0, forward=8.0, generate=30.0, ten_prefixes=200.0),
        row(8, 32, 5.0, forward=4.0),
        row(32, 1, 20.0, forward=16.0, generate=100.0, ten_prefixes=400.0),
        row(32, 32, 5.0, forward=4.0),
    ]
    assert summarize(rows) == {
        "ratio_vs_generate": 4.0,
        "ratio_vs_ten_prefixes": 20.0,
        "ratio_to_bare_forward": 1.25,
        "batch32_ratio_vs_single": 3.0,
    }


def test_the_wrappers_way_enlarges_frames_and_shows_the_video_first() -> None:
    judge = RoboReward(WEIGHTS, device="cpu")
    original = Qwen3VLForConditionalGeneration.from_pretrained(WEIGHTS).float()
    inputs = WrapperPath(original, judge.processor)._inputs(random_clip(8, size=(192, 320)))
    # 540 visual tokens, where the published protocol needs 240.
    assert inputs["video_grid_thw"].tolist() == [[4, 18, 30]]
    kinds = np.asarray(inputs["mm_token_type_ids"][0])
    assert kinds.argmax() < 20


@pytest.mark.parametrize("field", ["repeats", "threads"])
def test_nothing_is_measured_zero_times(field: str) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        LatencyConfig(**{field: 0})
