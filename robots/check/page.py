"""The pictures of a check in a browser: live while it runs, and as a page that stays; no display is needed."""

import base64
import html
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np

from robots.disk import naming
from robots.errors import ArmFault, ArmUnavailable, CameraError
from robots.xs.setup import Finding, of_all

STYLE = """<meta charset="utf-8"><title>Check of the arm</title><style>
body { font: 15px sans-serif; margin: 24px; max-width: 1200px } img { width: 100% }
td, th { text-align: left; padding: 4px 14px 4px 0; vertical-align: top }
.yes { color: #0f766e } .no { color: #b91c1c }</style>"""
LEGEND = (
    "Left: the camera now. Middle: what policies were trained on, with the simulated arm where yours is. Right: the "
    "outlines of the middle over the left; move the camera until the arm and the edge of the table lie in them."
)
LIVE = f"""<!doctype html>{STYLE}<h1>Live</h1><p>{LEGEND}</p><img id="live" src="live.jpg"><script>
const image = document.getElementById("live");
const again = () => setTimeout(() => {{ image.src = "live.jpg?" + Date.now(); }}, 200);
image.onload = again; image.onerror = again;</script>"""


def jpeg(image: np.ndarray) -> bytes:
    """`(H, W, 3)` uint8 RGB as JPEG."""
    return cv2.imencode(".jpg", image[:, :, ::-1])[1].tobytes()


@contextmanager
def live_page(picture: Callable[[], np.ndarray], port: int) -> Generator[str]:
    """Serve the live page on this computer only; yields its address.

    Args:
        picture: What it shows now, `(H, W, 3)` uint8 RGB; called by one thread at a time.
        port: 0 takes any.
    """
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith("/live.jpg"):
                self._answer("text/html; charset=utf-8", LIVE.encode())
                return
            try:
                with lock:
                    image = picture()
            except (ArmFault, ArmUnavailable, CameraError) as error:
                self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, "no picture", str(error))
                return
            self._answer("image/jpeg", jpeg(image))

        def _answer(self, kind: str, data: bytes) -> None:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", kind)
            self.send_header("Cache-Control", "no-store")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing of each request."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def write_page(path: Path, image: np.ndarray | None, findings: Iterable[Finding]) -> Path:
    """Write a page with the last picture and what was found; returns its path."""
    rows = "".join(
        f'<tr><td>{html.escape(f.check)}</td><td class="{"yes" if f.passed else "no"}">{verdict(f)}</td>'
        f"<td>{html.escape(f.found)}</td></tr>"
        for f in of_all(findings)
    )
    picture = ""
    if image is not None:
        data = base64.b64encode(jpeg(image)).decode("ascii")
        picture = f'<p>{LEGEND}</p><img src="data:image/jpeg;base64,{data}">'
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"<!doctype html>{STYLE}<h1>Check of the arm</h1><table>{rows}</table>{picture}"
        )
    return path


def verdict(finding: Finding) -> str:
    """One word."""
    return {True: "passed", False: "FAILED", None: "not looked at"}[finding.passed]
