"""Whether ranks reach each other by gloo, over which interface, and which one several hosts need."""

from __future__ import annotations

import os
from collections.abc import Iterator

from recsys_dist.distributed.interfaces import CHOICE, Interface, address_of_host, interfaces, try_interfaces
from recsys_dist.doctor.finding import Finding
from recsys_dist.errors import RecsysDistError

TIMEOUT_S = 15.0
"""Time for the sum over one interface."""
MOST_TRIED = 8
"""Hosts of many containers have dozens of interfaces."""


def check_gloo() -> Iterator[Finding]:
    """Sums of two processes over each interface, and the interface that ranks of several hosts would use."""
    given, found = os.environ.get(CHOICE), interfaces()[:MOST_TRIED]
    tried = list(dict.fromkeys([*([given] if given else []), *(interface.name for interface in found)]))
    if not tried:
        yield Finding("problem", "gloo", "no network interface has an IPv4 address", "bring up at least lo")
        return
    try:
        failures = try_interfaces(tried, TIMEOUT_S)
    except RecsysDistError as error:
        yield Finding("problem", "gloo", f"two processes cannot meet: {error}", "check the firewall, also for lo")
        return
    addresses = {interface.name: f" ({interface.address})" for interface in found}
    used = given or _by_host_name(found)
    for name in tried:
        yield _of_interface(name, addresses.get(name, ""), failures[name], is_used=name == used)
    yield _choice(given, found, used)


def _by_host_name(found: list[Interface]) -> str | None:
    """The interface that gloo takes by itself: of the address of the host's name, else loopback."""
    by_address = {interface.address: interface.name for interface in found}
    loopback = next((interface.name for interface in found if interface.is_loopback), None)
    return by_address.get(address_of_host() or "", loopback)


def _of_interface(name: str, address: str, failure: str | None, is_used: bool) -> Finding:
    subject = f"gloo over {name}"
    if failure is None:
        return Finding("ok", subject, f"2 processes of this host all-reduced{address}")
    advice = f"name another interface in {CHOICE}" if is_used else f"do not name it in {CHOICE}"
    return Finding("problem" if is_used else "note", subject, f"{failure}{address}", advice)


def _choice(given: str | None, found: list[Interface], used: str | None) -> Finding:
    """Which interface ranks of several hosts use; those of one host use loopback."""
    others = [interface.name for interface in found if not interface.is_loopback]
    subject = "gloo between hosts"
    if given:
        return Finding("ok", subject, f"uses {given}, by {CHOICE}")
    if not others:
        return Finding("note", subject, "this host has no interface that others could reach")
    if used not in others:
        told = f"would use {used}, by the address of this host's name, which others cannot reach"
        return Finding("note", subject, told, f"for several hosts set {CHOICE}={others[0]}")
    return Finding("ok", subject, f"uses {used}, by the address of this host's name; {CHOICE} names another")
