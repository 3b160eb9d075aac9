"""The network filter of guests: each speaks for itself only.

A filter of libvirt's (https://libvirt.org/formatnwfilter.html), which the node's libvirtd turns into rules of
``ebtables`` for the guest's own interface. Who asks a node whether it can have guests defines it, which
changes nothing where it is the same already.
"""

from __future__ import annotations

from typing import Any

OWN = "torque-vm-guest"
"""Name of our own filter."""
DEFINITION = f"""\
<filter name="{OWN}" chain="root">
  <uuid>0b0f6a52-6c5d-5b0c-9d6e-2f1f1f3f6b11</uuid>
  <rule action="drop" direction="out" priority="-900"><mac match="no" srcmacaddr="$MAC"/></rule>
  <rule action="drop" direction="out" priority="-800"><arp match="no" arpsrcmacaddr="$MAC"/></rule>
  <rule action="accept" direction="out" priority="-700"><arp arpsrcipaddr="0.0.0.0"/></rule>
  <rule action="drop" direction="out" priority="-600"><arp match="no" arpsrcipaddr="$IP"/></rule>
  <rule action="accept" direction="out" priority="-500">
    <ip srcipaddr="0.0.0.0" protocol="udp" srcportstart="68" dstportstart="67"/>
  </rule>
  <rule action="drop" direction="out" priority="-400"><ip match="no" srcipaddr="$IP"/></rule>
</filter>
"""
"""No other MAC address, in ARP neither; no other IPv4 address than the guest's, but for DHCP and for asking
whether somebody has an address (RFC 5227). What comes in is not looked at."""
_NO_SUPPORT = 3
"""``VIR_ERR_NO_SUPPORT``: a libvirt without the nwfilter driver."""


def provide(conn: Any, name: str) -> str:
    """Make sure of a network filter on a node; return what is wrong, "" when nothing.

    :raises libvirtError: for other reasons than that there is no such filter.
    """
    from libvirt import VIR_ERR_NO_NWFILTER, libvirtError

    try:
        if name == OWN:
            conn.nwfilterDefineXML(DEFINITION)
        elif name:
            conn.nwfilterLookupByName(name)
    except libvirtError as exc:
        if exc.get_error_code() == _NO_SUPPORT:
            return "its libvirt has no network filters (the driver nwfilter)"
        if exc.get_error_code() == VIR_ERR_NO_NWFILTER:
            return f"there is no network filter {name}"
        raise
    return ""
