"""Which links a set of devices gets: each its own, one chain, or one bus; and by which address a host reaches them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from cli.served.endpoints import Endpoint, EndpointOption, SerialEndpoint, open_endpoint
from cli.served.faults import LinkFaults
from cli.served.lines import FdLine, TcpLine
from cli.served.machine import Machine
from cli.served.options import FaultOptions
from cli.served.ports import BusPort, Port, StreamPort, TcpPort, UdpPort
from cli.served.topology_names import Topology
from pki.errors import InputRefused

PortMaker = Callable[[Machine], Port]
"""Called in the device's own process."""

DEVICES_ON_BUS_MAX = 127


@dataclass(frozen=True, slots=True)
class Wiring:
    """Everything that is open. `makers` has the ports of each device; `bus` is where a bus adapter listens."""

    vias: list[str]
    makers: list[list[PortMaker]]
    endpoints: list[Endpoint]
    bus: Endpoint | None = None
    bus_wires: list[socket.socket] = field(default_factory=list)


def wire(topology: Topology, options: Sequence[EndpointOption], count: int, faults: FaultOptions) -> Wiring:
    """Open what hosts reach `count` devices by, and what runs between them. Raises InputRefused, OutputError."""
    if topology in (Topology.CHAIN, Topology.BUS):
        if len(options) != 1 or options[0].kind == "udp":
            raise InputRefused(f"a {topology} is reached by one link: --on serial, --on serial:PATH or --on tcp:PORT")
        return _chain(options[0], count, faults) if topology is Topology.CHAIN else _bus(options[0], count)
    endpoints = _open_all(options, count)
    vias = [endpoint.via for of_device in endpoints for endpoint in of_device]
    if topology is Topology.STAR:
        vias = [f"star:{','.join(of_device[n].via for of_device in endpoints)}" for n in range(len(options))]
    makers = [[_own_link(endpoint, faults) for endpoint in of_device] for of_device in endpoints]
    return Wiring(vias, makers, [endpoint for of_device in endpoints for endpoint in of_device])


def _open_all(options: Sequence[EndpointOption], count: int) -> list[list[Endpoint]]:
    """The endpoints of each device; none stays open if one cannot be opened."""
    with ExitStack() as on_failure:
        endpoints: list[list[Endpoint]] = []
        for number in range(count):
            endpoints.append([])
            for option in options:
                endpoint = open_endpoint(option.numbered(number, count))
                on_failure.callback(endpoint.remove)
                endpoints[-1].append(endpoint)
        on_failure.pop_all()
    return endpoints


def outer_line(endpoint: Endpoint, faults: FaultOptions) -> FdLine | TcpLine:
    """The byte stream to the host."""
    arriving, leaving = LinkFaults(faults, "host down"), LinkFaults(faults, "host up")
    if isinstance(endpoint, SerialEndpoint):
        return FdLine(endpoint.line, arriving, leaving)
    return TcpLine(endpoint.socket, arriving, leaving)


def _own_link(endpoint: Endpoint, faults: FaultOptions) -> PortMaker:
    arriving, leaving = LinkFaults(faults, f"{endpoint.via} in"), LinkFaults(faults, f"{endpoint.via} out")

    def make(machine: Machine) -> Port:
        if isinstance(endpoint, SerialEndpoint):
            return StreamPort(machine, FdLine(endpoint.line, arriving, leaving), None)
        kind = TcpPort if endpoint.is_tcp else UdpPort
        return kind(machine, endpoint.socket, arriving, leaving)

    return make


def _chain(option: EndpointOption, count: int, faults: FaultOptions) -> Wiring:
    endpoint = open_endpoint(option)
    between = [socket.socketpair() for _ in range(count - 1)]
    for pair in between:
        for end in pair:
            end.setblocking(False)

    def maker(number: int) -> PortMaker:
        def make(machine: Machine) -> Port:
            if number == 0:
                above = outer_line(endpoint, faults)
            else:
                above = _inner_line(between[number - 1][1], faults, f"{number} up")
            below = None if number == count - 1 else _inner_line(between[number][0], faults, f"{number} down")
            return StreamPort(machine, above, below)

        return make

    return Wiring([f"chain:{endpoint.via}"], [[maker(number)] for number in range(count)], [endpoint])


def _inner_line(end: socket.socket, faults: FaultOptions, name: str) -> FdLine:
    """A wire between two nodes: each end spoils what it sends."""
    return FdLine(end.fileno(), LinkFaults(FaultOptions(), name), LinkFaults(faults, name))


def _bus(option: EndpointOption, count: int) -> Wiring:
    if count > DEVICES_ON_BUS_MAX:
        raise InputRefused(f"a bus has at most {DEVICES_ON_BUS_MAX} addresses")
    endpoint = open_endpoint(option)
    wires = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(count)]

    def maker(number: int) -> PortMaker:
        return lambda machine: BusPort(machine, wires[number][1])

    vias = [f"bus:{endpoint.via}#1-{count}" if count > 1 else f"bus:{endpoint.via}#1"]
    adapter_ends = [pair[0] for pair in wires]
    return Wiring(vias, [[maker(number)] for number in range(count)], [endpoint], endpoint, adapter_ends)
