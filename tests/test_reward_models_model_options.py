from pathlib import Path

import pytest

from reward_models.bench.benchmark import BenchmarkConfig
from reward_models.model_options import ModelOptions, options_into_name, split_options
from reward_models.qwen3vl import published
from reward_models.qwen3vl.published import load_8b, load_checkpoint
from reward_models.scoring.videos import ScoreConfig
from reward_models.serving.config import ServeConfig
from roboreward_gym import load_reward_model, registry
from roboreward_gym.errors import InvalidSetting, UnknownName
from roboreward_gym.registry import split_name


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("checkpoint:my/folder", "my/folder?dtype=bfloat16&device=cuda:0&quantize=int8"),
        ("roboreward-8b", "?dtype=bfloat16&device=cuda:0&quantize=int8"),
        ("checkpoint:a/b@main", "a/b@main?dtype=bfloat16&device=cuda:0&quantize=int8"),
    ],
)
def test_options_survive_the_way_through_a_name(name: str, argument: str) -> None:
    options = ModelOptions(dtype="bfloat16", device="cuda:0", quantize="int8")
    base, found = split_name(options.add_to(name))
    assert base == name.partition(":")[0]
    assert found is not None
    before, back = split_options(found)
    assert back == options
    assert before == argument.partition("?")[0]


def test_options_are_added_to_options() -> None:
    name = ModelOptions(device="cpu").add_to("roboreward-4b?dtype=float16")
    assert name == "roboreward-4b?dtype=float16&device=cpu"


def test_no_options_change_no_name() -> None:
    assert ModelOptions().add_to("openai:some-model") == "openai:some-model"


@pytest.mark.parametrize("name", ["openai:m", "constant:3", "remote:http://localhost:1"])
def test_options_for_a_model_that_takes_none_are_refused(name: str) -> None:
    with pytest.raises(InvalidSetting, match=r"takes no dtype.*options of local models"):
        ModelOptions(dtype="bfloat16").add_to(name)


def test_an_unknown_option_suggests_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="dtype"):
        split_options("folder?dtpye=bfloat16")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("?dtype=int3", "dtype is 'int3'. Choose one of float32, float16, bfloat16"),
        ("?quantize=int2", "quantize is 'int2'. Choose one of int8, int4"),
        ("?dtype=", r"Give the option dtype one value: \?dtype=VALUE"),
        ("?dtype=float16&dtype=float32", "Give the option dtype one value"),
        ("?dtype", r"cannot be read: .*Write them as \?dtype="),
    ],
)
def test_options_that_say_nothing_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        split_options(text)


def test_a_published_name_takes_nothing_but_options() -> None:
    with pytest.raises(
        InvalidSetting, match=r"roboreward-8b takes options only.*'folder' is not an option"
    ):
        load_8b("folder?dtype=float16")


def test_nano_is_loaded_in_the_precision_of_its_name() -> None:
    model = load_reward_model("roboreward-nano?dtype=bfloat16&attention=eager")
    assert str(model.model.dtype) == "torch.bfloat16"
    assert model.model.config.text_config._attn_implementation == "eager"


def test_a_folder_with_a_question_mark_in_its_name_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[tuple[str, ModelOptions]] = []
    monkeypatch.setattr(published, "load_local", lambda *given, **_: loaded.append(given))
    (tmp_path / "a?b").mkdir()
    load_checkpoint(f"{tmp_path}/a?b")
    load_checkpoint(f"{tmp_path}/a?b?dtype=float16")
    assert [source for source, _ in loaded] == [f"{tmp_path}/a?b"] * 2
    assert [options.dtype for _, options in loaded] == [None, "float16"]


def test_flags_end_up_in_the_name_of_the_model(tmp_path: Path) -> None:
    config = ScoreConfig(model="roboreward-nano", options=ModelOptions(dtype="bfloat16"))
    assert options_into_name(config).model == "roboreward-nano?dtype=bfloat16"
    config = ScoreConfig(model=str(tmp_path), options=ModelOptions(device="cpu"))
    assert options_into_name(config).model == f"checkpoint:{tmp_path}?device=cpu"
    assert options_into_name(ScoreConfig(model="constant:3")).model == "constant:3"


@pytest.mark.parametrize("config", [ScoreConfig(), ServeConfig()])
def test_no_reward_model_is_chosen_for_a_user(
    config: ScoreConfig | ServeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry._factories, "theirs", lambda: None)
    with pytest.raises(InvalidSetting, match="No reward model is named") as caught:
        options_into_name(config)
    lines = [line.split(maxsplit=1) for line in str(caught.value).splitlines()[1:]]
    named = {split_name(name)[0]: whom for name, whom in lines}
    assert sorted(named) == registry.reward_model_names()
    assert lines[0][0] == "roboreward-8b"
    assert "simulated WidowX tasks of this project only" in named["roboreward-nano"]
    assert named["theirs"] == "of another package"


def test_a_folder_is_a_checkpoint_with_and_without_options(tmp_path: Path) -> None:
    for folder in (tmp_path / "a", tmp_path / "b?c"):
        folder.mkdir()
        for name in (f"{folder}", f"{folder}?dtype=bfloat16"):
            config = ScoreConfig(model=name)
            assert options_into_name(config).model == f"checkpoint:{name}"
        config = ScoreConfig(model=f"{folder}", options=ModelOptions(device="cpu"))
        assert options_into_name(config).model == f"checkpoint:{folder}?device=cpu"
    config = ScoreConfig(model=f"{tmp_path}/a?dtype=float16", options=ModelOptions(device="cpu"))
    assert options_into_name(config).model == f"checkpoint:{tmp_path}/a?dtype=float16&device=cpu"
    assert options_into_name(ScoreConfig(model="no-folder?dtype=float16")).model[:3] == "no-"


def test_options_of_a_benchmark_reach_both_models(tmp_path: Path) -> None:
    config = BenchmarkConfig(
        model="roboreward-nano",
        no_negatives=str(tmp_path),
        data=(),
        out=tmp_path,
        options=ModelOptions(dtype="bfloat16"),
    )
    both = options_into_name(config, ("model", "no_negatives"))
    assert both.model == "roboreward-nano?dtype=bfloat16"
    assert both.no_negatives == f"checkpoint:{tmp_path}?dtype=bfloat16"
