"""The docs site: its pages put together from the repository, and the reference that is generated from the code.

`python -m tools.docs_site FOLDER` writes the pages, from which MkDocs builds the site (`make docs`). `pages` takes them
from the repository, `reference`, `http_api` and `commands` render what the code says of itself, `log_events` finds the
events of the log, and `site` checks what was built.
"""
