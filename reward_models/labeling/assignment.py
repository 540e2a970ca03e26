"""Who is shown which video next."""

import random
from collections import Counter
from dataclasses import dataclass

from reward_models.labeling.folder import LabelFolder, RatedVideo


@dataclass(frozen=True)
class Progress:
    """How far one person is.

    Attributes:
        rated: Videos that this person rated.
        left: Videos that this person may still be shown.
        skipped: Those of them that were put off.
        awaited: Those of them that a program waits for.
    """

    rated: int
    left: int
    skipped: int
    awaited: int


class Assignment:
    """Gives each open page a video of its own.

    What somebody else has on the screen is given out last, so that two people do the same work only if
    nothing else is left, or several ratings of each video are wanted.

    Args:
        folder: Videos and ratings.
        ratings_per_video: Ratings by different people after which a video is done.
        seed: Seed of the order, which is another for each person: neighbours in a data set look alike.
    """

    def __init__(self, folder: LabelFolder, ratings_per_video: int = 1, seed: int = 0) -> None:
        self.folder = folder
        self.ratings_per_video = ratings_per_video
        self._seed = seed
        self._shown: dict[str, str] = {}
        self._skipped: dict[str, list[str]] = {}

    def next(self, rater: str, page: str) -> RatedVideo | None:
        """Choose the video for a page, or None if there is none at present."""
        self.leave(page)
        shown = Counter(self._shown.values())
        skipped = self._skipped.get(rater, [])

        def order(video: RatedVideo) -> tuple[int, int, bool, float]:
            put_off = skipped.index(video.id) + 1 if video.id in skipped else 0
            # Awaited ones in the order in which they came (`min` takes the first), the others shuffled.
            shuffled = random.Random(f"{self._seed} {rater} {video.id}").random()
            place = 0.0 if video.awaited else shuffled
            return put_off, shown[video.id], not video.awaited, place

        choice = min(self._open(rater), key=order, default=None)
        if choice is not None:
            self._shown[page] = choice.id
        return choice

    def show(self, page: str, video: str) -> RatedVideo:
        """Note that a page shows a video again."""
        self._shown[page] = video
        return self.folder.videos()[video]

    def leave(self, page: str) -> None:
        """Note that a page shows nothing any more."""
        self._shown.pop(page, None)

    def skip(self, rater: str, video: str) -> None:
        """Show a video to this person after all others."""
        skipped = self._skipped.setdefault(rater, [])
        if video in skipped:
            skipped.remove(video)
        skipped.append(video)

    def last_rated(self, rater: str) -> str | None:
        """Return the video that this person rated last, or None."""
        own = [rating.video for rating in self.folder.ratings() if rating.rater == rater]
        return own[-1] if own else None

    def progress(self, rater: str) -> Progress:
        """Count for one person."""
        left = self._open(rater)
        skipped = self._skipped.get(rater, [])
        return Progress(
            rated=sum(rating.rater == rater for rating in self.folder.ratings()),
            left=len(left),
            skipped=sum(video.id in skipped for video in left),
            awaited=sum(video.awaited for video in left),
        )

    def _open(self, rater: str) -> list[RatedVideo]:
        """Videos that this person has not rated and that need a rating."""
        ratings = self.folder.ratings()
        own = {rating.video for rating in ratings if rating.rater == rater}
        counts = Counter(rating.video for rating in ratings)
        return [
            video
            for video in self.folder.videos().values()
            if video.id not in own and counts[video.id] < self.ratings_per_video
        ]
