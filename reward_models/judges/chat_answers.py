"""Reading answers and errors of servers that speak OpenAI's chat API, each in its own way."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from reward_models.judges.api_judge import TOKEN_LIMIT, get, why_incomplete
from reward_models.protocol.answer import Token, score_digit, score_text, unreadable
from reward_models.protocol.prompt import ANSWER_PREFIX
from roboreward_gym.types import ProgressScore

OFF_FORMAT_LIMIT = 0.5

REASONING = ("reasoning_content", "reasoning")
"""Where servers put thoughts: DeepSeek, vLLM and others at first, vLLM and OpenRouter now."""

ADVICE = (
    (
        # vLLM before 0.6.5 forbids fields that OpenAI's API does not have, continue_final_message among them.
        r"extra_forbidden|Extra inputs are not permitted",
        "This server refuses fields that it does not know: update vLLM, or ask for still images and text "
        "with: export ROBOREWARD_DIALECT=openai",
    ),
    (
        # vLLM before 0.6.3 takes no video at all, and pydantic lists what it would have taken.
        r"Unknown part type: video|Input should be '(text|image_url|input_audio|refusal)'",
        "This server takes no videos: update vLLM, or ask with still images: "
        "export ROBOREWARD_DIALECT=openai",
    ),
    (
        r"At most \d+ (video|image)\(?s?\)? may be provided",
        "Start vLLM with --limit-mm-per-prompt '{\"video\": 1}' (or with more images, if it is asked with "
        "still images).",
    ),
    (
        r"logprobs? of \d+, which is greater than max allowed",
        "Start vLLM with --max-logprobs 20.",
    ),
    (
        r"maximum (context|model) length",
        "Start vLLM with a larger --max-model-len (8192 holds every question of ours), or shorten the task.",
    ),
    (
        r"is not a multimodal model|does not support (multimodal|video|image)",
        "This model sees no videos: serve a vision-language model.",
    ),
    (
        r"vllm\[video\]|No module named 'cv2'",
        "Install vllm[video] where the server runs.",
    ),
    (
        r"chat template",
        "The served model has no chat template: start vLLM with --chat-template, or serve an instruct model.",
    ),
)  # fmt: skip
"""What servers say when they cannot take a request of ours, and what to do about it."""


def advice_about(message: str) -> str | None:
    """Say what to do about a known error of a server; None if it is not known.

    >>> advice_about("Requested sample logprobs of 20, which is greater than max allowed: 5")
    'Start vLLM with --max-logprobs 20.'
    """
    return next((advice for pattern, advice in ADVICE if re.search(pattern, message)), None)


def read_completion(
    body: Mapping[str, Any], manifest: Mapping[str, Any], *, forced: bool
) -> ProgressScore:
    """Read a score off an answer; a refusal or half an answer is unreadable, and says why.

    Args:
        body: The answer, with at least one choice.
        manifest: Goes with the score.
        forced: Whether the server was made to continue the forced start of the answer by one token.
    """
    choice = get(body, "choices", 0)
    message, finish = get(choice, "message"), get(choice, "finish_reason")
    text, refusal = read_content(message)
    if refusal:
        return unreadable(refusal, manifest, "refusal")
    # One token is all that a forced answer may have: there the token limit is its normal end.
    reason = None if forced and str(finish).lower() in TOKEN_LIMIT else why_incomplete(finish)
    if reason is not None:
        return unreadable(text or "", manifest, reason)
    if not text and any(get(message, key) for key in REASONING):
        return unreadable("", manifest, "thoughts without an answer after them")
    if text is None:
        return unreadable("", manifest, "an answer without text")
    tokens = read_tokens(get(choice, "logprobs", "content"))
    if tokens is None:
        return unreadable(text, manifest, "log-probabilities that make no sense")
    if not forced:
        return score_text(text, tokens, manifest)
    if not tokens:
        return score_text(ANSWER_PREFIX + text, (), manifest)
    return score_digit(tokens[0], ANSWER_PREFIX + text, manifest, OFF_FORMAT_LIMIT)


def read_content(message: object) -> tuple[str | None, str]:
    """Read the text of a message and its refusal; the text is None if there is none.

    Content is a text, or a list of parts: texts, thoughts and refusals, of which only texts are the answer.
    """
    content, refusal = get(message, "content"), get(message, "refusal")
    if not isinstance(content, list):
        return (content if isinstance(content, str) else None), _text(refusal)
    texts = [get(part, "text") for part in content if get(part, "type") in ("text", "output_text")]
    refusals = [refusal, *(get(part, "refusal") for part in content)]
    found = [text for text in texts if isinstance(text, str)]
    return ("".join(found) if found else None), "".join(map(_text, refusals))


def read_tokens(content: object) -> Sequence[Token] | None:
    """Read the tokens of an answer; none if the server sent none, None if they make no sense."""
    if content is None:
        return []
    if not isinstance(content, list):
        return None
    tokens = []
    for entry in content:
        text, top = get(entry, "token"), get(entry, "top_logprobs")
        listed = [entry, *(top if isinstance(top, list) else [])]
        pairs = [(get(item, "token"), get(item, "logprob")) for item in listed]
        if not all(isinstance(t, str) and isinstance(p, (int, float)) for t, p in pairs):
            return None
        tokens.append(Token(text, dict(pairs)))
    return tokens


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
