"""Asking again, counting what it costs, keeping keys to oneself: without any server."""

import email.utils
import logging
import time

import pytest

from reward_models.net.addresses import check_url, is_loopback, is_loopback_url
from reward_models.net.budget import Budget, process_budget
from reward_models.net.credentials import find_key, read_key, without
from reward_models.net.retries import Patience, Transient, retry_after_s
from roboreward_gym.errors import BudgetExhausted, InvalidSetting, RewardModelFailure

QUICK = Patience(attempts=4, first_wait_s=0.001, longest_wait_s=0.002)


class Flaky:
    """Fails so many times, then answers."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.left = failures
        self.error = error
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        self.left -= 1
        if self.left >= 0:
            raise self.error
        return "answer"


def test_a_passing_fault_costs_time_only() -> None:
    send = Flaky(3, Transient("busy"))
    assert QUICK.retry(send, "the server") == "answer"
    assert send.calls == 4


def test_a_lasting_fault_is_raised_with_its_reason() -> None:
    send = Flaky(99, Transient("busy"))
    with pytest.raises(RewardModelFailure, match=r"the server: busy \(the last of 4 requests"):
        QUICK.retry(send, "the server")
    assert send.calls == 4


def test_other_errors_are_not_asked_again() -> None:
    send = Flaky(99, BudgetExhausted("empty"))
    with pytest.raises(BudgetExhausted):
        QUICK.retry(send, "the server")
    assert send.calls == 1


def test_the_server_says_how_long_to_wait() -> None:
    began = time.monotonic()
    QUICK.retry(Flaky(1, Transient("busy", 0.2)), "the server")
    assert time.monotonic() - began >= 0.2


def test_a_wait_beyond_our_patience_ends_it_at_once() -> None:
    began = time.monotonic()
    send = Flaky(1, Transient("busy", 3600))
    with pytest.raises(RewardModelFailure, match="the last of 1 requests"):
        Patience(give_up_after_s=60).retry(send, "the server")
    assert time.monotonic() - began < 5


def test_a_request_that_was_swallowed_is_sent_again_even_if_its_time_out_took_all_the_time() -> (
    None
):
    send = Flaky(1, Transient("no answer in 120 s", unanswered=True))
    assert Patience(give_up_after_s=0.0).retry(send, "the server") == "answer"
    send = Flaky(2, Transient("no answer in 120 s", unanswered=True))
    with pytest.raises(RewardModelFailure, match="the last of 2 requests"):
        Patience(give_up_after_s=0.0, first_wait_s=0.0).retry(send, "the server")


def test_each_new_request_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        QUICK.retry(Flaky(1, Transient("busy")), "the server")
    assert "the server: busy; trying again" in caplog.text


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("2", 2.0),
        ("0.5", 0.5),
        ("-1", 0.0),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        (None, None),
    ],
)
def test_retry_after_in_seconds(header: str | None, expected: float | None) -> None:
    assert retry_after_s(header) == expected


def test_retry_after_as_a_date() -> None:
    found = retry_after_s(email.utils.formatdate(time.time() + 30, usegmt=True))
    assert found is not None
    assert 25 < found <= 30


@pytest.mark.parametrize(
    "setting", [{"attempts": 0}, {"first_wait_s": -1.0}, {"longest_wait_s": float("nan")}]
)
def test_impossible_patience_is_refused(setting: dict[str, float]) -> None:
    with pytest.raises(InvalidSetting):
        Patience(**setting)  # type: ignore[arg-type]


def test_requests_beyond_the_budget_are_not_sent() -> None:
    budget = Budget(max_requests=2)
    budget.take()
    budget.take()
    with pytest.raises(BudgetExhausted, match=r"2 of 2 requests.*ROBOREWARD_MAX_REQUESTS"):
        budget.take()
    assert budget.requests == 2


def test_money_beyond_the_budget_is_not_spent() -> None:
    budget = Budget(max_cost_usd=0.01, usd_per_million_tokens=(1.0, 10.0))
    budget.take()
    budget.charge(5000, 500)
    assert budget.cost_usd == pytest.approx(0.01)
    with pytest.raises(BudgetExhausted, match=r"0\.0100 of 0\.0100 USD"):
        budget.take()


def test_a_limit_on_cost_needs_prices_and_counts() -> None:
    with pytest.raises(InvalidSetting, match="ROBOREWARD_USD_PER_MILLION_TOKENS"):
        Budget(max_cost_usd=1.0)
    budget = Budget(max_cost_usd=1.0, usd_per_million_tokens=(1.0, 1.0))
    budget.take()
    budget.charge(None, 5)
    with pytest.raises(BudgetExhausted, match="how many tokens"):
        budget.take()


@pytest.fixture
def _fresh_process() -> object:
    process_budget.cache_clear()
    yield
    process_budget.cache_clear()


@pytest.mark.usefixtures("_fresh_process")
def test_the_budget_of_the_process_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ROBOREWARD_MAX_REQUESTS", "1")
    monkeypatch.setenv("ROBOREWARD_MAX_COST_USD", "0.5")
    monkeypatch.setenv("ROBOREWARD_USD_PER_MILLION_TOKENS", "0.25,2")
    assert process_budget() is process_budget()
    process_budget().take()
    process_budget().charge(1_000_000, 0)
    assert process_budget().cost_usd == 0.25
    with pytest.raises(BudgetExhausted):
        process_budget().take()


@pytest.mark.usefixtures("_fresh_process")
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ROBOREWARD_MAX_REQUESTS", "many"),
        ("ROBOREWARD_MAX_REQUESTS", "-1"),
        ("ROBOREWARD_MAX_COST_USD", "nan"),
        ("ROBOREWARD_USD_PER_MILLION_TOKENS", "1"),
        ("ROBOREWARD_USD_PER_MILLION_TOKENS", "1,free"),
    ],
)
def test_a_limit_that_is_none_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidSetting, match=variable):
        process_budget()


def test_a_missing_key_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    monkeypatch.setenv("GOOGLE_API_KEY", " ")
    with pytest.raises(InvalidSetting, match="GEMINI_API_KEY or GOOGLE_API_KEY holds no key"):
        read_key("GEMINI_API_KEY", "GOOGLE_API_KEY", purpose="gemini")


def test_a_broken_key_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret\nX-Header: 1")
    with pytest.raises(InvalidSetting, match="OPENAI_API_KEY") as caught:
        find_key("OPENAI_API_KEY")
    assert "secret" not in str(caught.value)


def test_a_key_in_a_complaint_is_hidden() -> None:
    assert without("sk-123456", "bad key sk-123456!") == "bad key [hidden]!"
    assert without(None, "as it is") == "as it is"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8321",
        "ftp://host",
        "http://",
        "http://host:99999",
        "http://h?x=1",
        "http://a b",
    ],
)
def test_addresses_that_are_none_are_refused(url: str) -> None:
    with pytest.raises(InvalidSetting, match="http"):
        check_url(url)


def test_a_password_in_an_address_is_refused_without_being_shown() -> None:
    with pytest.raises(InvalidSetting) as caught:
        check_url("http://me:secret@host:1")
    assert "secret" not in str(caught.value).replace("Put the secret into", "")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_is_this_machine(host: str) -> None:
    assert is_loopback(host)
    assert is_loopback_url(f"http://{'[::1]' if host == '::1' else host}:8000/v1")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org", ""])
def test_other_addresses_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)
    assert not is_loopback_url(f"http://[::]:1/{host}")
