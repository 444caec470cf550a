"""How Sphinx builds the site of the docs: `make docs`. Nothing in it comes from another host."""

project = "Stratagem"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "Stratagem"
html_copy_source = False
html_show_sourcelink = False
myst_heading_anchors = 4
suppress_warnings = ["misc.highlighting_failure"]  # excerpts of logs and listings are text in no language
