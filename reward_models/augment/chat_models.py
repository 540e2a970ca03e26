"""Models that can play a role, by name: `openai:MODEL[@URL]`, `gemini:MODEL[@URL]`, `local:FOLDER_OR_HUB_ID`.

vLLM and other servers with OpenAI's API are `openai:MODEL@http://HOST:PORT/v1`. Requests, retries, budget and credentials
are those of `reward_models.judges`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from reward_models.augment.models import ChatModel, Question
from reward_models.augment.roles import Episode, UnusableAnswer
from roboreward_gym.errors import InvalidClip, RewardModelUnavailable, UnknownName

if TYPE_CHECKING:
    from reward_models.judges.api_judge import ApiSettings

MAX_OUTPUT_TOKENS = 8_000
"""Most tokens of an answer, thoughts included: enough for a description, and an end to one that does not stop."""
KINDS = ("openai", "gemini", "local")


@dataclass(frozen=True, eq=False)
class ApiChat:
    """A model behind an API.

    Attributes:
        name: Model and server.
        chat: Sends a prompt, and what `encode` makes of an episode, and returns the text of the answer.
        encode: What is sent of an episode.
        close: Closes the connections.
    """

    name: str
    chat: Callable[..., str]
    encode: Callable[[Episode], Any]
    close: Callable[[], None]

    def ask(self, question: Question) -> str:
        """Answer."""
        if question.episode is None:
            return self.chat(question.prompt)
        return self.chat(question.prompt, self.encode(question.episode))


def stills(episode: Episode) -> Sequence[np.ndarray]:
    """Still images, one a second, the last frame included.

    Raises:
        UnusableAnswer: The episode is too short.
    """
    from reward_models.judges.openai_compatible import STILLS
    from reward_models.protocol.frames import sample_clip

    try:
        return list(sample_clip(episode.video.clip(episode.task), STILLS).frames)
    except InvalidClip as error:
        raise UnusableAnswer("too_short", str(error)) from error


def whole_video(episode: Episode) -> bytes:
    """The video as MP4, of which Gemini samples frames by itself."""
    from reward_models.video.write import mp4

    return mp4(episode.video.frames, episode.video.fps)


class LocalText:
    """A text model on this machine through transformers: proposers need no eyes.

    Args:
        checkpoint: Folder, or id on the Hub.
        max_new_tokens: Most tokens of an answer.

    Raises:
        RewardModelUnavailable: It cannot be loaded.
    """

    def __init__(self, checkpoint: str, max_new_tokens: int = 512) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.name = f"local: {checkpoint}, {max_new_tokens} tokens"
        self._max_new_tokens = max_new_tokens
        self._torch = torch
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(checkpoint)
            model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype="auto")
        except (OSError, ValueError) as error:
            raise RewardModelUnavailable(
                f"The text model {checkpoint} cannot be loaded: {error} Name a folder with a checkpoint, or "
                "download it first."
            ) from error
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model: Any = model.to(device).eval()

    def ask(self, question: Question) -> str:
        """Answer.

        Raises:
            UnusableAnswer: It was shown a video.
        """
        if question.episode is not None:
            raise UnusableAnswer("no_eyes", "a local text model cannot look at a video")
        messages = [{"role": "user", "content": question.prompt}]
        inputs = self._tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(self._model.device)
        # The second try must not be the first one again.
        drawn = (
            {"do_sample": True, "temperature": 0.7} if question.attempt else {"do_sample": False}
        )
        with self._torch.inference_mode():
            self._torch.manual_seed(question.attempt)
            output = self._model.generate(**inputs, max_new_tokens=self._max_new_tokens, **drawn)
        return self._tokenizer.decode(
            output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )

    def close(self) -> None:
        """Nothing is open."""


def load_chat_model(name: str, settings: "ApiSettings") -> ChatModel:
    """Make a model by name.

    Raises:
        UnknownName: No such kind.
        InvalidSetting: No key, or an invalid address.
        RewardModelUnavailable: It cannot be loaded here.
    """
    kind, _, argument = name.partition(":")
    if kind == "openai":
        from reward_models.judges import openai_compatible

        judge = openai_compatible.load(argument, settings)
        chat = partial(judge.chat, max_tokens=MAX_OUTPUT_TOKENS)
        name = f"openai: {judge.address}, {MAX_OUTPUT_TOKENS} tokens"
        return ApiChat(name, chat, stills, judge.close)
    if kind == "gemini":
        from reward_models.judges import gemini

        judge = gemini.load(argument, settings)
        return ApiChat(f"gemini: {judge.address}", judge.chat, whole_video, judge.close)
    if kind == "local":
        return LocalText(argument)
    raise UnknownName("kind of model", kind, KINDS)
