"""Clips painted by arithmetic alone, equal on every machine: coloured discs on a table, one of which moves to a cloth."""

import numpy as np

from roboreward_gym import Clip

HEIGHT, WIDTH, FRAMES, FPS = 192, 256, 25, 5.0
DUCK, BLOCK, TOWEL, PLATE, TABLE = (
    (255, 150, 30), (40, 150, 120), (190, 110, 200), (225, 225, 220), (170, 140, 100)
)  # fmt: skip


def painted_clip(seed: int, task: str) -> Clip:
    """A duck and a block beside a towel and a plate; one toy goes part or all of the way to a target."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:HEIGHT, :WIDTH]
    slots = rng.permutation(np.array([[70, 60], [185, 60], [70, 135], [185, 135]]))
    slots = slots + rng.integers(-8, 9, slots.shape)
    duck, block, towel, plate = slots
    way = rng.choice([0.0, 0.3, 0.6, 1.0])
    moves_duck, to_towel = rng.random(2) < (0.7, 0.6)
    goal = towel if to_towel else plate
    frames = np.empty((FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    for t in range(FRAMES):
        share = way * min(1.0, t / (FRAMES - 4))
        places = {"duck": duck, "block": block}
        moved = "duck" if moves_duck else "block"
        places[moved] = places[moved] + (goal - places[moved]) * share
        frame = np.tile(np.array(TABLE, np.uint8), (HEIGHT, WIDTH, 1))
        frame[(abs(xx - towel[0]) < 24) & (abs(yy - towel[1]) < 20)] = TOWEL
        frame[(xx - plate[0]) ** 2 + (yy - plate[1]) ** 2 < 22**2] = PLATE
        x, y = places["block"]
        frame[(abs(xx - x) < 7) & (abs(yy - y) < 7)] = BLOCK
        x, y = places["duck"]
        frame[(xx - x) ** 2 + (yy - y) ** 2 < 8**2] = DUCK
        # A gripper follows the toy and leaves upwards at the end.
        gx, gy = places[moved] - (0, 0 if t < FRAMES - 3 else 60)
        frame[(abs(xx - gx) < 5) & (yy < gy - 4)] = (30, 30, 35)
        frames[t] = frame
    return Clip(frames, task, FPS)
