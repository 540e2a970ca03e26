"""The console script: what it says, what it loads, and how it ends."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from reward_models.commands import main as cli
from roboreward_gym.errors import InvalidClip

ROOT = Path(__file__).resolve().parents[1]


def offer(monkeypatch: pytest.MonkeyPatch, main: object) -> None:
    monkeypatch.setattr(cli, "import_module", lambda name: SimpleNamespace(main=main))


def test_help_names_every_command_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    width = max(map(len, cli.COMMANDS))
    for name, command in cli.COMMANDS.items():
        assert f"{name:<{width}}  {command.help}\n" in out


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from reward_models.commands import main as cli; cli.main(['--help']); "
        "print(sorted({'torch', 'transformers', 'av', 'cv2', 'tyro', 'numpy'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    # NumPy comes with the vocabulary of the package.
    assert shown.splitlines()[-1] == "['numpy']"


def test_no_command_shows_the_help_as_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == cli.MISUSED
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == cli.usage()


def test_the_version_lists_what_a_score_may_depend_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    lines = dict(line.split(" ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["roboreward-gym"] == version("roboreward-gym")
    assert lines["transformers"] == version("transformers")
    assert {"gymnasium", "numpy", "torch", "tokenizers", "python"} < set(lines)


@pytest.mark.parametrize("command", ["score", "serve", "bench"])
def test_help_names_the_command_and_the_options_of_local_models(command: str) -> None:
    source = f"from reward_models.commands.main import main; main([{command!r}, '--help'])"
    code = f"import sys\ntry:\n    {source}\nfinally:\n    print('torch' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.startswith(f"usage: roboreward {command}")
    for option in ("--device", "--dtype", "--quantize", "--attention"):
        assert option in found.stdout
    assert found.stdout.splitlines()[-1] == "False"


def test_an_unknown_command_suggests_the_closest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["scroe", "x.mp4"]) == cli.MISUSED
    assert "Did you mean 'score'?" in capsys.readouterr().err


def test_a_command_gets_the_arguments_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    offer(monkeypatch, lambda argv: seen.append(argv) or 7)
    assert cli.main(["score", "--task", "open the drawer"]) == 7
    assert seen == [["--task", "open the drawer"]]


def test_an_explained_error_is_a_message_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(argv: list[str]) -> int:
        raise InvalidClip("The clip has no frames.")

    offer(monkeypatch, fail)
    assert cli.main(["score"]) == cli.FAILED
    assert capsys.readouterr().err == "roboreward score: The clip has no frames.\n"


def test_a_bug_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(argv: list[str]) -> int:
        raise ZeroDivisionError

    offer(monkeypatch, fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(["score"])


def test_ctrl_c_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(argv: list[str]) -> int:
        raise KeyboardInterrupt

    offer(monkeypatch, interrupt)
    assert cli.main(["score"]) == cli.INTERRUPTED


@pytest.mark.parametrize(("command", "extra"), [("score", "models"), ("serve", "models,serve")])
def test_a_missing_extra_says_how_to_install_it(
    command: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError("No module named 'tyro'", name="tyro")

    monkeypatch.setattr(cli, "import_module", missing)
    assert cli.main([command]) == cli.FAILED
    err = capsys.readouterr().err
    assert "tyro is not installed" in err
    assert f"pip install '.[{extra}]'" in err


def test_output_that_nobody_reads_any_more_ends_without_a_traceback(tmp_path: Path) -> None:
    rows = [{"id": str(i), "video": ".", "task": "x" * 4000, "fps": 1} for i in range(50)]
    (tmp_path / "clips.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for i, colour in enumerate(("red", "blue")):
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{i}.png")
    arguments = ["score", "--clips", str(tmp_path / "clips.jsonl"), "--model", "constant:3"]
    code = "import sys; from reward_models.commands import main as cli; sys.exit(cli.main(sys.argv[1:]))"
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(10) == '{"id": "0"'
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == cli.UNREAD


def test_docs_have_a_command_for_every_reward_model() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = project["entry-points"]["roboreward_gym.reward_models"]
    docs = "".join(
        (ROOT / "docs" / name).read_text(encoding="utf-8")
        for name in ("models_by_name.md", "reward_models.md")
    )
    asked = set(re.findall(r"^roboreward score .*--model ([\w-]+)", docs, re.MULTILINE))
    assert set(names) <= asked


def test_the_console_script_names_this_function() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"roboreward": "reward_models.commands.main:main"}


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_a_main(name: str) -> None:
    assert callable(cli.load(name))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["roboreward", "ser"], ["serve"]),
        (["roboreward", "score", "--model", "roboreward-n"], ["roboreward-nano"]),
        (["roboreward", "score", "a"], []),  # bash goes on with files
    ],
)
def test_bash_completes_commands_and_models(words: list[str], found: list[str]) -> None:
    typed = " ".join(f'"{word}"' for word in words)
    script = f"{cli.completion()}COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; _roboreward"
    printed = subprocess.run(
        ["bash", "-c", f'{script}; printf "%s\\n" "${{COMPREPLY[@]}}"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout.split() == found
