"""The page on which a person watches episodes and rates them, by keyboard alone if wanted.

A rater sees the video, the task and the rubric of the prompt, and nothing else: no score, no name of a file or a data set.
Keys that only move the video are handled in the browser (`player.js`); those that rate are handled here, and only once the browser has
shown the first frame of the video that they are about.
"""

import logging
import re
from pathlib import Path

from fastapi import FastAPI
from nicegui import app as media
from nicegui import events, ui

from reward_models.labeling.assignment import Assignment
from reward_models.labeling.folder import RatedVideo, check_rater
from reward_models.protocol.prompt import INSTRUCTION
from roboreward_gym.errors import RoboRewardError
from roboreward_gym.types import LEVELS

logger = logging.getLogger(__name__)

POLL_S = 1.0
"""How often a page without a video looks for a new one, in [s]."""
RUBRIC = dict(re.findall(r"^([1-5]) - (.+)$", INSTRUCTION, flags=re.MULTILINE))
"""Level as a digit -> what it means, in the words of the prompt."""
KEYS = (
    ("1-5", "rate"),
    ("0", "cannot tell"),
    ("U", "undo"),
    ("S", "skip for now"),
    ("Space", "play or pause"),
    ("\N{LEFTWARDS ARROW} \N{RIGHTWARDS ARROW}", "one frame back or on"),
    ("R", "from the start"),
    ("- +", "slower, faster"),
)
SPEEDS = (0.5, 1, 2)
SEND_ID = "(event) => emit(event.target.dataset.video)"
HERE = Path(__file__).parent


def add_pages(server: FastAPI, assignment: Assignment) -> None:
    """Add the page of each rater, and one to say who one is, to a server.

    Args:
        server: Gets `/`, `/rate/NAME` and `/videos/`.
        assignment: Says who sees what.
    """
    media.add_media_files("/videos", assignment.folder.path / "videos")

    @ui.page("/", title="Rate episodes")
    def welcome() -> None:
        _add_style()
        with ui.column().classes("welcome"):
            ui.label("Rate robot episodes").classes("text-h5")
            ui.label("Your name is kept with your ratings.")
            name = ui.input("Your name").props("autofocus maxlength=40").classes("w-full")

            def start() -> None:
                try:
                    rater = check_rater(name.value)
                except RoboRewardError as error:
                    ui.notify(str(error), type="warning")
                else:
                    ui.navigate.to(f"/rate/{rater}")

            name.on("keydown.enter", start)
            ui.button("Start", on_click=start).classes("w-full")

    @ui.page("/rate/{rater}", title="Rate episodes")
    def rate(rater: str) -> None:
        _add_style()
        try:
            Page(assignment, check_rater(rater))
        except RoboRewardError as error:
            ui.label(str(error)).classes("welcome")

    ui.run_with(server, dark=None, show_welcome_message=False)


def _add_style() -> None:
    ui.add_head_html(f"<style>{(HERE / 'page.css').read_text(encoding='utf-8')}</style>")


class Page:
    """One open tab of one rater.

    Args:
        assignment: Says which video is next.
        rater: Who looks at it.
    """

    def __init__(self, assignment: Assignment, rater: str) -> None:
        self._assignment = assignment
        self._rater = rater
        self._tab = ui.context.client.id
        self._video: RatedVideo | None = None
        self._ready = False
        self._build()
        ui.context.client.on_disconnect(lambda: assignment.leave(self._tab))
        ui.timer(POLL_S, self._look_for_more)
        self._next()

    def _build(self) -> None:
        ui.add_body_html(f"<script>{(HERE / 'player.js').read_text(encoding='utf-8')}</script>")
        ui.keyboard(on_key=self._on_key, repeating=False)
        with ui.element("main"):
            with ui.element("header"):
                self._counts = ui.label().props("aria-live=polite")
                ui.label(self._rater).classes("rater")
            self._bar = ui.linear_progress(0, show_value=False, size="4px").props(
                "aria-label=progress"
            )
            self._waiting = ui.label(
                "Nothing to rate at present. New videos appear here by themselves."
            )
            self._waiting.classes("waiting")
            with ui.element("section").classes("work") as self._work:
                with ui.element("div").classes("watch"):
                    self._task = ui.label().classes("task").props("data-testid=task")
                    self._player = ui.element("video").props(
                        "controls muted autoplay playsinline preload=auto"
                    )
                    self._player.on("loadeddata", self._on_loaded, js_handler=SEND_ID)
                    self._player.on("error", self._on_video_error, js_handler=SEND_ID)
                    with ui.row().classes("controls"):
                        for speed in SPEEDS:
                            ui.button(f"{speed}x", on_click=None).props(
                                f"flat dense data-speed={speed}"
                            ).on("click", js_handler=f"() => setSpeed({speed})")
                        ui.space()
                        ui.button("Skip (S)", on_click=self._skip).props("flat dense")
                        ui.button("Undo (U)", on_click=self._undo).props(
                            "flat dense data-testid=undo"
                        )
                with ui.element("div").classes("rubric"):
                    for level in LEVELS:
                        self._answer(level, str(level), RUBRIC[str(level)])
                    self._answer(None, "0", "Cannot tell: The video does not show it.")
                with ui.element("footer"):
                    for keys, what in KEYS:
                        ui.html(f"<kbd>{keys}</kbd> {what}", sanitize=False)

    def _answer(self, level: int | None, key: str, meaning: str) -> None:
        title, _, text = meaning.partition(": ")
        with ui.element("button").classes("answer").props(f"data-level={key}") as button:
            ui.label(key).classes("key")
            with ui.element("span"):
                ui.label(title).classes("title")
                ui.label(text).classes("text")
        button.on("click", lambda: self._rate(level))

    def _on_key(self, event: events.KeyEventArguments) -> None:
        if (
            not event.action.keydown
            or event.modifiers.ctrl
            or event.modifiers.meta
            or event.modifiers.alt
        ):
            return
        key = str(event.key.name).lower()
        if key in {"1", "2", "3", "4", "5"}:
            self._rate(int(key))
        elif key == "0":
            self._rate(None)
        elif key == "u":
            self._undo()
        elif key == "s":
            self._skip()

    def _on_loaded(self, event: events.GenericEventArguments) -> None:
        if self._video is not None and event.args == self._video.id:  # not the one before
            self._ready = True
            self._player.props("data-ready=true")

    def _on_video_error(self, event: events.GenericEventArguments) -> None:
        self._on_loaded(event)
        if self._ready:
            message = "Your browser cannot play this video. Rate it 0, or skip it."
            ui.notify(message, type="negative", timeout=0, close_button=True, position="top")

    def _rate(self, level: int | None) -> None:
        """Save a rating and show the next video; without a video that was seen there is nothing to rate."""
        if self._video is None or not self._ready:
            return
        try:
            self._assignment.folder.rate(self._video.id, self._rater, level)
        except RoboRewardError as error:
            self._show_error(error)
            return
        ui.notify(
            f"Rated {'0: cannot tell' if level is None else level}. U takes it back.", timeout=1500
        )
        self._next()

    def _skip(self) -> None:
        if self._video is not None:
            self._assignment.skip(self._rater, self._video.id)
            self._next()

    def _undo(self) -> None:
        try:
            video = self._assignment.last_rated(self._rater)
            if video is None:
                ui.notify("There is nothing to undo.")
                return
            self._assignment.folder.withdraw(video, self._rater)
            self._show(self._assignment.show(self._tab, video))
        except RoboRewardError as error:
            self._show_error(error)

    def _look_for_more(self) -> None:
        if self._video is None:
            self._next()
        else:
            self._count()

    def _next(self) -> None:
        try:
            self._show(self._assignment.next(self._rater, self._tab))
        except RoboRewardError as error:
            self._show_error(error)

    def _show(self, video: RatedVideo | None) -> None:
        self._video, self._ready = video, False
        self._work.set_visibility(video is not None)
        self._waiting.set_visibility(video is None)
        if video is not None:
            self._task.set_text(video.task)
            self._player.props(
                f"src=/{video.file} data-fps={video.fps} data-video={video.id} data-ready=false"
            )
        self._count()

    def _count(self) -> None:
        counts = self._assignment.progress(self._rater)
        parts = [f"{counts.rated} rated", f"{counts.left} left"]
        if counts.skipped:
            parts.append(f"{counts.skipped} skipped")
        if counts.awaited:
            parts.append("a run waits for you")
        self._counts.set_text(" \N{MIDDLE DOT} ".join(parts))
        self._bar.set_value(counts.rated / max(1, counts.rated + counts.left))

    def _show_error(self, error: RoboRewardError) -> None:
        logger.warning("%s", error)
        ui.notify(str(error), type="negative", timeout=0, close_button=True, position="top")
