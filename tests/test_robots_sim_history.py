"""What a scene remembers: the start, the step before and now."""

from robots.sim.tasks.history import StateHistory


class Counter(StateHistory[int]):
    """Its state is a number; its level shows all three that it is read from."""

    def __init__(self) -> None:
        self.number = 1
        super().__init__()

    def reset(self) -> None:
        self._fresh = True

    def level_between(self, task: str, start: int, before: int, now: int) -> int:
        return 100 * start + 10 * before + now

    def _read(self) -> int:
        return self.number


def test_a_level_is_read_from_the_start_the_step_before_and_now() -> None:
    scene, seen = Counter(), []
    for scene.number in (1, 2, 3):
        scene.observe()
        seen.append(scene.level(""))
    assert seen == [111, 112, 123]


def test_after_a_reset_the_first_observation_is_the_start() -> None:
    scene = Counter()
    scene.number = 2
    scene.reset()
    scene.number = 5
    scene.observe()
    assert scene.level("") == 555
