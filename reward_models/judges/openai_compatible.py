"""Judges behind OpenAI's chat API: GPT models, and vLLM serving RoboReward or any other vision-language model.

The two are asked differently. GPT sees still frames and writes its answer, thoughts first. vLLM sees the video that
RoboReward's own processor would sample, and continues the forced start of the answer by one token, whose
log-probabilities give the five levels: the same single forward pass as `reward_models.qwen3vl.roboreward`.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import openai

from reward_models.judges.asking import (
    MAX_OUTPUT_TOKENS,
    STILLS,
    TIMEOUT_S,
    ApiJudge,
    as_int,
    describe,
    get,
)
from reward_models.judges.budget import Budget
from reward_models.net.credentials import find_key, read_key, without
from reward_models.net.retries import TRANSIENT_STATUS, Patience, Transient, retry_after_s
from reward_models.protocol.answer import Token, score_digit, score_text, unreadable
from reward_models.protocol.frames import OFFICIAL, Protocol, SampledClip, sample_clip
from reward_models.protocol.prompt import ANSWER_PREFIX, build_prompt
from reward_models.video.encode import image_url, video_url
from roboreward_gym.errors import InvalidSetting, RewardModelFailure
from roboreward_gym.types import Clip, ProgressScore

OPENAI_URL = "https://api.openai.com/v1"
OFF_FORMAT_LIMIT = 0.5
TOP_LOGPROBS = 20
"""Most alternatives that servers list for one token."""


@dataclass(frozen=True)
class Dialect:
    """How a kind of server is asked."""

    name: str
    frames: Literal["images", "video"]
    """Still frames in one message each, or one video of sampled frames."""
    protocol: Protocol
    """Which frames."""
    forced: bool
    """Whether the server continues the forced start of the answer; else it writes freely."""
    logprobs: bool
    """Whether to ask for log-probabilities; OpenAI's reasoning models refuse to give them."""


OPENAI = Dialect("openai", frames="images", protocol=STILLS, forced=False, logprobs=False)
VLLM = Dialect("vllm", frames="video", protocol=OFFICIAL, forced=True, logprobs=True)
DIALECTS = {dialect.name: dialect for dialect in (OPENAI, VLLM)}


class OpenAICompatibleJudge(ApiJudge):
    """A model behind an OpenAI-compatible server as a `RewardModel`.

    Args:
        model: The model's name on the server.
        api_key: The key; it is sent to the server and appears nowhere else.
        base_url: Address of the API, usually ending in `/v1`.
        dialect: How to ask.
        timeout_s: Longest wait for a sign of life of the server in [s].
        patience: When to ask again.
        budget: Limit on requests and cost; that of the process by default.
        concurrency: Most requests at the same time.
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
        timeout_s: float = TIMEOUT_S,
        patience: Patience = Patience(),  # noqa: B008 - frozen
        budget: Budget | None = None,
        concurrency: int = 4,
    ) -> None:
        super().__init__(
            model,
            api_key=api_key,
            base_url=base_url,
            patience=patience,
            budget=budget,
            concurrency=concurrency,
        )
        self.dialect = dialect
        # Our own patience counts every request against the budget; the client's would hide some.
        self._client = openai.OpenAI(
            api_key=api_key, base_url=self._url, timeout=timeout_s, max_retries=0
        )

    def _score(self, clip: Clip) -> ProgressScore:
        sampled = sample_clip(clip, self.dialect.protocol)
        request = build_request(self.model, sampled, self.dialect)
        body = self._ask(lambda: self._send(request))
        self._budget.charge(
            as_int(get(body, "usage", "prompt_tokens")),
            as_int(get(body, "usage", "completion_tokens")),
        )
        manifest = describe(sampled, self.model, self._url)
        served = get(body, "model")
        return read_completion(body, self.dialect, {**manifest, "served_model": served})

    def _send(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send one request and return the answer, which has at least one choice."""
        try:
            response = self._client.chat.completions.with_raw_response.create(**request)
        except openai.APIStatusError as error:
            raise self._explain(error) from error
        except openai.APIConnectionError as error:  # time-outs among them
            cause = f" ({error.__cause__})" if error.__cause__ else ""
            raise Transient(without(self._key, f"{error}{cause}")) from error
        try:
            body = json.loads(response.content)
        except (ValueError, RecursionError) as error:
            raise Transient(f"an answer that is no JSON: {error}") from error
        if get(body, "choices", 0, "message") is None:
            raise Transient(f"an answer without choices: {self._quote(json.dumps(body))}")
        return body

    def _explain(self, error: openai.APIStatusError) -> Transient | RewardModelFailure:
        """Turn an error status into one that is worth another request, or one that says what to do."""
        status, said = error.status_code, self._quote(str(error))
        if error.code == "insufficient_quota":
            advice = "The account has no credit left: add some, or take another judge."
        elif status in TRANSIENT_STATUS:
            return Transient(said, retry_after_s(error.response.headers.get("retry-after")))
        elif status in (401, 403):
            variable = "OPENAI_API_KEY" if self.dialect is OPENAI else "ROBOREWARD_API_KEY"
            advice = f"Check the key in {variable}, and that it may use this model."
        elif status == 404:
            advice = f"Check the name of the model, and the address: {self._url}"
        else:
            advice = "The server does not take such requests: check that the model sees images."
        return self._refused(status, said, advice)


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


def read_completion(
    body: Mapping[str, Any], dialect: Dialect, manifest: Mapping[str, Any]
) -> ProgressScore:
    """Read a score off an answer of the chat API; a refusal or half an answer is unreadable."""
    choice = get(body, "choices", 0)
    content, refusal = get(choice, "message", "content"), get(choice, "message", "refusal")
    if isinstance(refusal, str) and refusal:
        return unreadable(f"refusal: {refusal}", manifest)
    if not isinstance(content, str):
        return unreadable("", manifest)
    tokens = read_tokens(get(choice, "logprobs", "content"))
    if tokens is None:
        return unreadable(content, manifest)
    if dialect.forced:
        text = ANSWER_PREFIX + content
        if not tokens:
            return score_text(text, (), manifest)
        return score_digit(tokens[0], text, manifest, OFF_FORMAT_LIMIT)
    if get(choice, "finish_reason") not in ("stop", None):
        # Cut off by the limit or by a filter: what followed might have taken the answer back.
        return unreadable(content, manifest)
    return score_text(content, tokens, manifest)


def read_tokens(content: object) -> list[Token] | None:
    """Read the tokens of an answer; none if the server sent none, None if they make no sense."""
    if content is None:
        return []
    if not isinstance(content, list):
        return None
    tokens = []
    for entry in content:
        text, top = get(entry, "token"), get(entry, "top_logprobs")
        listed = [entry, *(top if isinstance(top, list) else [])]
        pairs = {get(item, "token"): get(item, "logprob") for item in listed}
        if not isinstance(text, str) or not all(
            isinstance(t, str) and isinstance(p, (int, float)) for t, p in pairs.items()
        ):
            return None
        tokens.append(Token(text, pairs))
    return tokens


def load(argument: str) -> OpenAICompatibleJudge:
    """Make the judge `openai:MODEL` or `openai:MODEL@http://HOST:PORT/v1`.

    Without an address OpenAI itself is asked (or `OPENAI_BASE_URL`), with `OPENAI_API_KEY`. With
    one, or with `ROBOREWARD_BASE_URL`, that server is, with `ROBOREWARD_API_KEY` if it wants one: a
    key of OpenAI's is never sent elsewhere. `ROBOREWARD_DIALECT` (`openai` or `vllm`) says how to
    ask; by default OpenAI is asked in its own way and every other server as vLLM.

    Raises:
        InvalidSetting: No model, no key, or an address that is none.
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
            f"Expected ROBOREWARD_DIALECT to be one of {', '.join(DIALECTS)}, got {name!r}."
        )
    return OpenAICompatibleJudge(model, api_key=key, base_url=base_url, dialect=DIALECTS[name])
