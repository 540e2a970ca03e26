"""A person as a reward model: it waits, it never guesses, and a question is asked once."""

import io
import logging
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reward_models.labeling import server as label
from reward_models.labeling.agreement import compare, quadratic_kappa, report
from reward_models.labeling.assignment import Assignment
from reward_models.labeling.folder import LabelFolder, clip_id
from reward_models.labeling.human import FolderMailbox, HumanReward, ServerMailbox, load
from reward_models.net.retries import NoAnswer, Patience
from reward_models.serving import server as serve
from roboreward_gym.errors import InvalidClip, InvalidSetting, RewardModelFailure
from roboreward_gym.registry import load_reward_model
from roboreward_gym.scorer import outcomes
from roboreward_gym.types import Clip, ProgressScore
from tests.label_page import label_page
from tests.labeling import clip

QUICK = Patience(attempts=10_000, first_wait_s=0.01, longest_wait_s=0.05, give_up_after_s=120.0)
TOKEN = "a-token-of-tests"


def over_http(url: str, token: str | None = None, **settings: Any) -> HumanReward:
    return HumanReward(ServerMailbox(url, token, QUICK), **settings)


class Person:
    """Rates one video each time the program looks, instead of letting it sleep."""

    def __init__(self, folder: LabelFolder, levels: list[int | None]) -> None:
        self.folder, self.levels, self.asked = folder, iter(levels), 0

    def __call__(self, _: float) -> None:
        video = Assignment(self.folder).next("anna", "tab")
        if video is not None:
            self.asked += 1
            self.folder.rate(video.id, "anna", next(self.levels))


def test_a_score_is_what_the_person_said(tmp_path: Path) -> None:
    person = Person(LabelFolder(tmp_path), [2, 5, None])
    model = HumanReward(FolderMailbox(tmp_path), sleep=person)
    scores = model.score([clip(0), clip(1), clip(2)])
    assert [score.level for score in scores] == [2, 5, None]
    assert scores[2].text == "cannot tell"
    assert scores[0].manifest["ratings"][0]["rater"] == "anna"
    assert scores[0].manifest["video"] == clip_id(clip(0))


def test_what_was_rated_before_is_not_asked_again(tmp_path: Path) -> None:
    person = Person(LabelFolder(tmp_path), [3, 4])
    assert HumanReward(FolderMailbox(tmp_path), sleep=person).score([clip(0)])[0].level == 3
    scores = HumanReward(FolderMailbox(tmp_path), sleep=person).score([clip(0), clip(1)])
    assert [score.level for score in scores] == [3, 4]
    assert person.asked == 2


def test_a_person_who_is_gone_is_a_failure_and_no_score(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = HumanReward(FolderMailbox(tmp_path), wait_s=700.0, poll_s=1.0, sleep=lambda _: None)
    with caplog.at_level(logging.WARNING), pytest.raises(NoAnswer, match="not rated after 700 s"):
        model.score([clip()])
    assert len(caplog.records) == 3  # at once, and every five minutes
    LabelFolder(tmp_path).rate(clip_id(clip()), "anna", 5)
    assert model.score([clip()])[0].level == 5  # the answer that came late was kept


def test_two_ratings_are_waited_for(tmp_path: Path) -> None:
    folder = LabelFolder(tmp_path)
    folder.rate(folder.add_clip(clip()), "anna", 5)
    model = HumanReward(
        FolderMailbox(tmp_path, ratings_per_video=2),
        sleep=lambda _: folder.rate(clip_id(clip()), "ben", 3),
    )
    assert model.score([clip()])[0].level == 3


def test_a_task_that_no_prompt_may_hold_is_refused(tmp_path: Path) -> None:
    model = HumanReward(FolderMailbox(tmp_path), sleep=lambda _: None)
    with pytest.raises(InvalidClip, match="reserved"):
        model.score([clip(task="open <|im_end|>")])
    found = outcomes(
        HumanReward(FolderMailbox(tmp_path), sleep=Person(LabelFolder(tmp_path), [4])),
        [clip(), clip(task="</s>")],
    )
    assert isinstance(found[0], ProgressScore)
    assert isinstance(found[1], InvalidClip)


def test_over_http_a_clip_arrives_and_its_rating_comes_back(tmp_path: Path) -> None:
    folder = LabelFolder(tmp_path)
    person = Person(folder, [1, 4])
    with label_page(folder, TOKEN) as url, closing(over_http(url, TOKEN, sleep=person)) as model:
        assert [score.level for score in model.score([clip(0), clip(1)])] == [1, 4]
        with (
            closing(over_http(url, "wrong-token")) as stranger,
            pytest.raises(RewardModelFailure, match="another token"),
        ):
            stranger.score([clip(0)])
        with pytest.raises(InvalidClip):
            model.score([Clip(clip().frames, "open </s>", 5.0)])
    assert set(folder.videos()) == {clip_id(clip(0)), clip_id(clip(1))}


class Visitor(io.StringIO):
    """Standard output, read by somebody who connects to the address as soon as it stands there, and ends the program."""

    def write(self, text: str) -> int:
        address = re.search(r"http://127\.0\.0\.1:(\d+)", text)
        if address is None:
            return super().write(text)
        socket.create_connection(("127.0.0.1", int(address[1])), timeout=10.0).close()
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("main", "arguments"), [(label.main, ["labels"]), (serve.main, ["--model", "constant:3"])]
)
def test_whoever_reads_the_address_can_connect(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    main: Callable[[list[str]], int],
    arguments: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", Visitor())
    with pytest.raises(KeyboardInterrupt):
        main([*arguments, "--port", "0"])


def test_a_server_that_is_started_again_goes_on(tmp_path: Path) -> None:
    folder = LabelFolder(tmp_path)
    found: list[ProgressScore] = []
    with label_page(folder) as url:
        port = int(url.rpartition(":")[2])
        model = over_http(url, poll_s=0.02)
        waiting = threading.Thread(target=lambda: found.extend(model.score([clip()])))
        waiting.start()
        while not folder.videos():
            assert waiting.is_alive()
            time.sleep(0.01)
    folder.rate(clip_id(clip()), "anna", 4)  # while nobody answers
    with label_page(folder, port=port):
        waiting.join()
    model.close()
    assert [score.level for score in found] == [4]


def test_the_name_leads_to_the_folder_with_its_options(tmp_path: Path) -> None:
    folder = LabelFolder(tmp_path)
    folder.rate(folder.add_clip(clip()), "anna", 2)
    assert load_reward_model(f"human:{tmp_path}").score([clip()])[0].level == 2
    with pytest.raises(NoAnswer):
        load(f"{tmp_path}?ratings_per_video=2&wait_s=0.01").score([clip()])
    for argument in ("", f"{tmp_path}?wait_s=soon", f"{tmp_path}?speed=2"):
        with pytest.raises(InvalidSetting):
            load(argument)


def test_kappa_and_error_by_hand() -> None:
    ours, theirs = {"a": 1, "b": 2, "c": 5, "d": 4}, {"a": 1, "b": 3, "c": 5, "e": 1}
    found = compare("anna", ours, "ben", theirs)
    # Observed squared differences 0, 1, 0; expected over the 9 pairs of levels 1, 2, 5 and 1, 3, 5:
    # 0 4 16 1 1 9 16 4 0 = 51. kappa = 1 - (1/3) / (51/9).
    assert found.videos == 3
    assert found.kappa == pytest.approx(1 - (1 / 3) / (51 / 9))
    assert found.mae == pytest.approx(1 / 3)
    assert found.mae_interval is not None
    assert found.mae_interval[0] <= 1 / 3 <= found.mae_interval[1]


def test_kappa_of_one_level_only_is_none() -> None:
    assert np.isnan(quadratic_kappa(np.array([5, 5]), np.array([5, 5])))
    found = compare("anna", {"a": 5, "b": 5}, "ben", {"a": 5, "b": 5})
    assert found.kappa is None
    assert found.kappa_interval is None
    assert found.mae == 0


def test_the_report_compares_people_and_reward_models(tmp_path: Path) -> None:
    folder = LabelFolder(tmp_path)
    for seed in range(6):
        name = folder.add_clip(clip(seed))
        folder.rate(name, "anna", 1 + seed % 5)
        folder.rate(name, "ben", min(5, 2 + seed % 5))
    rows = list(report(folder, ["constant:3"]))
    assert [(row.first, row.second, row.videos) for row in rows] == [
        ("anna", "ben", 6),
        ("people", "constant:3", 6),
    ]
    assert rows[0].kappa is not None
    assert rows[0].kappa > 0.3
    assert rows[1].kappa == 0
    with pytest.raises(InvalidSetting, match="level yet"):
        list(report(LabelFolder(tmp_path / "empty")))
