"""Run a program written for the vendor's toolbox on ours: `python -m robots.ros.toolbox.run script.py`.

Only here are the vendor's module names on the path: beside an installed toolbox they would hide it.
"""

import runpy
import sys
from pathlib import Path

VENDOR_NAMES = Path(__file__).parent / "vendor_names"


def main() -> None:
    """Run the script that is named first; the rest are its arguments."""
    if len(sys.argv) < 2:
        sys.exit("Which script? python -m robots.ros.toolbox.run script.py")
    sys.argv = sys.argv[1:]
    sys.path.insert(0, str(VENDOR_NAMES))
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
