"""Sphinx: the pages of this folder and an API reference from the docstrings. `make docs` builds the site."""

import roboreward_gym

project = "roboreward-gym"
author = "the roboreward-gym authors"
release = roboreward_gym.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "roboreward-gym"
html_static_path = []

# Headings can be linked to, as on the forge's own pages.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "dollarmath"]

# Docstrings are plain text with `code` in single backticks.
default_role = "code"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
# The same field name in several classes is not a broken link.
suppress_warnings = ["ref.python"]
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
# Needed by no docstring, and slow or absent where the site is built.
autodoc_mock_imports = [
    "bitsandbytes",
    "builtin_interfaces",
    "mujoco",
    "rclpy",
    "sensor_msgs",
    "std_msgs",
    "interbotix_xs_msgs",
    "roboreward_sim_msgs",
    "rosgraph_msgs",
    "trajectory_msgs",
]

# One page per module, made at build time: nothing to keep in step by hand.
extensions.append("sphinx.ext.apidoc")
apidoc_modules = [
    {
        "path": f"../{package}",
        "destination": f"api/{package}",
        "exclude_patterns": [
            "**/lerobot_plugin/*",
            "**/lerobot_policy/*",
            "**/ros/**",
            "**/environments/*ros*",
            "**/weights/**",
        ],
        "separate_modules": True,
        "module_first": True,
    }
    for package in ("roboreward_gym", "reward_models", "policies", "robots")
]
