"""The API of a test, unlimited: writes are not counted, so that random requests can be many."""

from __future__ import annotations

import sys

from api.__main__ import main
from api.http import limits
from sendoff.endpoints import ping_limits

if __name__ == "__main__":
    limits.WRITES_PER_MINUTE_BY_KEY = limits.WRITES_PER_MINUTE_BY_ORGANIZATION = 10**9
    ping_limits.PINGS_PER_HOST = ping_limits.PINGS_PER_HOST_AND_ORGANIZATION = 10**9
    ping_limits.SUBSCRIPTIONS_PER_HOST_AND_ORGANIZATION = 10**9
    sys.exit(main())
