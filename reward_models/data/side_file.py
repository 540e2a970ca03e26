"""Files of JSON lines that lie beside a data set: one record for each value of a key."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from reward_models.data.example import InvalidSource

Record = TypeVar("Record")


def read_side_file(
    path: Path, record_of: Callable[[dict[str, Any]], Record], key: str, advice: str
) -> dict[str, Record]:
    """Read the records of a file, by the value of one of their fields.

    Args:
        path: The file, a JSON object per line.
        record_of: Makes a record of an object.
        key: Field of the record that no two lines may share.
        advice: What to do if the file cannot be used.

    Raises:
        InvalidSource: There is no such file, it is damaged, or two of its lines have the same key.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
        records = [record_of(json.loads(line)) for line in lines]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InvalidSource(f"{path} cannot be read: {error}. {advice}") from error
    by_key = {getattr(record, key): record for record in records}
    if len(by_key) < len(records):
        raise InvalidSource(
            f"{path} must have one line for each {key}, and has {len(records) - len(by_key)} more. {advice}"
        )
    return by_key
