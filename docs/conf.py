from importlib.metadata import version as installed_version

project = "metarl"
author = "the metarl authors"
copyright = "the metarl authors"
version = release = installed_version("metarl-suite")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = "metarl"


def tables_as_they_are(app, what, name, obj, options, lines):
    """Show the Markdown tables of a docstring as text: reStructuredText would take them for line blocks."""
    shown, inside = [], False
    for line in lines:
        table = line.lstrip().startswith("|")
        if table and not inside:
            indent = line[: len(line) - len(line.lstrip())]
            shown += ["", f"{indent}::", ""]
        if inside and not table:
            shown.append("")
        shown.append(f"    {line}" if table else line)
        inside = table
    lines[:] = shown + [""] * inside


def setup(app):
    app.connect("autodoc-process-docstring", tables_as_they_are)
