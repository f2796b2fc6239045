"""The site: Markdown pages, and the reference from the docstrings. ``make docs`` builds it."""

from airflow_provider_vectorize import __version__

project = "airflow-provider-vectorize"
author = "The airflow-provider-vectorize developers"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "index"
html_theme = "furo"
html_title = f"{project} {release}"

myst_heading_anchors = 3
# The pages are read in the repository too, where a file beside the site is a file.
myst_url_schemes = {
    "http": None,
    "https": None,
}
suppress_warnings = ["myst.xref_missing"]  # tests/test_docs.py checks every link, of the README too

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
python_use_unqualified_type_names = True
