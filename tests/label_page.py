"""Run the page of `roboreward label` on a free port of loopback, in a thread of the tests."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from reward_models.labeling.assignment import Assignment
from reward_models.labeling.folder import LabelFolder
from reward_models.labeling.server import LabelConfig, create_app
from reward_models.serving.config import bind


@contextmanager
def label_page(folder: LabelFolder, token: str | None = None, port: int = 0) -> Iterator[str]:
    """Serve the page and its API until the block ends; gives the address."""
    with bind(LabelConfig(folder.path, port=port)) as listener:
        listener.listen()
        app = create_app(Assignment(folder), token)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        # Starting takes a while in a large process, because NiceGUI looks at every object of it.
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
