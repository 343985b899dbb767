"""`python -m tools.docs_site FOLDER` writes the site's pages; with `--check` it checks the site built there."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from tools.docs_site.pages import assemble, assets
from tools.docs_site.site import find_foreign_resources


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.docs_site", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true", help="list what the built pages load from other hosts")
    given = parser.parse_args()
    if given.check:
        found = find_foreign_resources(given.folder)
        sys.stderr.writelines(f"{page}: loads {url}\n" for page, url in found)
        return 1 if found else 0
    shutil.rmtree(given.folder, ignore_errors=True)
    for name, content in assets().items() | {name: text.encode() for name, text in assemble().items()}.items():
        path = given.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
