"""Who a request really comes from, where proxies that are named stand in between.

What a proxy says of a request (`X-Forwarded-…`, the user's name) is believed from the networks in
`monitor.proxies` only. From anybody else these headers are taken away before anything reads them.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

from starlette.types import Scope

Address = IPv4Address | IPv6Address
FORWARDED: Final = (
    b"forwarded",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-request-id",
)
_CLAIMS: Final = frozenset(FORWARDED) - {b"x-request-id"}
_MOST_HOPS = 32
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def networks(texts: Iterable[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    """Return networks such as `10.0.0.0/8`, or single addresses.

    Raises:
        ValueError: One is neither.
    """
    return tuple(ip_network(text, strict=False) for text in texts)


def address_of(text: str) -> Address | None:
    """Return an address, of IPv4 where an IPv6 address stands for one; None for anything else."""
    try:
        address = ip_address(text.strip().strip("[]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


class Proxies:
    """Tells apart what a named proxy says and what anybody may claim."""

    def __init__(self, named: Iterable[str], headers: Iterable[str] = ()) -> None:
        self._networks = networks(named)
        own = (name.lower().encode() for name in headers)
        self._believed = frozenset({*FORWARDED, *own})

    def trusts(self, peer: str) -> bool:
        """Tell whether an address is that of a named proxy."""
        address = address_of(peer)
        return address is not None and any(
            address.version == network.version and address in network for network in self._networks
        )

    def resolved(self, scope: Scope) -> Scope:
        """Return the request as its sender made it: peer, scheme and host.

        `duly.through_proxy` of the result tells whether a named proxy passed it on.
        """
        peer = scope["client"][0] if scope.get("client") else ""
        headers = scope["headers"]
        if not self.trusts(peer):
            claims = any(name in _CLAIMS for name, _ in headers)
            kept = [pair for pair in headers if pair[0] not in self._believed]
            return {**scope, "headers": kept, "duly.claims_proxy": claims}
        said = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in headers
            if name in self._believed
        }
        changed: dict[str, Any] = {"duly.through_proxy": True}
        if chain := said.get("x-forwarded-for"):
            changed["client"] = (self._sender(chain, peer), 0)
        scheme = said.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
        if scheme in ("http", "https"):
            changed["scheme"] = scheme
        if host := said.get("x-forwarded-host", "").rpartition(",")[2].strip():
            others = [pair for pair in headers if pair[0] != b"host"]
            changed["headers"] = [*others, (b"host", host.encode("latin-1"))]
        return {**scope, **changed}

    def _sender(self, chain: str, peer: str) -> str:
        """Return the last address in the chain that is no named proxy: each adds its peer."""
        for hop in reversed(chain.split(",")[-_MOST_HOPS:]):
            address = address_of(hop)
            if address is None:
                return peer  # nothing before it can be believed
            peer = str(address)
            if not self.trusts(peer):
                break
        return peer


def same_place(origin_host: str, host: str, scheme: str) -> bool:
    """Tell whether two hosts with ports are one, where a default port may be left out."""
    default = _DEFAULT_PORTS.get(scheme, "")
    return origin_host.removesuffix(default) == host.lower().removesuffix(default) != ""
