"""Templates of the pages, and what several of them show."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from experiments.report.media import data_uri
from experiments.report.strips import Strip

TEMPLATES = Path(__file__).parent


def render(template: str, context: Mapping[str, Any], path: Path) -> Path:
    """Write a page, which appears whole or not at all; returns its path."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    partial = path.with_suffix(".partial")
    partial.write_text(environment.get_template(template).render(context))
    return partial.replace(path)


def strip_words(strip: Strip) -> dict[str, Any]:
    """A strip for a template; its frames are pictures of their own, so that they fold on a narrow page."""
    frames = [data_uri(frame, "image/jpeg") for frame in strip.frames()]
    return {**{k: v for k, v in vars(strip).items() if k != "image"}, "frames": frames}
