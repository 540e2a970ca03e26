"""The file that holds the figures of the foundations: `benchmarks/results/foundations.json`, a key per measurement.

Each measurement is a module of its own that calls `record` with its key, so that one can be made
again without the others.
"""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "foundations.json"


def record(path: Path = RESULTS, **measured: Any) -> None:
    """Replace these keys in the file and keep all others.

    Args:
        path: The JSON file; made if it is not there.
        measured: JSON values by key.
    """
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**known, **measured}, indent=2, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")
