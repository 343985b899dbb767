"""The API's process without rate limits, for those who ask thousands of questions: `-m tests.web.unlimited_api`."""

from __future__ import annotations

import sys

from api import limits
from api.__main__ import main

if __name__ == "__main__":
    limits.PER_KEY = limits.PER_ORGANIZATION = limits.PINGS_PER_HOST = 10**9
    sys.exit(main())
