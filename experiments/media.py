"""Pictures for the report: frame strips and videos, as bytes that fit into one HTML file."""

import base64

import numpy as np

STRIP_FRAMES = 6
STRIP_GAP = 2
STRIP_WIDTH = 160
"""Width of one frame of a strip in [px]."""
JPEG_QUALITY = 85


def spread(count: int, wanted: int) -> np.ndarray:
    """Indices of `wanted` frames spread evenly over `count`, first and last included."""
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).round().astype(int))


def frame_strip(
    frames: np.ndarray, wanted: int = STRIP_FRAMES, width: int = STRIP_WIDTH
) -> np.ndarray:
    """Lay frames of an episode side by side.

    Args:
        frames: `(T, H, W, 3)` uint8.
        wanted: Frames in the strip.
        width: Width of one frame in [px].

    Returns:
        `(h, w, 3)` uint8, white between the frames.
    """
    import cv2

    chosen = frames[spread(len(frames), wanted)]
    height = round(width * frames.shape[1] / frames.shape[2])
    gap = np.full((height, STRIP_GAP, 3), 255, np.uint8)
    parts: list[np.ndarray] = []
    for frame in chosen:
        parts += [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), gap]
    return np.concatenate(parts[:-1], axis=1)


def split_strip(image: bytes) -> list[bytes]:
    """The frames of a strip of the usual width, as a JPEG each."""
    import cv2

    strip = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR_RGB)
    if strip is None:
        raise ValueError("A frame strip is not a JPEG. Delete it, and write the page again.")
    starts = range(0, strip.shape[1], STRIP_WIDTH + STRIP_GAP)
    return [jpeg(strip[:, start : start + STRIP_WIDTH]) for start in starts]


def jpeg(image: np.ndarray) -> bytes:
    """Encode `(H, W, 3)` uint8 RGB as JPEG."""
    import cv2

    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise ValueError(
            f"JPEG cannot hold an image of shape {image.shape}. Pass (H, W, 3) uint8 RGB."
        )
    return data.tobytes()


def video(frames: np.ndarray, fps: float, hold_s: float = 1.0) -> bytes:
    """Encode an episode as H.264 in MP4, the kind every browser plays.

    Args:
        frames: `(T, H, W, 3)` uint8, of any size.
        fps: Frames per second.
        hold_s: How long the last frame stands still, because there the outcome is seen, in [s].
    """
    from reward_models.video.write import mp4

    hold = np.repeat(frames[-1:], round(hold_s * fps), axis=0)
    return mp4(np.concatenate([frames, hold]), fps, crf=20, preset="veryfast")


def data_uri(data: bytes, kind: str) -> str:
    """Bytes as a `data:` address, for example with kind `image/png`."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
