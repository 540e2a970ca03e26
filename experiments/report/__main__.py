"""Write the page of a finished run again, or that of a study.

    python -m experiments.report runs/toy-on-towel-nano-seed0
    python -m experiments.report runs/study

Beside `report.html` the folder `report_figures` gets each figure as PDF, SVG and CSV.
"""

from pathlib import Path

import tyro

from experiments.report.study_folder import STUDY, Study
from roboreward_gym._cli import run_program
from roboreward_gym.errors import InvalidSetting


def main(
    folder: tyro.conf.Positional[Path], runs: Path | None = None, *, live: bool = False
) -> None:
    """Write the page of a finished run again, or that of a study.

    Args:
        folder: A run folder, or a folder with `study.json`, as `experiments.study` writes it.
        runs: Folder of a study's run folders, if its tables lie elsewhere.
        live: Write `live.html` of a run that goes on, every ten seconds until it is finished. Open it in a browser once.
    """
    if live:
        from experiments.report.live import follow

        print(follow(folder))
        return
    if (folder / STUDY).exists():
        from experiments.report.study_page import write_study

        print(write_study(Study.load(folder, runs), folder))
        return
    if runs is not None:
        raise InvalidSetting(f"--runs goes with a study, and there is no {STUDY} in {folder}.")
    print(_write_run(folder))


def _write_run(folder: Path) -> Path:
    from experiments.phases import reopen
    from experiments.report.report import write_report
    from experiments.workers import prepare

    prepare(threads=1)
    return write_report(*reopen(folder))


if __name__ == "__main__":
    run_program(lambda: tyro.cli(main, description=__doc__))
