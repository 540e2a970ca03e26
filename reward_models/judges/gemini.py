"""Gemini (Robotics-ER 1.5, 3 Pro and the others) as a judge, through Google's own client.

Gemini is given the episode as a video, as RoboRewardBench fed it, and samples frames from it by itself: one a second
unless told otherwise. Answers are text.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx2
from google import genai
from google.genai import errors, types

from reward_models.judges.api_judge import (
    MAX_OUTPUT_TOKENS,
    ApiJudge,
    ApiSettings,
    as_int,
    get,
    why_incomplete,
)
from reward_models.net.addresses import is_loopback_url
from reward_models.net.credentials import read_key
from reward_models.net.retries import TRANSIENT_STATUS, Transient, retry_after_s
from reward_models.protocol.answer import score_text, unreadable
from reward_models.protocol.frames import SampledClip, VideoProtocol
from reward_models.protocol.prompt import build_prompt
from reward_models.video.write import mp4
from roboreward_gym.errors import InvalidSetting, RewardModelFailure
from roboreward_gym.types import ProgressScore

GEMINI_URL = "https://generativelanguage.googleapis.com"
KEYS = ("GEMINI_API_KEY", "GOOGLE_API_KEY")

EVERY_FRAME = VideoProtocol(fps=1e6, min_frames=2, max_frames=1_000_000)
"""Gemini samples from the whole clip by itself."""


class GeminiJudge(ApiJudge):
    """A Gemini model as a `RewardModel`.

    Args:
        model: The model's name, for example `gemini-robotics-er-1.5-preview`.
        api_key: The key; it is sent to the server and appears nowhere else.
        base_url: Address of the API.
        sampling_fps: Frames per second that Gemini looks at in [Hz]; its own default, 1, if None.
            The last frames of a short clip may then go unseen, as they did in RoboRewardBench.
        temperature: Temperature of the sampling; RoboRewardBench used 0.
        settings: Time-outs, repeated requests, budget and concurrency.
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
        settings: ApiSettings = ApiSettings(),  # noqa: B008 - frozen
    ) -> None:
        if sampling_fps is not None and not 0 < sampling_fps <= 24:
            raise InvalidSetting(f"sampling_fps must be in (0, 24] Hz, got {sampling_fps}.")
        super().__init__(
            model, api_key=api_key, base_url=base_url, protocol=EVERY_FRAME, settings=settings
        )
        self._sampling_fps = sampling_fps
        self._temperature = temperature
        options = types.HttpOptions(
            base_url=self._url,
            timeout=round(settings.timeout_s * 1000),
            # A server on this machine is never behind the proxy of HTTP_PROXY.
            client_args={"trust_env": not is_loopback_url(self._url)},
        )
        # Without retry options the client sends each request once: our own patience counts them.
        self._client = genai.Client(vertexai=False, api_key=api_key, http_options=options)

    def _prepare(self, clip: SampledClip) -> Callable[[], Mapping[str, Any]]:
        # A recording that was thinned plays at the rate that keeps its duration.
        rate = clip.fps * len(clip.frames) / clip.total
        video = types.Part(
            inline_data=types.Blob(data=mp4(clip.frames, rate), mime_type="video/mp4"),
            video_metadata=None
            if self._sampling_fps is None
            else types.VideoMetadata(fps=self._sampling_fps),
        )
        prompt = types.Part.from_text(text=build_prompt(clip.task))
        contents = types.Content(role="user", parts=[prompt, video])
        return lambda: self._send(contents)

    def chat(self, prompt: str, video: bytes | None = None) -> str:
        """Ask the model something else than for a score; the text of its answer, empty if it was blocked.

        Args:
            prompt: The text.
            video: An MP4 that it looks at.

        Raises:
            RewardModelFailure: The server refuses the request, or gave no answer for too long.
            BudgetExhausted: No further request is allowed.
        """
        parts = [types.Part.from_text(text=prompt)]
        if video is not None:
            parts.append(types.Part(inline_data=types.Blob(data=video, mime_type="video/mp4")))
        contents = types.Content(role="user", parts=parts)
        return answer_text(self._request(lambda: self._send(contents)))

    def _count_tokens(self, body: Mapping[str, Any]) -> tuple[int | None, int | None]:
        usage = get(body, "usageMetadata")
        # Counts of 0 are left out: a blocked answer has no tokens, and thoughts may be all that there is.
        counted = get(usage, "candidatesTokenCount")
        answer = 0 if counted is None else as_int(counted)
        thoughts = as_int(get(usage, "thoughtsTokenCount")) or 0
        prompt = as_int(get(usage, "promptTokenCount"))
        return prompt, None if answer is None else answer + thoughts

    def _read(self, body: Mapping[str, Any], manifest: Mapping[str, Any]) -> ProgressScore:
        served = {"served_model": get(body, "modelVersion"), "sampling_fps": self._sampling_fps}
        return read_response(body, {**manifest, **served})

    def _send(self, contents: types.Content) -> Mapping[str, Any]:
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
            said = self._quote(f"{type(error).__name__}: {error}")
            raise Transient(said, unanswered=isinstance(error, httpx2.ReadTimeout)) from error
        http = response.sdk_http_response
        text = http.body if http and isinstance(http.body, str) else ""
        try:
            body = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Transient(f"an answer that is not JSON: {error}") from error
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
            return self._refusal(403, f"{said}.", advice)
        if error.code == 404:
            advice = (
                f"Check the name of the model, and the address: {self._url}. Models in preview may be in "
                "the beta API only: export GOOGLE_GENAI_API_VERSION=beta"
            )
        else:
            advice = "The server does not take such requests: check that the model sees videos."
        return self._refusal(error.code, f"{said}.", advice)


def read_response(body: object, manifest: Mapping[str, Any]) -> ProgressScore:
    """Read a score off an answer of Gemini's; a blocked or a cut-off one is unreadable, and says why."""
    blocked = get(body, "promptFeedback", "blockReason")
    if blocked is not None:
        return unreadable("", manifest, f"blocked: {blocked}")
    text = answer_text(body)
    reason = why_incomplete(get(body, "candidates", 0, "finishReason"))
    if reason is not None:
        return unreadable(text, manifest, reason)
    parts = get(body, "candidates", 0, "content", "parts")
    if isinstance(parts, list) and parts and not text:
        return unreadable("", manifest, "thoughts without an answer after them")
    return score_text(text, (), manifest)


def answer_text(body: object) -> str:
    """Read the text of an answer: thoughts come as parts of their own, and may weigh several levels."""
    parts = get(body, "candidates", 0, "content", "parts")
    parts = parts if isinstance(parts, list) else []
    texts = [get(part, "text") for part in parts if get(part, "thought") is not True]
    return "".join(text for text in texts if isinstance(text, str))


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


def load(argument: str, settings: ApiSettings = ApiSettings()) -> GeminiJudge:  # noqa: B008 - frozen
    """Make the judge `gemini:MODEL` or `gemini:MODEL@http://HOST:PORT`, with `GEMINI_API_KEY`.

    Raises:
        InvalidSetting: No model, no key, or an invalid address.
    """
    model, _, url = argument.partition("@http")
    key = read_key(*KEYS, purpose=f"gemini:{model}")
    base_url = f"http{url}" if url else GEMINI_URL
    return GeminiJudge(model, api_key=key, base_url=base_url, settings=settings)
