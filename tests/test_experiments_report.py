"""The page, its pictures and its video strips."""

import io
import math
import re
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from experiments.media import frame_strip, spread, video
from experiments.metrics import Rate
from experiments.report.gain import Gain
from experiments.report.page import EpisodeVideo, Group, Page
from experiments.results import Training
from experiments.strips import Strip, load_strips, representative
from roboreward_gym.types import ProgressScore


def episode(steps: int = 12) -> np.ndarray:
    """Frames whose brightness is the time, left half red."""
    frames = np.zeros((steps, 48, 64, 3), np.uint8)
    frames[:, :, :32, 0] = 200
    frames[:, :, :, 2] = np.linspace(0, 250, steps, dtype=np.uint8)[:, None, None]
    return frames


def strip(predicted: int = 5, level: float = 5.0, note: str = "", task: str = "open it") -> Strip:
    return Strip.of(episode(), task, ProgressScore(predicted), level, note)


def page(**changes: object) -> Page:
    training = Training(
        reward=[0.0, 1.0], predicted=[1.0, 5.0], level=[2.0, 5.0], success=[0.0, 1.0]
    )
    values = {
        "title": "A run",
        "lead": "What was done.",
        "base": Rate(3, 10),
        "final": Rate(9, 10),
        "gain": Gain(0.6, (0.3, 0.9), [True]),
        "training": training,
        "videos": [EpisodeVideo(episode(), 5.0, "Before"), EpisodeVideo(episode(), 5.0, "After")],
        "curve_note": "Only the reward model.",
        "video_note": "The same start.",
        "groups": [Group("Scored", "Some.", [strip()])],
        "table": {"Seed": 0},
    }
    return Page(**{**values, **changes})


@pytest.mark.parametrize("count", [1, 2, 5, 6, 41])
def test_strip_shows_first_and_last_frame(count: int) -> None:
    indices = spread(count, 6)
    assert indices[0] == 0
    assert indices[-1] == count - 1
    assert len(indices) == min(count, 6)


def test_strip_keeps_colours_and_order() -> None:
    image = frame_strip(episode(), wanted=3, width=64)
    assert image.shape == (48, 3 * 64 + 2 * 2, 3)
    assert image[10, 10].tolist() == [200, 0, 0]
    assert image[10, -1].tolist() == [0, 0, 250]


def test_video_is_h264_with_the_last_frame_held() -> None:
    with av.open(io.BytesIO(video(episode(12), 5.0))) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.average_rate == 5
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert len(frames) == 12 + 5
    assert frames[0][24, 10] == pytest.approx([200, 0, 0], abs=25)


def test_saved_strip_is_read_back(tmp_path: Path) -> None:
    saved = strip(4, 3.0, "training episode 7")
    saved.save(tmp_path / "000007")
    assert load_strips(tmp_path) == [saved]


def test_strip_of_an_unreadable_answer_has_no_level(tmp_path: Path) -> None:
    saved = Strip.of(episode(), "open it", ProgressScore(None), math.nan)
    saved.save(tmp_path / "0")
    (read,) = load_strips(tmp_path)
    assert read.predicted is read.level is read.probability is None


def test_mistakes_of_the_reward_model_come_first() -> None:
    strips = [strip(1, 1.0), strip(5, 5.0), strip(2, 5.0), strip(5, 2.0)]
    kinds = [s.kind for s in representative(strips)]
    assert kinds == ["false positive", "false negative", "true positive", "true negative"]


def test_choice_of_strips_spans_the_run() -> None:
    strips = [strip(1, 1.0, note=str(i)) for i in range(100)]
    assert [s.note for s in representative(strips, each=3)] == ["0", "50", "99"]


def test_page_needs_no_other_file(tmp_path: Path) -> None:
    text = page().write(tmp_path / "report.html").read_text()
    sources = re.findall(r'(?:src|srcset|href)="([^"]{0,40})', text)
    # Figures in two themes, videos and their stills, frames of one strip.
    assert len(sources) == 3 * 2 + 2 * 2 + 6
    assert all(source.startswith("data:") for source in sources)
    assert "http" not in re.sub(r'"data:[^"]*"', "", text)


def test_page_shows_rates_with_intervals(tmp_path: Path) -> None:
    text = page().write(tmp_path / "report.html").read_text()
    assert "30 %" in text
    assert "3 of 10, 95 % interval 11 to 60" in text
    assert "+60 [+30, +90]" in text


@pytest.mark.parametrize(
    ("low", "high", "kept", "kind", "words"),
    [
        (0.1, 0.9, True, "gain", ""),
        (-0.1, 0.4, True, "unclear", "which includes 0"),
        (0.0, 0.0, False, "unclear", "base kept"),
        (-0.9, -0.1, True, "loss", ""),
    ],
)
def test_a_gain_is_coloured_only_if_its_interval_excludes_0(
    tmp_path: Path, low: float, high: float, *, kept: bool, kind: str, words: str
) -> None:
    gain = Gain((low + high) / 2, (low, high), [kept])
    text = page(gain=gain).write(tmp_path / "report.html").read_text()
    value = re.search(
        r'<div class="number (\w+)">[^<]*\[.*?</div><div class="small">(.*?)</div>', text
    )
    assert value is not None
    assert value[1] == kind
    assert words in value[2]


def test_figures_are_also_written_for_a_paper(tmp_path: Path) -> None:
    page().write(tmp_path / "report.html")
    folder = tmp_path / "report_figures"
    names = {"learning-curve", "success", "confusion"}
    assert {path.name for path in folder.iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("pdf", "svg", "csv")
    }
    assert "base,0.3," in (folder / "success.csv").read_text()


def test_a_strip_is_split_into_its_frames() -> None:
    frames = strip().frames()
    assert len(frames) == 6
    images = [cv2.imdecode(np.frombuffer(f, np.uint8), cv2.IMREAD_COLOR_RGB) for f in frames]
    assert {image.shape for image in images} == {(120, 160, 3)}
    assert [int(image[60, 150, 2]) for image in images] == pytest.approx(
        [0, 45, 91, 159, 205, 250], abs=6
    )


def test_markup_in_a_task_is_text(tmp_path: Path) -> None:
    groups = [Group("Scored", "", [strip(task="<script>alert(1)</script>")])]
    text = page(groups=groups).write(tmp_path / "report.html").read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_page_of_a_run_without_truth_says_so(tmp_path: Path) -> None:
    blind = Training(reward=[1.0], predicted=[5.0], level=[math.nan], success=[math.nan])
    text = page(training=blind).write(tmp_path / "report.html").read_text()
    assert "No training episode has both a score and a truth." in text
