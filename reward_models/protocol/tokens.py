"""The tokenizer of a Qwen3-VL as the protocol uses it: `tokenizer.json`, read by the library `tokenizers` alone.

transformers' tokenizer classes rebuild parts of a tokenizer when they load it, and not in every version the same ones.
The file says all that is needed: the vocabulary, how text is split, and the reserved tokens.
"""

import functools
import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from reward_models.protocol.prompt import ANSWER_PREFIX, DIGITS
from roboreward_gym.errors import WeightsError

VISION_START, VIDEO_PAD, VISION_END = "<|vision_start|>", "<|video_pad|>", "<|vision_end|>"
TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
FILE = "tokenizer.json"
CACHED_TEXTS = 4096


class PromptTokenizer:
    """Turns the parts of a prompt into token ids.

    Args:
        tokenizer: A tokenizer with the reserved tokens of Qwen3-VL.

    Raises:
        WeightsError: A reserved token is missing, or digits are not tokens of their own.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        # Trainers save the padding and truncation of their last batch with it.
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.encode = functools.lru_cache(CACHED_TEXTS)(self._encode)
        self.vision_start = self._reserved_id(VISION_START)
        self.video_pad = self._reserved_id(VIDEO_PAD)
        self.vision_end = self._reserved_id(VISION_END)
        self.turn_end = self._reserved_id(TURN_END)
        self._reserved_id(TURN_START)
        self.digits = self._digits()
        added = tokenizer.get_added_tokens_decoder().values()
        self.reserved = tuple(token.content for token in added if token.special)
        """Texts that are read as control tokens, wherever they stand."""

    @classmethod
    def from_folder(cls, folder: Path) -> "PromptTokenizer":
        """Read `tokenizer.json` of a checkpoint.

        Raises:
            WeightsError: It is missing, unreadable or of another kind of model.
        """
        path = folder / FILE
        if not path.is_file():
            raise WeightsError(
                f"There is no {FILE} in {folder}. Write one: "
                f"AutoTokenizer.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r})"
            )
        # The library raises plain Exception for any file that it cannot read, so that is looked at first.
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise WeightsError(f"{path} cannot be read: {error}. Fetch it again.") from error
        if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
            raise WeightsError(f"{path} cannot be read: it holds no tokenizer. Fetch it again.")
        tokenizer = Tokenizer.from_file(str(path))
        return cls(tokenizer)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, reserved tokens left out unless nothing else is there."""
        text = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text or self._tokenizer.decode(list(ids), skip_special_tokens=False)

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _reserved_id(self, token: str) -> int:
        identifier = self._tokenizer.token_to_id(token)
        if identifier is None or self._encode(token) != (identifier,):
            raise WeightsError(
                f"The tokenizer has no reserved token {token!r}. Use that of a Qwen3-VL."
            )
        return identifier

    def _digits(self) -> tuple[int, ...]:
        """Ids of the five digits as they follow the answer prefix, one token each."""
        prefix = self._encode(ANSWER_PREFIX)
        answers = [self._encode(ANSWER_PREFIX + digit) for digit in DIGITS]
        if not prefix or any(answer[:-1] != prefix for answer in answers):
            raise WeightsError(
                f"Each digit must be one token after {ANSWER_PREFIX!r}; here they are {answers} after "
                f"{prefix}. Use a tokenizer that splits digits, as Qwen3's does."
            )
        return tuple(answer[-1] for answer in answers)
