"""A network for one test: hosts with an address each, on one switch, that can be cut off and cut from each other.

A host is a network namespace. Processes that are started within `Host.inside()` run on it. The test's own main thread
is the operator's host, on the same switch. Nothing is set in the machine's own network, and it all ends with the test.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

_CLONE_NEWNET = 0x4000_0000
_LIBC = ctypes.CDLL(None, use_errno=True)
_SUBNET = "10.77.0"
_NOBODY = "02:00:00:00:00:99"
"""A hardware address that no host has: what is sent there is lost without a word."""


class CannotMakeNetworks(Exception):
    """The reason why this machine or user cannot."""


class Host:
    """One host of a network. Its interface is eth0, and its port of the switch bears the host's name."""

    def __init__(self, name: str, address: str, network: Network) -> None:
        self.name = name
        self.address = address
        self._network = network
        with network.inside():
            _enter_new_namespace()
            self._namespace = _open_current_namespace()
            _ip("link set lo up")
        self._run_on_switch(f"link add {name} type veth peer name eth0 netns /proc/{os.getpid()}/fd/{self._namespace}")
        self.plug_in()
        self._run_on_switch(f"link set {name} up")
        self._run(f"addr add {address}/24 dev eth0")
        self._run("link set eth0 up")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Have what this thread opens and starts within the block be on this host."""
        with _inside(self._namespace):
            yield

    def unplug(self) -> None:
        """Lose everything that it sends and that is sent to it, without a word."""
        self._run_on_switch(f"link set {self.name} nomaster")

    def plug_in(self) -> None:
        self._run_on_switch(f"link set {self.name} master switch")

    def lose(self, *others: Host) -> None:
        """Lose what it sends to these hosts, and they to it; connections stay open and hear nothing."""
        for other in others:
            self._run(f"neigh replace {other.address} lladdr {_NOBODY} dev eth0 nud permanent")
            other._run(f"neigh replace {self.address} lladdr {_NOBODY} dev eth0 nud permanent")

    def find(self, *others: Host) -> None:
        """End `lose`."""
        for other in others:
            self._run(f"neigh del {other.address} dev eth0")
            other._run(f"neigh del {self.address} dev eth0")

    def deny(self, *others: Host) -> None:
        """Have its own kernel refuse to send to these hosts, as a route that is gone does."""
        for other in others:
            self._run(f"route add unreachable {other.address}/32")

    def allow(self, *others: Host) -> None:
        """End `deny`."""
        for other in others:
            self._run(f"route del unreachable {other.address}/32")

    def close(self) -> None:
        os.close(self._namespace)

    def _run(self, command: str) -> None:
        with self.inside():
            _ip(command)

    def _run_on_switch(self, command: str) -> None:
        with self._network.inside():
            _ip(command)


class Network:
    """Hosts on one switch, between `__enter__` and `__exit__`; enter it in the main thread."""

    def __init__(self) -> None:
        self._hosts: list[Host] = []

    def __enter__(self) -> Network:
        if os.geteuid() != 0:
            raise CannotMakeNetworks("only root can make network namespaces")
        if shutil.which("ip") is None:
            raise CannotMakeNetworks("`ip` of iproute2 is not installed")
        self._before = _open_current_namespace()
        _enter_new_namespace()
        self._operator = _open_current_namespace()
        try:
            for command in (
                "link set lo up",
                "link add switch type bridge",
                f"addr add {_SUBNET}.1/24 dev switch",
                "link set switch up",
            ):
                _ip(command)
        except subprocess.CalledProcessError as error:
            self._leave()
            raise CannotMakeNetworks(error.stderr.decode().strip()) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for host in self._hosts:
            host.close()
        self._leave()

    def add(self, name: str) -> Host:
        """A new host; an interface's name has 15 characters at most."""
        self._hosts.append(Host(name, f"{_SUBNET}.{len(self._hosts) + 2}", self))
        return self._hosts[-1]

    @contextmanager
    def inside(self) -> Iterator[None]:
        """As `Host.inside`, on the operator's host, which owns the switch."""
        with _inside(self._operator):
            yield

    def _leave(self) -> None:
        _enter(self._before)
        os.close(self._before)
        os.close(self._operator)


@contextmanager
def _inside(namespace: int) -> Iterator[None]:
    before = _open_current_namespace()
    _enter(namespace)
    try:
        yield
    finally:
        _enter(before)
        os.close(before)


def _open_current_namespace() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _enter(namespace: int) -> None:
    if _LIBC.setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _enter_new_namespace() -> None:
    if _LIBC.unshare(_CLONE_NEWNET) != 0:
        raise CannotMakeNetworks(f"no namespace can be made: {os.strerror(ctypes.get_errno())}")


def _ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True, capture_output=True)
