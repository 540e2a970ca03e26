"""Gemini (Robotics-ER 1.5, 3 Pro and the others) as a judge, through Google's own client.

Gemini is given the episode as a video, as RoboRewardBench fed it, and samples frames from it by itself: one a second
unless told otherwise. Answers are text.
"""

import json
from collections.abc import Mapping
from typing import Any

import httpx2
from google import genai
from google.genai import errors, types

from reward_models.judges.asking import (
    MAX_OUTPUT_TOKENS,
    TIMEOUT_S,
    ApiJudge,
    as_int,
    describe,
    get,
)
from reward_models.judges.budget import Budget
from reward_models.net.credentials import read_key
from reward_models.net.retries import TRANSIENT_STATUS, Patience, Transient, retry_after_s
from reward_models.protocol.answer import score_text, unreadable
from reward_models.protocol.frames import Protocol, SampledClip, sample_clip
from reward_models.protocol.prompt import build_prompt
from reward_models.video.encode import mp4
from roboreward_gym.errors import InvalidSetting, RewardModelFailure
from roboreward_gym.types import Clip, ProgressScore

GEMINI_URL = "https://generativelanguage.googleapis.com"
KEYS = ("GEMINI_API_KEY", "GOOGLE_API_KEY")

EVERY_FRAME = Protocol(fps=1e6, min_frames=2, max_frames=1_000_000)
"""Gemini samples from the whole clip by itself."""


class GeminiJudge(ApiJudge):
    """A Gemini model as a `RewardModel`.

    Args:
        model: The model's name, for example `gemini-robotics-er-1.5-preview`.
        api_key: The key; it is sent to the server and appears nowhere else.
        base_url: Address of the API.
        sampling_fps: Frames per second that Gemini looks at in [Hz]; its own default, 1, if None.
            The last frames of a short clip may then go unseen, as they did in RoboRewardBench.
        temperature: Of the sampling; RoboRewardBench used 0.
        timeout_s: Longest wait for a sign of life of the server in [s].
        patience: When to ask again.
        budget: Limit on requests and cost; that of the process by default.
        concurrency: Most requests at the same time.
    """

    example = "gemini:gemini-robotics-er-1.5-preview"
    _client: genai.Client

    def __init__(
        self,
        model: str,
        *,
        api_key: str,
        base_url: str = GEMINI_URL,
        sampling_fps: float | None = None,
        temperature: float = 0.0,
        timeout_s: float = TIMEOUT_S,
        patience: Patience = Patience(),  # noqa: B008 - frozen
        budget: Budget | None = None,
        concurrency: int = 4,
    ) -> None:
        if sampling_fps is not None and not 0 < sampling_fps <= 24:
            raise InvalidSetting(f"Expected a sampling rate in (0, 24] Hz, got {sampling_fps}.")
        super().__init__(
            model,
            api_key=api_key,
            base_url=base_url,
            patience=patience,
            budget=budget,
            concurrency=concurrency,
        )
        self._sampling_fps = sampling_fps
        self._temperature = temperature
        options = types.HttpOptions(base_url=self._url, timeout=round(timeout_s * 1000))
        # Without retry options the client sends each request once: our own patience counts them.
        self._client = genai.Client(vertexai=False, api_key=api_key, http_options=options)

    def _score(self, clip: Clip) -> ProgressScore:
        # All frames are sent; this checks them as every judge does.
        whole = sample_clip(clip, EVERY_FRAME)
        contents = self._contents(whole)
        body = self._ask(lambda: self._send(contents))
        usage = get(body, "usageMetadata")
        thoughts = as_int(get(usage, "thoughtsTokenCount")) or 0
        answer = as_int(get(usage, "candidatesTokenCount"))
        self._budget.charge(
            as_int(get(usage, "promptTokenCount")), None if answer is None else answer + thoughts
        )
        manifest = describe(whole, self.model, self._url)
        served = {"served_model": get(body, "modelVersion"), "sampling_fps": self._sampling_fps}
        return read_response(body, manifest | served)

    def _contents(self, clip: SampledClip) -> types.Content:
        video = types.Part(
            inline_data=types.Blob(data=mp4(clip.frames, clip.fps), mime_type="video/mp4"),
            video_metadata=None
            if self._sampling_fps is None
            else types.VideoMetadata(fps=self._sampling_fps),
        )
        return types.Content(
            role="user", parts=[types.Part.from_text(text=build_prompt(clip.task)), video]
        )

    def _send(self, contents: types.Content) -> dict[str, Any]:
        """Send one request and return the answer, which has a candidate or says why not."""
        config = types.GenerateContentConfig(
            temperature=self._temperature,
            max_output_tokens=MAX_OUTPUT_TOKENS,
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
            # The bytes as they came: what we do not read cannot break on a broken server.
            should_return_http_response=True,
        )
        try:
            response = self._client.models.generate_content(
                model=self.model, contents=contents, config=config
            )
        except errors.APIError as error:
            raise self._explain(error) from error
        except httpx2.HTTPError as error:
            raise Transient(self._quote(f"{type(error).__name__}: {error}")) from error
        http = response.sdk_http_response
        text = http.body if http and isinstance(http.body, str) else ""
        try:
            body = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Transient(f"an answer that is no JSON: {error}") from error
        blocked = get(body, "promptFeedback", "blockReason")
        if get(body, "candidates", 0) is None and blocked is None:
            raise Transient(f"an answer without candidates: {self._quote(text)}")
        return body

    def _explain(self, error: errors.APIError) -> Transient | RewardModelFailure:
        """Turn an error status into one that is worth another request, or one that says what to do."""
        said = self._quote(f"{error.status}: {error.message}")
        if error.code in TRANSIENT_STATUS:
            return Transient(f"status {error.code}, {said}", _retry_after_s(error))
        if error.code in (401, 403) or "API_KEY_INVALID" in str(error.details):
            advice = f"Check the key in {KEYS[0]}, and that it may use this model."
        elif error.code == 404:
            advice = (
                f"Check the name of the model, and the address: {self._url}. Models in preview may be in "
                "the beta API only: export GOOGLE_GENAI_API_VERSION=beta"
            )
        else:
            advice = "The server does not take such requests: check that the model sees videos."
        return self._refused(error.code, f"{said}.", advice)


def read_response(body: object, manifest: Mapping[str, Any]) -> ProgressScore:
    """Read a score off an answer of Gemini's; a blocked or a cut-off one is unreadable."""
    blocked = get(body, "promptFeedback", "blockReason")
    if blocked is not None:
        return unreadable(f"blocked: {blocked}", manifest)
    parts = get(body, "candidates", 0, "content", "parts")
    # Thoughts come as parts of their own, and may weigh several levels.
    texts = [
        get(part, "text")
        for part in (parts if isinstance(parts, list) else [])
        if get(part, "thought") is not True
    ]
    text = "".join(text for text in texts if isinstance(text, str))
    finish = get(body, "candidates", 0, "finishReason")
    if finish not in ("STOP", None):
        return unreadable(f"{finish}: {text}", manifest)
    return score_text(text, (), manifest)


def _retry_after_s(error: errors.APIError) -> float | None:
    """Read how long to wait from the header, or from the details that Google's APIs add."""
    headers = getattr(error.response, "headers", {})
    asked = retry_after_s(headers.get("retry-after"))
    if asked is not None:
        return asked
    details = get(error.details, "error", "details")
    for detail in details if isinstance(details, list) else []:
        delay = get(detail, "retryDelay")
        if isinstance(delay, str) and delay.endswith("s"):
            return retry_after_s(delay[:-1])
    return None


def load(argument: str) -> GeminiJudge:
    """Make the judge `gemini:MODEL` or `gemini:MODEL@http://HOST:PORT`, with `GEMINI_API_KEY`.

    Raises:
        InvalidSetting: No model, no key, or an address that is none.
    """
    model, _, url = argument.partition("@http")
    key = read_key(*KEYS, purpose=f"gemini:{model}")
    return GeminiJudge(model, api_key=key, base_url=f"http{url}" if url else GEMINI_URL)
