from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.hosts.network import CannotMakeNetworks, Network
from tests.acceptance.hosts.site import Site


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.hosts)


@pytest.fixture
def network() -> Iterator[Network]:
    """A network of the test's own; its main thread is the operator's host in it."""
    try:
        with Network() as made:
            yield made
    except CannotMakeNetworks as reason:
        pytest.skip(str(reason))


@pytest.fixture
def site(network: Network) -> Iterator[Site]:
    """An installation whose backends run."""
    # A socket's path has 107 characters at most, and PostgreSQL's user must be able to enter.
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sendoff-")))
        directory.chmod(0o755)
        made = Site(network, directory, stack)
        made.start_backends()
        yield made
