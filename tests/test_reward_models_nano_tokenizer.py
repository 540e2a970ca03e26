import pytest
from transformers import Qwen2Tokenizer

from reward_models.nano.tokenizer import SPECIAL_TOKENS, build_tokenizer
from reward_models.protocol.prompt import ANSWER_PREFIX, DIGITS, INSTRUCTION, build_prompt

WORDS = ("put", "the", "duck", "on", "towel", "user", "us", "assist", "étagère")


@pytest.fixture(scope="module")
def tokenizer() -> Qwen2Tokenizer:
    return build_tokenizer(WORDS)


def test_known_words_are_one_token(tokenizer: Qwen2Tokenizer) -> None:
    for word in WORDS:
        assert len(tokenizer.encode(f" {word}")) == 1, word


def test_the_fixed_prompt_is_short(tokenizer: Qwen2Tokenizer) -> None:
    assert len(tokenizer.encode(INSTRUCTION)) <= 20
    assert len(tokenizer.encode(build_prompt("put the duck on the towel"))) <= 20


@pytest.mark.parametrize(
    "text",
    [
        "put the duck",
        "Zoë's 日本語 \t\n\n 12345",
        "trust us, users",
        INSTRUCTION,
        "<|im_end|> ANSWER",
        "🦆",
    ],
)
def test_any_text_comes_back(tokenizer: Qwen2Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text), clean_up_tokenization_spaces=False) == text


def test_digits_stand_alone(tokenizer: Qwen2Tokenizer) -> None:
    prefix = tokenizer.encode(ANSWER_PREFIX)
    for digit in DIGITS:
        assert tokenizer.encode(ANSWER_PREFIX + digit)[:-1] == prefix
    assert len(tokenizer.encode("12345")) == 5


def test_special_tokens_are_those_of_qwen(tokenizer: Qwen2Tokenizer) -> None:
    for token in SPECIAL_TOKENS:
        assert len(tokenizer.encode(token)) == 1
    assert tokenizer.eos_token == "<|im_end|>"


def test_the_order_of_words_does_not_matter() -> None:
    assert build_tokenizer(WORDS).get_vocab() == build_tokenizer(reversed(WORDS)).get_vocab()
