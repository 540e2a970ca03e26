"""Judges behind OpenAI's chat API: GPT models, and vLLM serving RoboReward or any other vision-language model.

The two are asked differently. GPT sees still frames and writes its answer, thoughts first. vLLM sees the video that
RoboReward's own processor would sample, and continues the forced start of the answer by one token, whose
log-probabilities give the five levels: the same single forward pass as `reward_models.qwen3vl.roboreward`.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import openai

from reward_models.judges.api_judge import (
    MAX_OUTPUT_TOKENS,
    AccessRefused,
    ApiJudge,
    ApiSettings,
    as_int,
    get,
)
from reward_models.judges.chat_answers import advice_about, read_completion, read_content
from reward_models.net.addresses import is_loopback_url
from reward_models.net.credentials import find_key, read_key, without
from reward_models.net.retries import TRANSIENT_STATUS, Transient, retry_after_s
from reward_models.protocol.frames import ROBOREWARD_PROTOCOL, SampledClip, VideoProtocol
from reward_models.protocol.prompt import ANSWER_PREFIX, build_prompt
from reward_models.video.images import image_url, video_url
from roboreward_gym.errors import InvalidSetting, RewardModelFailure
from roboreward_gym.types import ProgressScore

OPENAI_URL = "https://api.openai.com/v1"
TOP_LOGPROBS = 20
"""Most alternatives that servers list for one token."""

STILLS = VideoProtocol(fps=1.0, min_frames=2, max_frames=32)
"""Frames for models that take images: one a second, as RoboRewardBench fed OpenAI's, first and last included."""


@dataclass(frozen=True)
class Dialect:
    """How a kind of server is asked."""

    name: str
    frames: Literal["images", "video"]
    """Still frames as one image each, or one video of sampled frames."""
    protocol: VideoProtocol
    """Which frames."""
    forced: bool
    """Whether the server continues the forced start of the answer; else it writes freely."""
    logprobs: bool
    """Whether to ask for log-probabilities; OpenAI's reasoning models refuse to give them."""


OPENAI = Dialect("openai", frames="images", protocol=STILLS, forced=False, logprobs=False)
VLLM = Dialect("vllm", frames="video", protocol=ROBOREWARD_PROTOCOL, forced=True, logprobs=True)
DIALECTS = {dialect.name: dialect for dialect in (OPENAI, VLLM)}


class OpenAICompatibleJudge(ApiJudge):
    """A model behind an OpenAI-compatible server as a `RewardModel`.

    Args:
        model: The model's name on the server.
        api_key: The key; it is sent to the server and appears nowhere else.
        base_url: Address of the API, usually ending in `/v1`.
        dialect: How to ask.
        settings: Time-outs, repeated requests, budget and concurrency.
    """

    example = "openai:gpt-5-mini"
    _client: openai.OpenAI

    def __init__(
        self,
        model: str,
        *,
        api_key: str,
        base_url: str = OPENAI_URL,
        dialect: Dialect = OPENAI,
        settings: ApiSettings = ApiSettings(),  # noqa: B008 - frozen
    ) -> None:
        protocol = dialect.protocol
        super().__init__(
            model, api_key=api_key, base_url=base_url, protocol=protocol, settings=settings
        )
        self.dialect = dialect
        self._client = openai.OpenAI(
            api_key=api_key,
            base_url=self._url,
            timeout=settings.timeout_s,
            # Our own patience counts every request against the budget; the client's would hide some.
            max_retries=0,
            # A server on this machine is never behind the proxy of HTTP_PROXY.
            http_client=openai.DefaultHttpxClient(trust_env=not is_loopback_url(self._url)),
        )

    def chat(
        self, prompt: str, frames: Sequence[np.ndarray] = (), max_tokens: int = MAX_OUTPUT_TOKENS
    ) -> str:
        """Ask the model something else than for a score; the text of its answer, or of its refusal.

        Args:
            prompt: The text.
            frames: `(H, W, 3)` uint8 still images, sent after the text.
            max_tokens: Most tokens of the answer, thoughts included.

        Raises:
            RewardModelFailure: The server refuses the request, or gave no answer for too long.
            BudgetExhausted: No further request is allowed.
        """
        images = [{"type": "image_url", "image_url": {"url": image_url(f)}} for f in frames]
        content = [{"type": "text", "text": prompt}, *images]
        request: dict[str, Any] = {"model": self.model, "max_completion_tokens": max_tokens}
        request["messages"] = [{"role": "user", "content": content}]
        body = self._request(lambda: self._send(request))
        text, refusal = read_content(get(body, "choices", 0, "message"))
        return text or refusal

    def _prepare(self, clip: SampledClip) -> Callable[[], Mapping[str, Any]]:
        request = build_request(self.model, clip, self.dialect)
        return lambda: self._send(request)

    def _count_tokens(self, body: Mapping[str, Any]) -> tuple[int | None, int | None]:
        usage = get(body, "usage")
        return as_int(get(usage, "prompt_tokens")), as_int(get(usage, "completion_tokens"))

    def _read(self, body: Mapping[str, Any], manifest: Mapping[str, Any]) -> ProgressScore:
        served = {"served_model": get(body, "model")}
        return read_completion(body, {**manifest, **served}, forced=self.dialect.forced)

    def _send(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send one request and return the answer, which has at least one choice."""
        try:
            response = self._client.chat.completions.with_raw_response.create(**request)
        except openai.APIStatusError as error:
            raise self._explain(error) from error
        except openai.APIConnectionError as error:  # time-outs among them
            cause = f" ({error.__cause__})" if error.__cause__ else ""
            unanswered = isinstance(error, openai.APITimeoutError)
            raise Transient(without(self._key, f"{error}{cause}"), unanswered=unanswered) from error
        try:
            body = json.loads(response.content)
        except (ValueError, RecursionError) as error:
            raise Transient(f"an answer that is not JSON: {error}") from error
        if get(body, "choices", 0, "message") is None:
            raise Transient(f"an answer without choices: {self._quote(json.dumps(body))}")
        return body

    def _explain(self, error: openai.APIStatusError) -> Transient | RewardModelFailure:
        """Turn an error status into one that is worth another request, or one that says what to do."""
        status, said = error.status_code, self._quote(str(error))
        if error.code == "insufficient_quota":
            return AccessRefused(f"{said} Add credit to the account, or take another reward model.")
        known = advice_about(str(error))
        if known is not None:
            return self._refusal(status, said, known)
        if status in TRANSIENT_STATUS:
            return Transient(said, retry_after_s(error.response.headers.get("retry-after")))
        if status in (401, 403):
            variable = "OPENAI_API_KEY" if self.dialect is OPENAI else "ROBOREWARD_API_KEY"
            advice = f"Check the key in {variable}, and that it may use this model."
        elif status == 404:
            advice = f"Check the name of the model, and the address: {self._url}"
        elif self.dialect.frames == "video":
            advice = (
                "Check that the model sees videos and that vLLM is recent. ROBOREWARD_DIALECT=openai "
                "sends still images and asks for nothing but text."
            )
        else:
            advice = "Check that the model sees images."
        return self._refusal(status, said, advice)


def build_request(model: str, clip: SampledClip, dialect: Dialect) -> dict[str, Any]:
    """Return the arguments of one call of the chat API: the prompt first, then the frames."""
    prompt = {"type": "text", "text": build_prompt(clip.task)}
    if dialect.frames == "images":
        frames = [{"type": "image_url", "image_url": {"url": image_url(f)}} for f in clip.frames]
    else:
        frames = [{"type": "video_url", "video_url": {"url": video_url(clip.frames)}}]
    messages = [{"role": "user", "content": [prompt, *frames]}]
    request: dict[str, Any] = {"model": model, "messages": messages}
    if dialect.logprobs:
        request |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
    if not dialect.forced:
        return request | {"max_completion_tokens": MAX_OUTPUT_TOKENS}
    messages.append({"role": "assistant", "content": ANSWER_PREFIX})
    video = {
        "num_frames": -1,
        "fps": float(clip.fps),
        "frames_indices": clip.indices.tolist(),
        "total_num_frames": clip.total,
        "do_sample_frames": False,
    }
    extra = {
        "continue_final_message": True,
        "add_generation_prompt": False,
        # The true times of the frames, for the time stamps in RoboReward's prompt.
        "media_io_kwargs": {"video": video},
    }
    return request | {"max_tokens": 1, "temperature": 0.0, "extra_body": extra}


def load(argument: str, settings: ApiSettings = ApiSettings()) -> OpenAICompatibleJudge:  # noqa: B008 - frozen
    """Make the judge `openai:MODEL` or `openai:MODEL@http://HOST:PORT/v1`.

    Without an address OpenAI itself is asked (or `OPENAI_BASE_URL`), with `OPENAI_API_KEY`. With
    one, or with `ROBOREWARD_BASE_URL`, that server is, with `ROBOREWARD_API_KEY` if it wants one: a
    key of OpenAI's is never sent elsewhere. `ROBOREWARD_DIALECT` (`openai` or `vllm`) says how to
    ask; by default OpenAI is asked in its own way and every other server as vLLM.

    Raises:
        InvalidSetting: No model, no key, or an invalid address.
    """
    model, _, url = argument.partition("@http")
    other = f"http{url}" if url else os.environ.get("ROBOREWARD_BASE_URL")
    if other:
        key = find_key("ROBOREWARD_API_KEY") or "none-needed"
    else:
        key = read_key("OPENAI_API_KEY", purpose=f"openai:{model}")
    base_url = other or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL
    name = os.environ.get("ROBOREWARD_DIALECT") or (VLLM if other else OPENAI).name
    if name not in DIALECTS:
        raise InvalidSetting(
            f"ROBOREWARD_DIALECT must be one of {', '.join(DIALECTS)}, got {name!r}."
        )
    return OpenAICompatibleJudge(
        model, api_key=key, base_url=base_url, dialect=DIALECTS[name], settings=settings
    )
