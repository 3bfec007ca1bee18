"""The site: Markdown by MyST, the references by Sphinx, nothing from the network. `make docs` builds it.

The source folder is the repository, so that links between docs/, benchmarks/ and the code are the same ones here and
on a code host. Pages that list what the code holds have a line `<!-- generated: NAME -->`; `generated.py` fills it in.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

import generated

from ensemble_ad.version import __version__

project = "ensemble_ad"
author = "The ensemble_ad developers"
release = version = __version__
root_doc = "docs/index"
include_patterns = ["docs/*.md", "benchmarks/*.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
# Folders that hold much and nothing of this: they are not even walked.
exclude_patterns = [".*", "*.egg-info", "build", "data", "ensad-demo", "ensemble_ad", "studies", "submissions", "tests"]
extensions = [
    "myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon", "sphinx_click",
    "sphinx_copybutton",
]  # fmt: skip

myst_heading_anchors = 3
smartquotes = False
highlight_language = "text"
default_role = "literal"  # docstrings have `names` in single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "separated"
autodoc_type_aliases = {"npt.ArrayLike": "ArrayLike", "ArrayLike": "ArrayLike"}
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_ivar, napoleon_use_rtype = True, False

autosummary_generate = False  # the tables alone; what they lead to is on the same page
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_remove_prompts = True

html_theme = "furo"
html_title = f"ensemble_ad {release}"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False


def setup(app):
    app.connect("source-read", generated.fill_in)
    app.connect("autodoc-process-signature", generated.readable)
    app.connect("build-finished", _redirect)


def _redirect(app, error):
    """The front page under the address that everybody opens first."""
    if error is None and app.builder.name == "html":
        page = '<!doctype html><meta charset="utf-8"><title>ensemble_ad</title>'
        page += (
            '<meta http-equiv="refresh" content="0; url=docs/index.html"><a href="docs/index.html">ensemble_ad</a>\n'
        )
        (Path(app.outdir) / "index.html").write_text(page, encoding="utf-8")
