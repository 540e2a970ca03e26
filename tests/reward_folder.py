"""A small data folder of toy scenes: coloured discs that move, or do not, to a white square."""

import json
from pathlib import Path

import numpy as np

COLOURS = {"red": (220, 40, 40), "green": (40, 190, 60), "blue": (50, 70, 220)}
LANDMARKS = (*COLOURS, "towel")
REACHED = {1: 0.0, 2: 0.3, 3: 0.6, 4: 0.85, 5: 1.0}
FRAMES = 8
FPS = 5.0


def write_reward_folder(
    folder: Path,
    clips: int,
    *,
    split: str = "train",
    size: tuple[int, int] = (64, 96),
    seed: int = 0,
) -> Path:
    """Write `clips` clips with two questions each, in the layout of `reward_models.data.reward_data`."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    frames, dense, infos, examples = [], [], [], []
    for clip in range(clips):
        level = int(rng.integers(1, 6))
        pictures, labels, moved, still = _scene(rng, level, size)
        frames.append(pictures)
        dense.append(labels)
        infos.append(
            {
                "clip": clip,
                "episode": f"toy-{split}-{seed}-{clip}",
                "seed": seed + clip,
                "scene": "toy",
                "split": split,
                "source": "expert",
                "kept": 1.0,
                "fps": FPS,
                "frame_times_s": [round(t / FPS, 3) for t in np.linspace(0, 40, FRAMES).round()],
                "caption": f"the {moved} one is {'on' if level == 5 else 'off'} the towel .",
            }
        )
        kind = "original" if level == 5 else "organic"
        examples += [
            {
                "clip": clip,
                "task": f"put the {moved} one on the towel",
                "level": level,
                "kind": kind,
            },
            {
                "clip": clip,
                "task": f"put the {still} one on the towel",
                "level": 1,
                "kind": "counterfactual",
            },
        ]
    np.save(folder / "frames.npy", np.stack(frames))
    np.save(folder / "dense.npy", np.stack(dense))
    (folder / "landmarks.json").write_text(json.dumps(LANDMARKS))
    for name, rows in (("clips", infos), ("examples", examples)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def _scene(
    rng: np.random.Generator, level: int, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, str, str]:
    """Frames `(8, H, W, 3)`, labels `(4, K, 4)`, and the names of the disc that moves and of one that does not."""
    height, width = size
    radius = height // 12
    moved, still = rng.permutation(list(COLOURS))[:2]
    towel = rng.uniform((0.3, 0.3), (0.7, 0.7)) * (width, height)
    angle = rng.uniform(0, 2 * np.pi)
    away = np.array([np.cos(angle), np.sin(angle)]) * 0.28 * height * rng.uniform(0.8, 1.0)
    start, other = towel + 1.0 * away, towel - 0.9 * away
    end = start + (towel - start) * REACHED[level]
    background = rng.integers(80, 170, 3)
    yy, xx = np.mgrid[:height, :width]
    pictures = np.empty((FRAMES, height, width, 3), np.uint8)
    dense = np.zeros((FRAMES // 2, len(LANDMARKS), 4), np.float32)
    for t in range(FRAMES):
        picture = np.tile(background, (height, width, 1))
        picture[np.maximum(abs(xx - towel[0]), abs(yy - towel[1])) < 2 * radius] = 240
        places = {moved: start + (end - start) * t / (FRAMES - 1), still: other, "towel": towel}
        for name in (moved, still):
            x, y = places[name]
            picture[(xx - x) ** 2 + (yy - y) ** 2 < radius**2] = COLOURS[str(name)]
        pictures[t] = picture
        if t % 2:
            for name, place in places.items():
                dense[t // 2, LANDMARKS.index(str(name))] = (*(place / (width, height)), 1, 0)
    return pictures, dense, str(moved), str(still)
