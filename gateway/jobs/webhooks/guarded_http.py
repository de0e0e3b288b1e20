"""An HTTP client for URLs chosen by callers; refuses connections to private addresses.

A caller's URL must not reach services that only this machine can reach. The address is checked when the connection is
made, so that a name that resolves differently a moment later, or a redirect, meets the same check.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeAlias
from urllib.parse import urlsplit

import httpcore
import httpx

from gateway.errors import BadRequest

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
MAX_URL_CHARS = 2_000
CONNECTIONS = 64
RESOLVERS = 2 * CONNECTIONS
"""Threads for name resolution; a name server that hangs holds a thread longer than the caller waits."""

_HOLD_IPV4 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "::/96",  # IPv4-compatible (RFC 4291)
            "::ffff:0:0:0/96",  # translated (RFC 2765)
            "64:ff9b::/96",  # NAT64 (RFC 6052)
        ),
    )
)
"""Networks whose addresses end in an IPv4 address."""

_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.0.0.0/24",  # protocol assignments (RFC 6890); a cloud had its metadata at 192.0.0.192
            "192.31.196.0/24",  # AS112 (RFC 7535)
            "192.52.193.0/24",  # multicast relays (RFC 7450)
            "192.88.99.0/24",  # 6to4 relays, deprecated (RFC 7526)
            "192.175.48.0/24",  # AS112 (RFC 7534)
            "168.63.129.16/32",  # the host of an Azure virtual machine, reachable only from it
            "64:ff9b:1::/48",  # NAT64 within a site (RFC 8215)
            "100::/32",  # discarded, dummies (RFC 6666, RFC 9780)
            "2001::/23",  # protocol assignments (RFC 2928); Teredo among them holds an IPv4 address
            "2620:4f:8000::/48",  # AS112 (RFC 7534)
            "3fff::/20",  # documentation (RFC 9637)
            "5f00::/16",  # segment routing (RFC 9602)
        ),
    )
)
"""Special networks (RFC 6890 and its registries) that `ipaddress` calls global in some version of Python."""

_ISATAP = 0x0000_5EFE
"""First half of an ISATAP interface identifier, without two flag bits; an IPv4 address follows it (RFC 5214)."""


class NotAllowed(httpcore.ConnectError):
    """The address is private, and the allow list does not hold it."""


class AllowList:
    """The private hosts and networks to which webhooks may go (`webhook_allow`).

    Args:
        entries: host names, addresses or networks, such as `hooks.internal`, `127.0.0.1`, `10.0.0.0/8`.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._names: set[str] = set()
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for entry in entries:
            try:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                self._names.add(entry.lower().rstrip("."))

    def permits(self, host: str, address: Address) -> bool:
        """Return whether a connection to this host at this address is allowed."""
        if host.lower().rstrip(".") in self._names or self._names_network_of(address):
            return True
        reached = _wrapped(address)
        if reached:
            return all(self._names_network_of(one) or _is_public(one) for one in reached)
        return _is_public(address)

    def _names_network_of(self, address: Address) -> bool:
        return any(address in network for network in self._networks if network.version == address.version)

    def check_url(self, url: str) -> None:
        """Refuse a URL that is wrong without resolving its name.

        Raises:
            BadRequest: it is no http(s) URL, holds credentials, or names a private address.
        """
        try:
            parts = urlsplit(url[: MAX_URL_CHARS + 1])
            host, _ = parts.hostname, parts.port
            (
                (host or "").encode("idna"),
                httpx.URL(url[: MAX_URL_CHARS + 1]).raw_host,
            )  # what no client could call is refused at once
        except (ValueError, httpx.InvalidURL):
            host = None
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not host or len(url) > MAX_URL_CHARS:
            raise BadRequest(f"webhook must be an http or https URL of at most {MAX_URL_CHARS} characters")
        if parts.username is not None or parts.password is not None:
            raise BadRequest("webhook must not hold a user name or password: they would be stored and logged elsewhere")
        try:
            address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
        except ValueError:
            return
        if not self.permits(host, address):
            raise BadRequest(f"webhook goes to the private address {host}; VOXGATE_WEBHOOK_ALLOW can allow it")


def _is_public(address: Address) -> bool:
    inside = address.is_multicast or address.is_reserved or (address.version == 6 and address.is_site_local)
    return address.is_global and not inside and not any(address in network for network in _NOT_PUBLIC)


def _wrapped(address: Address) -> tuple[ipaddress.IPv4Address, ...]:
    """Return the IPv4 addresses embedded in an IPv6 address, at which its packets may arrive.

    Mapped (RFC 4291), 6to4 (RFC 3056), Teredo's server and client (RFC 4380), ISATAP (RFC 5214), and what `_HOLD_IPV4`
    lists.
    """
    if address.version == 4:
        return ()
    for one in (address.ipv4_mapped, address.sixtofour):
        if one is not None:
            return (one,)
    if address.teredo is not None:
        return address.teredo
    isatap = (int(address) >> 32) & 0xFCFF_FFFF == _ISATAP
    if isatap or any(address in network for network in _HOLD_IPV4):
        return (ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF),)
    return ()


class _GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Resolves names itself and connects only to permitted addresses."""

    def __init__(self, allow: AllowList) -> None:
        self._allow = allow
        self._network = httpcore.AnyIOBackend()
        # Own threads: callers choose the names, and a hung name server would block asyncio's few threads for minutes.
        self._resolvers = ThreadPoolExecutor(RESOLVERS, "voxgate-resolver")

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first permitted address of `host`."""
        resolve = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        try:
            async with asyncio.timeout(timeout):
                found = await asyncio.get_running_loop().run_in_executor(self._resolvers, resolve)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"{host} was not resolved within {timeout:g} s") from error
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} cannot be resolved") from error
        for *_, place in found:
            if self._allow.permits(host, ipaddress.ip_address(str(place[0]).partition("%")[0])):
                return await self._network.connect_tcp(str(place[0]), port, timeout, local_address, socket_options)
        raise NotAllowed(f"{host} is a private address; VOXGATE_WEBHOOK_ALLOW can allow it")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: unix sockets are never called."""
        raise NotAllowed("unix sockets are not called")

    async def sleep(self, seconds: float) -> None:
        """Sleep, as httpcore's interface requires."""
        await self._network.sleep(seconds)


def guarded_client(allow: AllowList, timeout_s: float) -> httpx.AsyncClient:
    """Make a client that connects to permitted addresses only, follows no redirect and uses no proxy."""
    transport = httpx.AsyncHTTPTransport(trust_env=False)
    # httpx has no argument for a network backend; httpcore documents it on the pool.
    transport._pool = httpcore.AsyncConnectionPool(
        ssl_context=httpx.create_ssl_context(trust_env=False),
        max_connections=CONNECTIONS,
        network_backend=_GuardedNetwork(allow),
    )
    return httpx.AsyncClient(transport=transport, timeout=timeout_s, follow_redirects=False, trust_env=False)
