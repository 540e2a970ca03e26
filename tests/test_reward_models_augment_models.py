"""Roles played by models: what they are sent, how their answers are read, and every answer that cannot be used."""

import base64
import dataclasses
import io
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reward_models.augment.chat_models import LocalText, load_chat_model
from reward_models.augment.config import RoleNames
from reward_models.augment.model_roles import (
    ModelDescriber,
    ModelPlanner,
    ModelProposer,
    ModelStandardiser,
    ModelVerifier,
    ScoreVerifier,
    one_line,
    read_verdict,
)
from reward_models.augment.models import AnswerCache, CachedModel, Question, key_of
from reward_models.augment.pipeline import Steps
from reward_models.augment.roles import Description, Episode, Proposal, UnusableAnswer
from reward_models.augment.run import main, run
from reward_models.augment.standardise import standardise
from reward_models.data.example import Frames
from reward_models.judges.api_judge import ApiSettings
from reward_models.net.retries import Patience
from roboreward_gym.errors import (
    BudgetExhausted,
    InvalidClip,
    InvalidSetting,
    RewardModelFailure,
    UnknownName,
)
from tests.augment_data import config, moving_square, write_set
from tests.fake_api import FakeServer, Reply, Request, completion, fake_server
from tests.fakes import FailingRewardModel, FakeRewardModel
from tests.test_reward_models_data_rlds import shared

EPISODE = Episode("e", "Put the duck on the towel", Frames(moving_square(0), 10.0), 20)
SEEN = Description(("duck", "towel", "plate"), "duck on table", "moves it", "duck on towel")
DESCRIPTION = {**vars(SEEN), "objects": list(SEEN.objects), "done_at_start": []}
PLAN = {str(level): f"failure {level}" for level in (1, 2, 3, 4)}


class Answers:
    """A model that gives these answers in turn, and remembers what it was asked."""

    name = "answers"

    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)
        self.asked: list[Question] = []

    def ask(self, question: Question) -> str:
        self.asked.append(question)
        return self._answers[min(len(self.asked), len(self._answers)) - 1]

    def close(self) -> None:
        pass


def test_a_description_is_read_from_json_with_words_around_it() -> None:
    model = Answers(f"<think>hm {{}}</think>Here:\n```json\n{json.dumps(DESCRIPTION)}\n```")
    assert ModelDescriber(model).describe(EPISODE) == SEEN
    assert model.asked[0].episode is EPISODE


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        ("I cannot see anything.", "no_json"),
        ("[1, 2]", "no_json"),
        ("{" * 5000, "no_json"),
        (json.dumps({**DESCRIPTION, "final": "half a character: \ud800"}), "no_json"),
        (json.dumps({**DESCRIPTION, "objects": []}), "no_description"),
        (json.dumps({**DESCRIPTION, "final": None}), "no_description"),
    ],
)
def test_a_description_that_cannot_be_used_is_asked_for_again(answer: str, rule: str) -> None:
    model = Answers(answer, json.dumps(DESCRIPTION))
    assert ModelDescriber(model).describe(EPISODE) == SEEN
    assert [q.attempt for q in model.asked] == [0, 1]
    with pytest.raises(UnusableAnswer) as error:
        ModelDescriber(Answers(answer)).describe(EPISODE)
    assert error.value.rule == rule


def test_a_plan_has_four_different_failures_in_order() -> None:
    assert ModelPlanner(Answers(json.dumps(PLAN))).plan("x", SEEN).failures[3] == "failure 4"
    for plan in ({"1": "a"}, dict.fromkeys("1234", "the same"), {**PLAN, "2": 7}):
        with pytest.raises(UnusableAnswer) as error:
            ModelPlanner(Answers(json.dumps(plan))).plan("x", SEEN)
        assert error.value.rule == "no_plan"


def test_a_proposer_sees_the_rubric_lower_tasks_and_what_was_rejected() -> None:
    model = Answers('New instruction: "Put the duck on the plate"')
    proposal = Proposal(SEEN, "Put it", "wrong end", 3, ("Lift the duck",), (("Sing", "no verb"),))
    assert ModelProposer(model).propose(proposal) == "Put the duck on the plate"
    prompt = model.asked[0].prompt
    for part in (
        "3 - Partial",
        "Lift the duck",
        "Sing (no verb)",
        "wrong end",
        "fewer than 25 words",
    ):
        assert part in prompt
    assert "keep the main object" in prompt
    low = dataclasses.replace(proposal, level=1)
    ModelProposer(model).propose(low)
    assert "keep the main object" not in model.asked[1].prompt


@pytest.mark.parametrize("answer", ["", "  \n ", "Put it\nor lift it", "Put " * 5000, '""'])
def test_an_answer_that_is_no_task_cannot_be_used(answer: str) -> None:
    with pytest.raises(UnusableAnswer) as error:
        one_line(answer)
    assert error.value.rule == "no_task"


@pytest.mark.parametrize(
    ("answer", "confirmed"),
    [("It fits.\nANSWER: TRUE", True), ("answer: false", False), ("**ANSWER: TRUE**", True)],
)
def test_a_verdict_is_read(answer: str, *, confirmed: bool) -> None:
    assert read_verdict(answer).confirmed is confirmed


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        ("ANSWER: TRUE, no, wait. ANSWER: FALSE", "contradictory_verdict"),
        ("Looks fine.", "unreadable_verdict"),
        ("", "unreadable_verdict"),
    ],
)
def test_a_verdict_that_says_nothing_or_both_confirms_nothing(answer: str, rule: str) -> None:
    with pytest.raises(UnusableAnswer) as error:
        ModelVerifier(Answers(answer)).verify(EPISODE, "x", 2)
    assert error.value.rule == rule


def test_a_correction_that_is_another_task_is_not_taken() -> None:
    assert (
        ModelStandardiser(Answers("Put the duck on the towel"))
        .standardise("put teh duck on the towel")
        .startswith("Put")
    )
    assert ModelStandardiser(Answers("I am sorry")).standardise("lift the lid") == "lift the lid"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (" open  the drawer . ", "Open the drawer"),
        ("pick_up_the_cup", "Pick up the cup"),
        ("put the jalapeño in the “pot”", 'Put the jalapeño in the "pot"'),
        ("把鸭子放在盘子上", "把鸭子放在盘子上"),
    ],
)
def test_text_is_cleaned_without_a_change_of_meaning(before: str, after: str) -> None:
    assert standardise(before) == after
    assert standardise(after) == after


def test_a_reward_model_confirms_what_it_would_say_itself() -> None:
    verifier = ScoreVerifier(FakeRewardModel(3))
    assert verifier.verify(EPISODE, "x", 3).confirmed
    assert not verifier.verify(EPISODE, "x", 4).confirmed
    assert ScoreVerifier(FakeRewardModel(3), tolerance=1).verify(EPISODE, "x", 4).confirmed
    with pytest.raises(UnusableAnswer):
        ScoreVerifier(FakeRewardModel(lambda _: None)).verify(EPISODE, "x", 4)
    with pytest.raises(UnusableAnswer, match="too dark"):
        ScoreVerifier(FailingRewardModel(InvalidClip("too dark"))).verify(EPISODE, "x", 4)


def test_the_key_of_an_answer_depends_on_all_that_the_answer_does() -> None:
    base = Question("p", EPISODE)
    other = Episode("e", EPISODE.task, Frames(moving_square(1), 10.0), 20)
    slower = Episode("e", EPISODE.task, Frames(moving_square(0), 5.0), 20)
    questions = [
        base,
        Question("q", EPISODE),
        Question("p"),
        Question("p", other),
        Question("p", slower),
    ]
    questions += [Question("p", EPISODE, 1), Question("p", EPISODE.first(10))]
    keys = [key_of("m", q) for q in questions] + [key_of("n", base)]
    assert len(set(keys)) == len(keys)
    again = Episode("another name", "x", Frames(moving_square(0), 10.0), 20)
    assert key_of("m", Question("p", again)) == keys[0]


def test_a_question_is_paid_for_once_over_all_runs(tmp_path: Path) -> None:
    for _ in range(2):
        cache = AnswerCache(tmp_path / "cache")
        model = Answers("yes")
        cached = CachedModel(model, cache)
        assert [cached.ask(Question("p")), cached.ask(Question("p"))] == ["yes", "yes"]
        cache.close()
    assert model.asked == []


def test_an_answer_with_half_of_a_character_is_kept_and_paid_for_once(tmp_path: Path) -> None:
    cache, model = AnswerCache(tmp_path / "cache"), Answers("fine \ud83d\nANSWER: TRUE")
    cached = CachedModel(model, cache)
    assert {cached.ask(Question("p")) for _ in range(2)} == {"fine ?\nANSWER: TRUE"}
    cache.close()
    assert len(model.asked) == 1


def test_threads_that_have_one_question_ask_it_once(tmp_path: Path) -> None:
    model, both = Answers("yes"), threading.Barrier(2, timeout=10)
    cache = AnswerCache(tmp_path / "cache")

    def asks() -> None:
        both.wait()
        CachedModel(model, cache).ask(Question("p"))

    threads = [threading.Thread(target=asks) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cache.close()
    assert len(model.asked) == 1


# Over HTTP: a fake server plays all roles for real frames.


def role_of(prompt: str) -> str:
    starts = {
        "Correct grammar": "standardise",
        "A video shows a robot": "plan",
        "Write one new": "propose",
    }
    for start, role in starts.items():
        if prompt.startswith(start):
            return role
    return "verify" if "Claim: the video" in prompt else "describe"


@contextmanager
def all_roles(**answers: Callable[[str], str]) -> Iterator[tuple[FakeServer, Counter[str]]]:
    """A server that plays every role sensibly, apart from those given."""
    asked: Counter[str] = Counter()
    lock = threading.Lock()
    objects = ["cup", "pot", "lever", "carrot", "plate", "sink", "rack"]
    tasks = [
        "Lift the {0}",
        "Put the plate in the sink",
        "Move the {0} to the rack",
        "Place the {0} beside the plate slowly",
    ]

    def propose(prompt: str) -> str:
        level = int(prompt.split("reached exactly level ")[1][0])
        original = prompt.split('fulfils the instruction "')[1].split('"')[0].lower()
        thing = next((o for o in objects if o in original), "plate")
        return tasks[level - 1].format(thing)

    default = {
        "standardise": lambda p: p.rsplit("Instruction: ", 1)[1],
        "describe": lambda _: json.dumps({**DESCRIPTION, "objects": objects}),
        "plan": lambda _: json.dumps(PLAN),
        "propose": propose,
        "verify": lambda p: f"Seen ({len(p)}).\nANSWER: TRUE",
    }

    def reply(request: Request) -> Reply:
        content = request.json["messages"][0]["content"]
        prompt = content[0]["text"]
        role = role_of(prompt)
        with lock:
            asked[role] += 1
        return Reply(completion({**default, **answers}[role](prompt)))

    with fake_server(reply) as server:
        yield server, asked


def roles_at(server: FakeServer) -> RoleNames:
    return RoleNames(*[f"openai:fake@{server.url}/v1"] * 5)


def bridge(tmp_path: Path, server: FakeServer, **changes: Any) -> Any:
    source = shared("octo_bridge_rlds/tests/debug_dataset/bridge_dataset/1.0.0")
    more = {"source": f"rlds:{source}", "roles": roles_at(server), "limit": 3, **changes}
    return config(source, tmp_path / "out", **more)


def test_real_frames_are_augmented_by_models_behind_a_server(tmp_path: Path) -> None:
    with all_roles() as (server, asked):
        summary = run(bridge(tmp_path, server))
    assert summary.by_kind == {"counterfactual": 12, "original": 3, "truncated": 9}
    assert summary.rejected_by_rule == {"too_short": 3}
    assert set(asked) == {"standardise", "describe", "plan", "propose", "verify"}
    described = next(
        r
        for r in server.requests
        if role_of(r.json["messages"][0]["content"][0]["text"]) == "describe"
    )
    images = described.json["messages"][0]["content"][1:]
    # Ten frames at 5 Hz: one a second, and always the true last one.
    pixels = [decoded(image["image_url"]["url"]) for image in images]
    assert [p.shape for p in pixels] == [(64, 64, 3)] * 2
    assert described.json["max_completion_tokens"] > 0


def decoded(url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def test_the_second_run_asks_nothing(tmp_path: Path) -> None:
    with all_roles() as (server, asked):
        run(bridge(tmp_path, server))
        (tmp_path / "out/audit.jsonl").unlink()
        before = asked.total()
        run(bridge(tmp_path, server))
        assert asked.total() == before


@pytest.mark.parametrize(
    ("role", "answer", "rule"),
    [
        ("propose", "asdf jkl", "verb_first"),
        ("propose", "把鸭子放在盘子上", "ascii_line"),
        ("propose", "Pon el pato en el plato", "verb_first"),
        ("propose", "Put it\n" * 3000, "no_task"),
        ("propose", "Put the " + "very " * 50 + "cup", "short"),
        ("propose", "", "no_task"),
        ("verify", "ANSWER: TRUE ANSWER: FALSE", "contradictory_verdict"),
        ("plan", "no", "no_json"),
    ],
)
def test_a_role_that_answers_nonsense_is_counted_and_the_rest_goes_on(
    tmp_path: Path, role: str, answer: str, rule: str
) -> None:
    steps = Steps(verify_original=False, truncate=role != "verify")
    with all_roles(**{role: lambda _: answer}) as (server, asked):
        summary = run(bridge(tmp_path, server, limit=1, steps=steps))
    assert summary.by_kind["original"] == 1
    assert "counterfactual" not in summary.by_kind
    assert summary.rejected_by_rule[rule] >= 1
    assert asked[role] <= 12
    if role == "propose":
        assert summary.by_kind["truncated"] == 3


def test_a_budget_of_requests_ends_the_run_and_it_goes_on_with_a_larger_one(tmp_path: Path) -> None:
    with all_roles() as (server, asked):
        whole = bridge(tmp_path, server)
        run(dataclasses.replace(whole, out=tmp_path / "whole"))
        needed = asked.total()
        asked.clear()
        poor = dataclasses.replace(whole, max_requests=10, concurrency=1)
        with pytest.raises(BudgetExhausted, match="--max-requests"):
            run(poor)
        assert asked.total() == 10
        run(whole)
        assert asked.total() == needed


def test_a_budget_of_money_ends_the_run(tmp_path: Path) -> None:
    with all_roles() as (server, asked):
        # 1,000 input and 10 output tokens an answer, at one dollar for each million.
        price = {
            "max_cost_usd": 0.00505 - 1e-9,
            "usd_per_million_tokens": (1.0, 1.0),
            "concurrency": 1,
        }
        with pytest.raises(BudgetExhausted):
            run(bridge(tmp_path, server, **price))
        assert asked.total() == 5


def test_a_cost_limit_without_prices_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    with all_roles() as (server, asked):
        with pytest.raises(InvalidSetting):
            run(bridge(tmp_path, server, max_cost_usd=1.0))
        assert not asked


@pytest.mark.parametrize(
    ("environment", "flags", "sent"),
    [
        ({"MAX_COST_USD": "0.005"}, {"max_requests": 100_000}, 5),
        ({"MAX_REQUESTS": "4"}, {"max_cost_usd": 5.0}, 4),
        ({"MAX_REQUESTS": "4"}, {"max_requests": 3}, 3),
    ],
)
def test_a_limit_that_is_not_given_is_that_of_the_environment(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    flags: dict[str, Any],
    sent: int,
) -> None:
    for name, value in {"USD_PER_MILLION_TOKENS": "1,1", **environment}.items():
        monkeypatch.setenv(f"ROBOREWARD_{name}", value)
    with all_roles() as (server, asked):
        with pytest.raises(BudgetExhausted):
            run(bridge(tmp_path, server, concurrency=1, **flags))
        assert asked.total() == sent


def test_gemini_plays_roles_and_is_sent_the_video(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "key-1234")
    body = {
        "candidates": [{"content": {"parts": [{"text": "ANSWER: TRUE"}]}, "finishReason": "STOP"}]
    }
    with fake_server(Reply(body)) as server:
        model = load_chat_model(f"gemini:g@{server.url}", ApiSettings())
        assert ModelVerifier(model).verify(EPISODE, "Open it", 2).confirmed
        model.ask(Question("only text"))
        model.close()
    parts = [r.json["contents"][0]["parts"] for r in server.requests]
    assert [len(p) for p in parts] == [2, 1]


def test_a_server_that_does_not_answer_is_a_failure_and_no_label() -> None:
    patience = Patience(attempts=2, first_wait_s=0.0, longest_wait_s=0.0)
    with fake_server(Reply(b"", status=500)) as server:
        model = load_chat_model(f"openai:m@{server.url}/v1", ApiSettings(patience=patience))
        with pytest.raises(RewardModelFailure):
            ModelVerifier(model).verify(EPISODE, "x", 2)
        model.close()
    assert len(server.requests) == 2


def test_an_unknown_kind_of_model_is_refused() -> None:
    with pytest.raises(UnknownName):
        load_chat_model("gpt-5-mini", ApiSettings())


def test_the_command_ends_with_a_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_set(tmp_path / "sim", 1)
    roles = dict(
        zip(
            vars(RoleNames()), ("code", "simulator", "grammar", "grammar", "simulator"), strict=True
        )
    )
    arguments = [f"--roles.{role}={name}" for role, name in roles.items()]
    assert main([f"--source=simulator:{source}", f"--out={tmp_path / 'out'}", *arguments]) == 0
    assert "1 original" in capsys.readouterr().err


def tiny_text_model(folder: Path, texts: Sequence[str]) -> Path:
    """A random Qwen3 of a few thousand parameters with a tokenizer of words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    words = sorted({word for text in texts for word in text.split()})
    vocabulary = {word: i for i, word in enumerate(["<unk>", "<eos>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<eos>", pad_token="<eos>"
    )
    fast.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    shape = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    more = {
        "num_key_value_heads": 1,
        "head_dim": 8,
        "vocab_size": len(vocabulary),
        "eos_token_id": 1,
        "pad_token_id": 1,
        "bos_token_id": None,
    }
    Qwen3ForCausalLM(Qwen3Config(**shape, **more)).save_pretrained(folder)
    return folder


def test_a_local_text_model_writes_and_cannot_see(tmp_path: Path) -> None:
    folder = tiny_text_model(tmp_path / "qwen", ["put the duck on the plate", "lift it"])
    model = LocalText(str(folder), max_new_tokens=5)
    first = model.ask(Question("put the duck"))
    assert model.ask(Question("put the duck")) == first
    assert len(first.split()) <= 5
    assert model.ask(Question("put the duck", attempt=1)) == model.ask(
        Question("put the duck", attempt=1)
    )
    with pytest.raises(UnusableAnswer, match="cannot look"):
        model.ask(Question("put", EPISODE))
