"""The queue in front of a reward model: order, isolation, and no request without an answer."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from reward_models.serving.batcher import Batcher
from reward_models.serving.room import QueueFull, Room
from roboreward_gym.errors import InvalidClip, InvalidMessage, InvalidSetting, RewardModelFailure
from roboreward_gym.types import Clip, ProgressScore
from tests.fake_api import a_clip
from tests.serving import HashReward


async def here() -> bool:
    return False


async def gone() -> bool:
    return True


def run(batcher: Batcher, act: Callable[[Batcher], Awaitable[list[object]]]) -> list[object]:
    async def within() -> list[object]:
        async with batcher:
            return await asyncio.wait_for(act(batcher), 60)

    return asyncio.run(within())


def make(
    model: object, *, window_s: float = 0.0, max_batch: int = 8, max_waiting: int = 64
) -> Batcher:
    return Batcher(model, window_s=window_s, max_batch=max_batch, max_waiting=max_waiting)  # type: ignore[arg-type]


def together(requests: Sequence[Sequence[Clip]]) -> Callable[[Batcher], Awaitable[list[object]]]:
    async def act(batcher: Batcher) -> list[object]:
        asked = (batcher.score(clips, here) for clips in requests)
        return await asyncio.gather(*asked, return_exceptions=True)

    return act


def bits(scores: object) -> list[bytes]:
    assert isinstance(scores, list)
    return [score.probabilities.tobytes() for score in scores]


def test_each_request_gets_its_own_scores_in_order() -> None:
    model = HashReward()
    requests = [[a_clip(seed=10 * i + j) for j in range(1 + i % 3)] for i in range(9)]
    answers = run(make(model, window_s=0.05, max_batch=17), together(requests))
    for scores, clips in zip(answers, requests, strict=True):
        assert bits(scores) == bits(HashReward().score(clips))
    assert sum(model.batches) == 18


def test_a_batch_has_no_more_clips_than_allowed_unless_one_request_has() -> None:
    model = HashReward()
    requests = [[a_clip(seed=i)] for i in range(7)]
    run(make(model, window_s=0.05, max_batch=3), together([*requests, [a_clip()] * 5]))
    assert max(model.batches) == 5
    assert sorted(model.batches)[-2] <= 3


def test_a_full_batch_does_not_wait_for_the_window_to_close() -> None:
    answers = run(
        make(HashReward(), window_s=3600.0, max_batch=2), together([[a_clip()], [a_clip()]])
    )
    assert all(isinstance(scores, list) for scores in answers)


def test_only_the_request_with_the_bad_clip_fails() -> None:
    requests = [[a_clip(seed=1)], [a_clip(frames=1)], [a_clip(seed=2)]]
    batcher = make(HashReward(), window_s=20.0, max_batch=3)
    good, bad, fine = run(batcher, together(requests))
    assert isinstance(bad, list)
    assert isinstance(bad[0], InvalidClip)
    assert bits(good) == bits(HashReward().score(requests[0]))
    assert bits(fine) == bits(HashReward().score(requests[2]))
    assert (batcher.counts.failed, batcher.counts.clips) == (1, 2)


def test_only_the_bad_clip_of_a_request_fails() -> None:
    (found,) = run(make(HashReward()), together([[a_clip(), a_clip(frames=1), a_clip(seed=1)]]))
    assert isinstance(found, list)
    assert [isinstance(outcome, ProgressScore) for outcome in found] == [True, False, True]


def test_a_bug_in_the_model_reaches_everybody_and_the_batcher_goes_on() -> None:
    calls = []

    def break_once(clips: Sequence[Clip]) -> None:
        calls.append(clips)
        if len(calls) == 1:
            raise TypeError("bug")

    async def act(batcher: Batcher) -> list[object]:
        first = await together([[a_clip()], [a_clip()]])(batcher)
        return [*first, await batcher.score([a_clip()], here)]

    first, second, third = run(make(HashReward(break_once), window_s=0.05, max_batch=2), act)
    assert isinstance(first, TypeError)
    assert isinstance(second, TypeError)
    assert isinstance(third, list)


@pytest.mark.parametrize("answer", [None, [], [ProgressScore(level=3)] * 2, [3]])
def test_a_model_that_breaks_the_protocol_is_a_failure(answer: object) -> None:
    class Wrong:
        def score(self, clips: Sequence[Clip]) -> object:
            return answer

    (found,) = run(make(Wrong()), together([[a_clip()]]))
    assert isinstance(found, list)
    assert isinstance(found[0], RewardModelFailure)


def test_whoever_has_left_is_not_worked_for() -> None:
    model = HashReward()

    async def act(batcher: Batcher) -> list[object]:
        left = asyncio.create_task(batcher.score([a_clip(seed=1)], gone))
        stays = await batcher.score([a_clip(seed=2)], here)
        return [stays, *await asyncio.gather(left, return_exceptions=True)]

    batcher = make(model, window_s=20.0, max_batch=2)
    stays, left = run(batcher, act)
    assert isinstance(stays, list)
    assert isinstance(left, asyncio.CancelledError)
    assert (sum(model.batches), batcher.counts.left) == (1, 1)


def test_the_queue_has_an_end() -> None:
    async def act(batcher: Batcher) -> list[object]:
        with pytest.raises(InvalidMessage, match="at most 3 clips"):
            await batcher.score([a_clip()] * 4, here)
        first = asyncio.create_task(batcher.score([a_clip()] * 3, here))
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await batcher.score([a_clip()], here)
        await first
        return [await batcher.score([a_clip()], here)]

    assert len(run(make(HashReward(), max_waiting=3), act)) == 1


def test_a_batcher_that_stops_tells_who_waits() -> None:
    async def act() -> None:
        batcher = make(HashReward(), window_s=3600.0)
        async with batcher:
            waiting = asyncio.create_task(batcher.score([a_clip()], here))
            await asyncio.sleep(0.01)
            assert batcher.alive
        assert not batcher.alive
        with pytest.raises(RewardModelFailure, match="stopping"):
            await waiting

    asyncio.run(act())


@pytest.mark.parametrize("setting", [{"window_s": -1.0}, {"max_batch": 0}, {"max_waiting": 0}])
def test_settings_out_of_range_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(InvalidSetting):
        make(HashReward(), **setting)  # type: ignore[arg-type]


def test_room_is_given_back_when_a_request_ends_or_fails() -> None:
    room = Room(100)
    with room.hold(60) as first:
        with pytest.raises(QueueFull), room.hold(41):
            pass
        assert room.used == 60
        with pytest.raises(QueueFull):
            first.resize(101)
        first.resize(10)
        with pytest.raises(KeyError), room.hold(90):
            raise KeyError
        assert room.used == 10
    assert room.used == 0
