"""The site: `make docs`. The same Markdown is read on the forge, so it keeps to what both understand."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "pfiflow"
author = "the pfiflow authors"
release = version = version_of("pfiflow")
language = "en"

extensions = ["myst_parser", "requirement_register"]
exclude_patterns = ["_extensions"]
myst_heading_anchors = 3  # `page.md#a-heading`, as the forge has it; an anchor that is not there fails the build
# Code fences that Pygments has no lexer for, and figures that an editor shows (`pfiflow graph`), stay as they are.
myst_fence_as_directive = []
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_title = f"pfiflow {version}"
html_static_path = ["_static"]
html_css_files = ["pfiflow.css"]
html_copy_source = False
html_show_sourcelink = False
html_last_updated_fmt = None  # the same sources give the same pages
html_use_opensearch = ""

# Nothing that is not in the folder: no inventory of other projects, no service.
os.environ.setdefault("SOURCE_DATE_EPOCH", "1764288000")
