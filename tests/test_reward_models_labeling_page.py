"""A simulated person rates episodes on the page of `roboreward label`, in a real headless Chromium, by keyboard alone."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from reward_models.labeling.folder import LabelFolder, clip_id
from reward_models.labeling.human import FolderMailbox, HumanReward
from reward_models.protocol.prompt import INSTRUCTION
from roboreward_gym.types import ProgressScore
from tests.labeling import clip

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium (apt-get install chromium)"
)
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
EPISODES, ERRORS = 20, 0.05


@pytest.fixture(scope="module")
def browser() -> Generator["playwright.Browser"]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=list(OPTIONS))
        yield chromium
        chromium.close()


@contextmanager
def label_process(
    folder: Path, *options: str, port: int = 0
) -> Generator[tuple[str, subprocess.Popen[str]]]:
    """A real `roboreward label`; yields its address and the process."""
    command = [
        sys.executable,
        "-m",
        "reward_models.commands.main",
        "label",
        str(folder),
        "--port",
        str(port),
        *options,
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert "People rate at " in line
            yield line.split("People rate at ")[1].split(";")[0], process
        finally:
            process.kill()


class SimulatedPerson:
    """Looks at the page, knows the truth of what it shows, and errs now and then."""

    def __init__(self, page: "playwright.Page", truth: dict[str, int], seed: int = 0) -> None:
        self.page, self.truth, self.said = page, truth, {}
        self.rng = np.random.default_rng(seed)

    def enter(self, url: str, name: str) -> None:
        self.page.goto(url)
        self.page.get_by_label("Your name").fill(name)
        self.page.keyboard.press("Enter")
        self.page.wait_for_url("**/rate/**")

    def video(self, after: str = "") -> str:
        """Wait for a video other than `after`, played far enough to be rated; returns its id."""
        self.page.wait_for_function(
            "after => { const v = document.querySelector('video');"
            " return v && v.dataset.video && v.dataset.video !== after && v.readyState >= 2; }",
            arg=after,
        )
        return self.page.get_attribute("video", "data-video")

    def rate(self, after: str = "") -> str:
        name = self.video(after)
        level = self.truth[name]
        if self.rng.random() < ERRORS:
            level = int(self.rng.choice([other for other in range(1, 6) if other != level]))
        self.said[name] = level
        self.press_until_changed(str(level), name)
        return name

    def press_until_changed(self, key: str, name: str) -> None:
        """Press once; the server takes a key only after the browser has told it that the video is on the screen."""
        self.page.wait_for_function(
            "() => document.querySelector('video').dataset.ready === 'true'"
        )
        self.page.keyboard.press(key)
        self.page.wait_for_function(
            "name => document.querySelector('video').dataset.video !== name ||"
            " !document.querySelector('video').checkVisibility()",
            arg=name,
        )


def test_a_run_waits_for_a_person_while_the_page_is_killed_and_started_again(
    browser: "playwright.Browser", tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    clips = [clip(seed, f"task {seed}", frames=10) for seed in range(EPISODES)]
    truth = {clip_id(one): int(rng.integers(1, 6)) for one in clips}
    found: list[ProgressScore] = []
    model = HumanReward(FolderMailbox(tmp_path), poll_s=0.05)
    run = threading.Thread(
        target=lambda: found.extend(score for one in clips for score in model.score([one]))
    )
    page = browser.new_page()
    person = SimulatedPerson(page, truth)
    with label_process(tmp_path) as (url, process):
        port = int(url.rpartition(":")[2])
        person.enter(url, "anna")
        page.get_by_text("Nothing to rate at present").wait_for()
        run.start()
        last = ""
        for _ in range(EPISODES // 2):  # one at a time, as the run asks
            last = person.rate(last)
        page.evaluate("window.before = true")
        process.kill()
    with label_process(tmp_path, port=port):
        page.wait_for_function("!window.before")  # the page finds the new server by itself
        for _ in range(EPISODES - EPISODES // 2):
            last = person.rate(last)
        run.join()
    page.close()
    (tmp_path / "said.json").write_text(json.dumps(person.said))
    assert [score.level for score in found] == [person.said[clip_id(one)] for one in clips]
    assert len(LabelFolder(tmp_path).ratings()) == EPISODES
    wrong = sum(person.said[name] != level for name, level in truth.items())
    assert 0 < wrong <= 4  # the simulated person did err


def test_undo_skip_and_cannot_tell_by_keyboard_in_two_tabs(
    browser: "playwright.Browser", tmp_path: Path
) -> None:
    folder = LabelFolder(tmp_path)
    truth = {folder.add_clip(clip(seed, frames=10)): 1 + seed for seed in range(4)}
    with label_process(tmp_path) as (url, _):
        page, other = browser.new_page(), browser.new_page()
        first, second = SimulatedPerson(page, truth), SimulatedPerson(other, truth)
        first.enter(url, "anna")
        second.enter(url, "anna")
        name = first.video()
        assert second.video() != name  # two tabs of one person do not show the same
        first.press_until_changed("0", name)
        assert [one.level for one in folder.ratings()] == [None]
        skipped = first.video(name)
        first.press_until_changed("s", skipped)
        assert len(folder.ratings()) == 1
        page.keyboard.press("u")  # takes "cannot tell" back
        page.wait_for_function(
            "name => document.querySelector('video').dataset.video === name", arg=name
        )
        assert folder.ratings() == []
        first.press_until_changed(str(truth[name]), name)
        other.close()
        seen = first.video(name)
        for _ in range(3):
            first.press_until_changed(str(truth[seen]), seen)
            if len(folder.ratings()) < 4:
                seen = first.video(seen)
        page.get_by_text("Nothing to rate at present").wait_for()
        page.close()
    assert {one.video: one.level for one in folder.ratings()} == truth


def test_a_key_pressed_twice_rates_one_video(browser: "playwright.Browser", tmp_path: Path) -> None:
    folder = LabelFolder(tmp_path)
    truth = {folder.add_clip(clip(seed, frames=10)): 4 for seed in range(3)}
    with label_process(tmp_path) as (url, _):
        page = browser.new_page()
        person = SimulatedPerson(page, truth)
        person.enter(url, "anna")
        name = person.video()
        page.wait_for_function("document.querySelector('video').dataset.ready === 'true'")
        # Both in one go, so that the second reaches the server before the next video is on the screen.
        page.evaluate(
            "[1, 2].forEach(() => document.dispatchEvent(new KeyboardEvent('keydown', {key: '4', code: 'Digit4'})))"
        )
        page.wait_for_function(
            "name => document.querySelector('video').dataset.video !== name && document.querySelector('video').dataset.ready === 'true'",
            arg=name,
        )
        assert [one.video for one in folder.ratings()] == [name]
        page.close()


def test_the_page_shows_the_rubric_and_nothing_that_gives_an_answer_away(
    browser: "playwright.Browser", tmp_path: Path
) -> None:
    folder = LabelFolder(tmp_path)
    folder._add(
        clip(frames=10),
        awaited=False,
        source={"subset": "secret_subset", "source_episode": "failure_7", "kind": "truncated"},
    )
    with label_process(tmp_path) as (url, _):
        page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
        SimulatedPerson(page, {}).enter(url, "anna")
        page.wait_for_function("document.querySelector('video')?.dataset.ready === 'true'")
        html, text = page.content(), page.inner_text("main")
        for line in INSTRUCTION.splitlines()[2:7]:
            assert line.split(": ", 1)[1] in text
        assert "open the drawer" in text
        assert not {word for word in ("secret_subset", "failure_7", "truncated") if word in html}
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390  # nothing to scroll sideways on a phone
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == "rgb(21, 24, 28)"
        page.close()


def test_the_video_obeys_its_keys(browser: "playwright.Browser", tmp_path: Path) -> None:
    LabelFolder(tmp_path).add_clip(clip(frames=10))
    with label_process(tmp_path) as (url, _):
        page = browser.new_page()
        SimulatedPerson(page, {}).enter(url, "anna")
        page.wait_for_function("document.querySelector('video')?.dataset.ready === 'true'")

        def video(what: str) -> object:
            return page.evaluate(f"document.querySelector('video').{what}")

        page.keyboard.press("ArrowRight")
        before = video("currentTime")
        assert video("paused")
        page.keyboard.press("ArrowLeft")
        page.wait_for_function(
            "before => document.querySelector('video').currentTime < before || before === 0",
            arg=before,
        )
        page.keyboard.press("-")
        assert video("playbackRate") == 0.5
        page.keyboard.press("+")
        page.keyboard.press("+")
        assert video("playbackRate") == 2
        page.keyboard.press(" ")
        page.wait_for_function(
            "!document.querySelector('video').paused || document.querySelector('video').ended"
        )
        page.close()


def test_a_page_for_others_needs_its_token(
    browser: "playwright.Browser", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOREWARD_TOKEN", "a-token-of-tests")
    LabelFolder(tmp_path).add_clip(clip(frames=10))
    with label_process(tmp_path) as (url, _):
        address = url.split("/?")[0]
        context = browser.new_context()
        page = context.new_page()
        assert page.goto(address).status == 401
        page.goto(f"{address}/?token=a-token-of-tests")
        SimulatedPerson(page, {}).enter(address, "anna")
        page.wait_for_function("document.querySelector('video')?.dataset.ready === 'true'")
        context.close()
