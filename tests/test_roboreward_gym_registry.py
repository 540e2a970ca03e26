import multiprocessing
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from roboreward_gym import (
    InvalidRewardModel,
    RewardModelUnavailable,
    UnknownName,
    load_reward_model,
    register_reward_model,
    registry,
    release_reward_model,
    reward_model_names,
)
from tests.fakes import FakeRewardModel

MODULE = """
class Model:
    def score(self, clips):
        return []

def needs_more():
    import a_package_that_is_not_installed

not_a_factory = object
"""
ENTRY_POINTS = """
[roboreward_gym.reward_models]
packaged-model = installed_models:Model
gone-model = installed_models:Gone
lost-model = no_such_module_anywhere:load
bare-model = installed_models:needs_more
empty-model = installed_models:not_a_factory
"""


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_factories", {})
    monkeypatch.setattr(registry, "_loaded", {})


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A distribution with entry points, as pip would have laid it down."""
    (tmp_path / "installed_models.py").write_text(MODULE)
    install(tmp_path, "installed-models", ENTRY_POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("installed_models", None)


def install(site: Path, distribution: str, entry_points: str) -> None:
    folder = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(entry_points)


def test_an_installed_entry_point_is_loaded_once(installed: Path) -> None:
    model = load_reward_model("packaged-model")
    assert type(model).__name__ == "Model"
    assert load_reward_model("packaged-model") is model
    assert "packaged-model" in reward_model_names()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone-model", "AttributeError"),
        ("lost-model", "no_such_module_anywhere"),
        ("bare-model", "a_package_that_is_not_installed.*Install what it needs"),
    ],
)
def test_a_broken_entry_point_says_what_is_missing(
    installed: Path, name: str, message: str
) -> None:
    with pytest.raises(RewardModelUnavailable, match=message):
        load_reward_model(name)


def test_an_entry_point_that_makes_no_model_is_refused(installed: Path) -> None:
    with pytest.raises(InvalidRewardModel, match="type object is not a reward model"):
        load_reward_model("empty-model")


def test_a_name_offered_twice_is_refused(installed: Path) -> None:
    install(
        installed, "rival", "[roboreward_gym.reward_models]\npackaged-model = rival_models:Model\n"
    )
    with pytest.raises(RewardModelUnavailable, match=r"Several packages .*rival_models"):
        load_reward_model("packaged-model")


def test_unknown_name_suggests_the_closest() -> None:
    register_reward_model("my-model", FakeRewardModel)
    with pytest.raises(UnknownName, match="Did you mean 'my-model'"):
        load_reward_model("my-jugde")


def test_registered_factories_are_called_once_and_on_demand() -> None:
    made = []
    register_reward_model("lazy", lambda: made.append(1) or FakeRewardModel())
    assert made == []
    assert load_reward_model("lazy") is load_reward_model("lazy")
    assert made == [1]


def test_release_forgets_the_model_and_not_the_name() -> None:
    register_reward_model("big", FakeRewardModel)
    first = load_reward_model("big")
    release_reward_model("big")
    release_reward_model("never loaded")
    assert load_reward_model("big") is not first


def test_a_taken_name_needs_replace() -> None:
    register_reward_model("model", lambda: FakeRewardModel(1))
    first = load_reward_model("model")
    with pytest.raises(InvalidRewardModel, match="replace=True"):
        register_reward_model("model", FakeRewardModel)
    register_reward_model("model", FakeRewardModel, replace=True)
    assert load_reward_model("model") is not first


def test_what_is_no_name_or_no_factory_is_refused() -> None:
    with pytest.raises(InvalidRewardModel, match="name"):
        register_reward_model("", FakeRewardModel)
    with pytest.raises(InvalidRewardModel, match="without a colon"):
        register_reward_model("model:3", FakeRewardModel)
    with pytest.raises(InvalidRewardModel, match="lambda"):
        register_reward_model("model", FakeRewardModel())


def test_threads_that_ask_at_once_share_one_model() -> None:
    def slow_factory() -> FakeRewardModel:
        time.sleep(0.02)
        return FakeRewardModel()

    register_reward_model("shared", slow_factory)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(load_reward_model("shared"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(map(id, found))) == 1


def test_a_factory_may_ask_for_another_model() -> None:
    register_reward_model("inner", FakeRewardModel)
    register_reward_model("outer", lambda: load_reward_model("inner"))
    assert load_reward_model("outer") is load_reward_model("inner")


def test_the_text_after_the_first_colon_is_the_argument() -> None:
    asked = []
    register_reward_model("remote", lambda url: asked.append(url) or FakeRewardModel())
    load_reward_model("remote:http://host:80/a")
    assert asked == ["http://host:80/a"]


def test_each_argument_is_loaded_once() -> None:
    register_reward_model("constant", lambda level="3": FakeRewardModel(int(level)))
    two = load_reward_model("constant:2")
    assert load_reward_model("constant:2") is two
    assert load_reward_model("constant:4") is not two
    assert load_reward_model("constant") is not two
    release_reward_model("constant:4")
    assert load_reward_model("constant:2") is two
    release_reward_model("constant:2")
    assert load_reward_model("constant:2") is not two


def test_replacing_a_factory_forgets_the_models_of_every_argument() -> None:
    register_reward_model("constant", lambda level: FakeRewardModel(int(level)))
    register_reward_model("constantly", FakeRewardModel)
    old, other = load_reward_model("constant:2"), load_reward_model("constantly")
    register_reward_model("constant", lambda level: FakeRewardModel(int(level)), replace=True)
    assert load_reward_model("constant:2") is not old
    assert load_reward_model("constantly") is other


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("plain:3", "'plain' takes no argument .* instead of 'plain:3'"),
        ("constant", "'constant' needs an argument .* 'constant:ARGUMENT'"),
        ("constant:", "'constant:' has no argument after the colon"),
    ],
)
def test_an_argument_too_many_or_too_few_is_refused(name: str, message: str) -> None:
    register_reward_model("plain", lambda: FakeRewardModel())
    register_reward_model("constant", lambda level: FakeRewardModel(int(level)))
    with pytest.raises(InvalidRewardModel, match=message):
        load_reward_model(name)


def test_a_type_error_inside_a_factory_is_not_blamed_on_the_argument() -> None:
    register_reward_model("broken", lambda text: len(3))
    with pytest.raises(TypeError, match="has no len"):
        load_reward_model("broken:text")


def test_an_unknown_name_with_an_argument_suggests_the_closest() -> None:
    register_reward_model("constant", lambda level: FakeRewardModel(int(level)))
    with pytest.raises(UnknownName, match=r"'constnat'. Did you mean 'constant'"):
        load_reward_model("constnat:3")


def test_unknown_name_error_can_be_pickled() -> None:
    error = UnknownName("model", "nan0", iter(["nano", "other"]))
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    sender.send(error)
    received = receiver.recv()
    assert (str(received), received.name) == (str(error), "nan0")
