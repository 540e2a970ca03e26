"""Replies as text, generated token by token: slower than one forward pass, for comparison with how others score."""

import inspect
import threading
from collections.abc import Mapping
from typing import Any

import torch

from reward_models.protocol.inputs import move
from reward_models.protocol.tokens import PromptTokenizer

VIDEO_TYPE = 2
"""What transformers calls a video token in `mm_token_type_ids`."""

REPLY_TOKENS = 128
"""Longest reply that is generated, as in the published wrappers; an answer takes five."""


class ReplyGenerator:
    """Generates greedily; one call at a time, because transformers keeps a place in the text in the model itself."""

    def __init__(self, model: Any, tokenizer: PromptTokenizer) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._generating = threading.Lock()

    def __call__(self, inputs: Mapping[str, torch.Tensor]) -> list[str]:
        """Return the reply to each prompt, up to the end of the turn."""
        inputs = move(inputs, self._model.device)
        # `generate` counts positions by itself, and from transformers 5.4 on by the type of each token.
        del inputs["position_ids"]
        if "mm_token_type_ids" in inspect.signature(self._model.forward).parameters:
            visual = inputs["input_ids"] == self._tokenizer.video_pad
            inputs["mm_token_type_ids"] = visual.long() * VIDEO_TYPE
        # Sampling settings of the checkpoint would only draw a warning: greedy uses none of them.
        greedy = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        with self._generating:
            tokens = self._model.generate(**inputs, max_new_tokens=REPLY_TOKENS, **greedy)
        replies = tokens[:, inputs["input_ids"].shape[1] :]
        return [self._text(reply) for reply in replies.tolist()]

    def _text(self, ids: list[int]) -> str:
        turn_end = self._tokenizer.turn_end
        return self._tokenizer.decode(ids[: ids.index(turn_end) if turn_end in ids else len(ids)])
