"""Rows as the conversations that Qwen-VL's fine-tuning scripts train on, those of the published checkpoints among them.

`annotation_path` is the file, `data_path` the folder of the split. The prompt is that of the model card, text before video;
what stood between the two in the authors' own files is not known.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from reward_models.data.video_file import whole_file
from reward_models.protocol.prompt import ANSWER_PREFIX, build_prompt


def conversation(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return one row of `metadata.jsonl` as a conversation.

    Raises:
        InvalidClip: The task cannot stand in a prompt.
    """
    return {
        "subset": row["file_name"].split("/")[0],
        "conversations": [
            {"from": "human", "value": f"{build_prompt(row['task'])}\n<video>"},
            {"from": "gpt", "value": f"{ANSWER_PREFIX}{row['reward']}"},
        ],
        "video": [row["file_name"]],
        "metadata": {"reward": row["reward"], "original_id": row["source_episode"]},
    }


def write_conversations(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as one file of conversations.

    Raises:
        OutputError: It cannot be written.
        InvalidClip: A task cannot stand in a prompt.
    """
    with whole_file(path) as beside:
        text = json.dumps([conversation(row) for row in rows], ensure_ascii=False, indent=1)
        beside.write_text(text + "\n", encoding="utf-8")
