"""A person as a reward model: `human:FOLDER`, or `human:http://HOST:PORT` for a page on another machine.

Clips are put on the page of `roboreward label`, and `score` returns when people have rated them. A clip that was rated before is
not asked about again, so a run that was stopped continues where it stopped.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl

import httpx

from reward_models.labeling.folder import LabelFolder, Rating, level_of
from reward_models.net.addresses import check_url
from reward_models.net.credentials import TOKEN_VARIABLE, find_key, without
from reward_models.net.retries import TRANSIENT_STATUS, NoAnswer, Patience, Transient, retry_after_s
from reward_models.serving.wire import MEDIA_TYPE, pack_clips
from roboreward_gym.errors import InvalidClip, InvalidSetting, RewardModelFailure
from roboreward_gym.types import Clip, ProgressScore

logger = logging.getLogger(__name__)

PATIENCE = Patience(attempts=1_000, first_wait_s=0.25, longest_wait_s=5.0, give_up_after_s=120.0)
REPORT_S = 300.0
"""How often a program that waits for a person says so, in [s]."""
VIDEO = "video"
"""Entry of a score's manifest: name of the clip on the page."""


@dataclass(frozen=True)
class Ratings:
    """Ratings of some videos by people.

    Attributes:
        given: The ratings of each video by its id.
        wanted: How many people are to rate each.
    """

    given: Mapping[str, list[Rating]]
    wanted: int

    def complete(self, video: str) -> bool:
        """Whether a video needs no further rating."""
        return len(self.given[video]) >= self.wanted


class Mailbox(Protocol):
    """Where clips go to people, and ratings come back."""

    where: str

    def put(self, clip: Clip) -> str:
        """Have a clip rated, and return its id; putting it twice is the same as once."""
        ...

    def ratings(self, videos: Sequence[str]) -> Ratings:
        """Return the ratings so far."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


class FolderMailbox:
    """A labelling folder on this machine, for whose page `roboreward label FOLDER` runs.

    Args:
        path: The folder.
        ratings_per_video: Different people who rate each video.
    """

    def __init__(self, path: Path, ratings_per_video: int = 1) -> None:
        self.where = f"roboreward label {path}"
        self._folder = LabelFolder(path)
        self._wanted = ratings_per_video

    def put(self, clip: Clip) -> str:
        """Write the clip into the folder."""
        return self._folder.add_clip(clip)

    def ratings(self, videos: Sequence[str]) -> Ratings:
        """Read the file of ratings."""
        return Ratings(self._folder.ratings_of(videos), self._wanted)

    def close(self) -> None:
        """Nothing is open."""


class ServerMailbox:
    """The page of `roboreward label` on any machine.

    Args:
        url: Its address.
        token: What it wants to see.
        patience: How long to try when it does not answer.
    """

    def __init__(self, url: str, token: str | None = None, patience: Patience = PATIENCE) -> None:
        self.where = check_url(url)
        self._token = token
        self._patience = patience
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self._client = httpx.Client(
            base_url=self.where, headers=headers, timeout=60.0, trust_env=False
        )

    def put(self, clip: Clip) -> str:
        """Send the clip."""
        answer = self._ask(
            "POST", "/v1/clips", content=pack_clips([clip]), headers={"content-type": MEDIA_TYPE}
        )
        match answer:
            case {"ids": [str() as name]}:
                return name
        raise self._nonsense()

    def ratings(self, videos: Sequence[str]) -> Ratings:
        """Ask for the ratings."""
        answer = self._ask("GET", "/v1/ratings", params=[("video", name) for name in videos])
        try:
            given = {name: [Rating(**one) for one in answer["ratings"][name]] for name in videos}
            return Ratings(given, int(answer["ratings_per_video"]))
        except (KeyError, TypeError, ValueError) as error:
            raise self._nonsense() from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _nonsense(self) -> RewardModelFailure:
        return RewardModelFailure(
            f"Something else than `roboreward label` answers at {self.where}. Check the address."
        )

    def _ask(self, method: str, path: str, **request: Any) -> Any:
        return self._patience.retry(lambda: self._send(method, path, **request), self.where)

    def _send(self, method: str, path: str, **request: Any) -> Any:
        try:
            response = self._client.request(method, path, **request)
        except httpx.TransportError as error:
            raise Transient(f"{type(error).__name__}: {error}") from error
        if response.status_code in TRANSIENT_STATUS:
            raise Transient(
                f"HTTP {response.status_code}", retry_after_s(response.headers.get("retry-after"))
            )
        if response.status_code == 401:
            raise RewardModelFailure(
                f"{self.where} wants another token. Set {TOKEN_VARIABLE} to that of `roboreward label`."
            )
        if response.status_code == 422:
            raise InvalidClip(without(self._token, response.text[:300]))
        if response.status_code != 200:
            raise RewardModelFailure(
                f"{self.where} answered HTTP {response.status_code}: {without(self._token, response.text[:300])}"
            )
        try:
            return json.loads(response.text)
        except ValueError as error:
            raise self._nonsense() from error


class HumanReward:
    """People as a `RewardModel`: `score` waits until they have rated.

    A clip that all of them answered with "cannot tell" gets a score without a level.

    Args:
        mailbox: Where the page is.
        wait_s: Longest time to wait for the ratings of one call, in [s].
        poll_s: How often to look, in [s].
        sleep: Waits for a number of seconds; tests pass another.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        wait_s: float = math.inf,
        poll_s: float = 0.5,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not (wait_s > 0 and poll_s > 0):
            raise InvalidSetting(f"wait_s and poll_s must be above 0, got {wait_s} and {poll_s}.")
        self._mailbox = mailbox
        self._wait_s = wait_s
        self._poll_s = poll_s
        self._sleep = sleep

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Have people rate the clips; same order, same length.

        Raises:
            InvalidClip: A clip whose task no page may show.
            NoAnswer: Nobody rated within `wait_s`; what is rated later is found by the next call.
            RewardModelFailure, OSError: The page or the folder cannot be reached.
        """
        names = self.ask(clips)
        found = self.answers(names, len(set(names)))
        return [found[name] for name in names]

    def ask(self, clips: Sequence[Clip]) -> list[str]:
        """Put clips on the page without waiting, and return their names there; the same clip has the same name.

        Raises:
            InvalidClip: A clip whose task no page may show.
            RewardModelFailure, OSError: The page or the folder cannot be reached.
        """
        return [self._mailbox.put(clip) for clip in clips]

    def answers(self, names: Sequence[str], least: int) -> dict[str, ProgressScore]:
        """Wait until at least `least` of the clips are rated, and return the scores of all that are.

        Raises:
            NoAnswer: Fewer are rated within `wait_s`; what is rated later is found by the next call.
            RewardModelFailure, OSError: The page or the folder cannot be reached.
        """
        if not names:
            return {}
        waited = reported = 0.0
        while True:
            ratings = self._mailbox.ratings(names)
            rated = [name for name in ratings.given if ratings.complete(name)]
            if len(rated) >= least:
                return {name: _score(ratings.given[name], name) for name in rated}
            missing = len(ratings.given) - len(rated)
            if waited >= self._wait_s:
                raise NoAnswer(
                    f"{missing} of {len(ratings.given)} videos are not rated after {waited:.0f} s. Rate them at "
                    f"{self._mailbox.where}, then ask again."
                )
            if waited == 0 or waited - reported >= REPORT_S:
                reported = waited
                logger.warning(
                    "Waiting for a person to rate %d videos at %s", missing, self._mailbox.where
                )
            self._sleep(self._poll_s)
            waited += self._poll_s

    def close(self) -> None:
        """Close the connections; a reward model that is closed cannot score."""
        self._mailbox.close()


def _score(ratings: Sequence[Rating], name: str) -> ProgressScore:
    level = level_of(ratings)
    said = [{"rater": one.rater, "level": one.level, "at": one.at} for one in ratings]
    manifest = {"model": "human", VIDEO: name, "ratings": said}
    return ProgressScore(
        level, text="cannot tell" if level is None else str(level), manifest=manifest
    )


def load(argument: str) -> HumanReward:
    """Make `human:FOLDER` or `human:http://HOST:PORT`, with `?wait_s=SECONDS` and `?ratings_per_video=N` behind it.

    Raises:
        InvalidSetting: No address, folder or number.
    """
    place, _, query = argument.partition("?")
    if not place:
        raise InvalidSetting("Write human:FOLDER or human:http://HOST:PORT.")
    options = dict(parse_qsl(query))
    if unknown := options.keys() - {"wait_s", "ratings_per_video"}:
        raise InvalidSetting(
            f"human has no option {sorted(unknown)[0]!r}. Known: ratings_per_video, wait_s."
        )
    try:
        wait_s = float(options.get("wait_s", "inf"))
        wanted = int(options.get("ratings_per_video", "1"))
    except ValueError as error:
        raise InvalidSetting(f"An option of human:{argument} is not a number: {error}.") from error
    if place.startswith(("http:", "https:")):
        return HumanReward(ServerMailbox(place, find_key(TOKEN_VARIABLE)), wait_s)
    return HumanReward(FolderMailbox(Path(place), wanted), wait_s)
