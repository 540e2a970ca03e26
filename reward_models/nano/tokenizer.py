"""nano's tokenizer: Qwen2's class and special tokens with a vocabulary of a few hundred words.

Any text can be encoded (byte-level BPE), known words cost one token, and so does each line of the fixed prompt:
a small language model should spend its few layers on the video, not on reading the rubric.
"""

from collections.abc import Iterable

from tokenizers import AddedToken
from tokenizers.pre_tokenizers import ByteLevel
from transformers import Qwen2Tokenizer

from reward_models.protocol.prompt import INSTRUCTION

END_OF_TEXT = "<|endoftext|>"
END_OF_TURN = "<|im_end|>"
IMAGE_PAD = "<|image_pad|>"
VIDEO_PAD = "<|video_pad|>"
VISION_START = "<|vision_start|>"
VISION_END = "<|vision_end|>"
# Names and order of Qwen3-VL's own special tokens, as far as the processor and the template need them.
SPECIAL_TOKENS = (
    END_OF_TEXT,
    "<|im_start|>",
    END_OF_TURN,
    VISION_START,
    VISION_END,
    "<|vision_pad|>",
    IMAGE_PAD,
    VIDEO_PAD,
)
WORDS_OF_THE_PROTOCOL = ("user", "assistant", "ANSWER")

# Qwen3-VL's template for the turns that occur here: text and videos of a user, text of the assistant.
CHAT_TEMPLATE = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.content is string %}
        {{- message.content }}
    {%- else %}
        {%- for part in message.content %}
            {%- if part.type == 'video' %}
                {{- '<|vision_start|><|video_pad|><|vision_end|>' }}
            {%- elif part.type == 'image' %}
                {{- '<|vision_start|><|image_pad|><|vision_end|>' }}
            {%- elif part.type == 'text' %}
                {{- part.text }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def build_tokenizer(words: Iterable[str], lines: Iterable[str] = ()) -> Qwen2Tokenizer:
    """Make a tokenizer in which each of the words is one token when a space stands before it.

    Args:
        words: Words of tasks and captions, without spaces.
        lines: Further fixed texts that become one token each, beside the lines of the prompt.
    """
    vocab = {symbol: i for i, symbol in enumerate(sorted(ByteLevel.alphabet()))}
    merges: list[tuple[str, str]] = []
    chained = [f" {word}" for word in sorted(set(words))] + list(WORDS_OF_THE_PROTOCOL)
    # Words with a space come first: their merges then have priority, and the later ones cannot
    # break them apart by merging letters in their middle.
    for word in [*chained, " seconds"]:
        symbols = [_byte_symbols(char) for char in word]
        _chain([s for symbol in symbols for s in symbol], vocab, merges)
    tokenizer = Qwen2Tokenizer(
        vocab=vocab,
        merges=merges,
        eos_token=END_OF_TURN,
        pad_token=END_OF_TEXT,
        unk_token=None,
        chat_template=CHAT_TEMPLATE,
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL_TOKENS)})
    fixed = [*INSTRUCTION.splitlines(keepends=True), *lines]
    tokenizer.add_tokens(
        [AddedToken(line, normalized=False) for line in dict.fromkeys(fixed) if line.strip()]
    )
    return tokenizer


def _byte_symbols(char: str) -> str:
    """The characters that byte-level BPE writes for the UTF-8 bytes of one character."""
    (token, _), *_ = ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(char)
    return token


def _chain(symbols: list[str], vocab: dict[str, int], merges: list[tuple[str, str]]) -> None:
    """Add the merges that build one word from left to right; shared beginnings are stored once."""
    left = symbols[0]
    for right in symbols[1:]:
        merged = left + right
        if merged not in vocab:
            vocab[merged] = len(vocab)
            merges.append((left, right))
        left = merged
