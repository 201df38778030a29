"""Runs inside a network namespace of its own: a service, everything that it can be asked, and whatever packet leaves.

    python -m tests.serve.security.egress_run BUNDLE FOLDER      prints one line of JSON

The namespace has a loopback device and a default route into a dead end, on which every packet is seen: a connection
that fails as well as one that would not. Names are asked of a resolver behind the same route.
"""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.serve.notes import FHIR, SCORE, TEXT, batch, document, encoded, parameters, with_attachment
from tests.serve.service import RunningService

OUT = "lang1out"
RESOLVER = "198.51.100.53"
CONTROL_HOST, CONTROL_ADDRESS = "egress-control.invalid", "203.0.113.9"
_SETUP = (
    "ip link set lo up",
    f"ip link add {OUT} type veth peer name lang1sink",
    f"ip link set {OUT} up",
    "ip link set lang1sink up",
    f"ip addr add 198.51.100.2/24 dev {OUT}",
    f"ip -6 addr add 2001:db8::2/64 dev {OUT} nodad",
    f"ip route add default via 198.51.100.1 dev {OUT}",
    f"ip -6 route add default via 2001:db8::1 dev {OUT}",
    f"ip neigh add 198.51.100.1 lladdr 02:00:00:00:00:01 dev {OUT}",
    f"ip neigh add {RESOLVER} lladdr 02:00:00:00:00:01 dev {OUT}",
    f"ip -6 neigh add 2001:db8::1 lladdr 02:00:00:00:00:01 dev {OUT}",
)
_IMPORT_EVERYTHING = """
import importlib, pkgutil
for package in ("lang1", "fhir_adapters", "monitoring", "serve", "training"):
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if not module.name.endswith((".env", "__main__")) and ".versions." not in module.name:
            importlib.import_module(module.name)
"""
# What the kernel itself sends on a device that comes up: IGMP, ICMPv6 (router and neighbour discovery, MLD).
_KERNELS_OWN = frozenset({2, 58})
_CONTROL_LIMIT_S = 5
_NAMES = {6: "tcp", 17: "udp"}


class Sniffer:
    """Every packet that the dead end gets, as `udp 198.51.100.53:53 name`."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(0x0003))
        self._socket.bind((OUT, 0))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            frame, (_, _, direction, *_) = self._socket.recvfrom(65535)
            if direction == socket.PACKET_OUTGOING and (told := describe(frame)) is not None:
                self.seen.append(told)


def describe(frame: bytes) -> str | None:
    """One Ethernet frame in words; None for the kernel's own."""
    kind, packet = struct.unpack("!H", frame[12:14])[0], frame[14:]
    if kind == 0x0806:
        return f"arp {socket.inet_ntop(socket.AF_INET, packet[24:28])}"
    if kind == 0x0800:
        protocol, target = packet[9], socket.inet_ntop(socket.AF_INET, packet[16:20])
        payload = packet[(packet[0] & 15) * 4 :]
    elif kind == 0x86DD:
        protocol, target, payload = packet[6], socket.inet_ntop(socket.AF_INET6, packet[24:40]), packet[40:]
        if protocol == 0:  # hop-by-hop options, which multicast listener reports carry
            protocol = payload[0]
    else:
        return f"ethertype {kind:#06x}"
    if protocol in _KERNELS_OWN:
        return None
    port = struct.unpack("!H", payload[2:4])[0] if protocol in _NAMES else 0
    name = f" {_dns_name(payload[8:])}" if port == 53 and protocol == 17 else ""
    return f"{_NAMES.get(protocol, protocol)} {target}:{port}{name}"


def _dns_name(query: bytes) -> str:
    labels, place = [], 12
    while place < len(query) and query[place]:
        labels.append(query[place + 1 : place + 1 + query[place]].decode("ascii", "replace"))
        place += 1 + query[place]
    return ".".join(labels)


def enter(folder: Path) -> None:
    """Make the devices, and have this mount namespace ask the resolver behind them."""
    for command in _SETUP:
        subprocess.run(command.split(), check=True)
    for name, text in (
        ("resolv.conf", f"nameserver {RESOLVER}\noptions timeout:1 attempts:1\n"),
        ("nsswitch.conf", "hosts: files dns\n"),
    ):
        (folder / name).write_text(text)
        target = Path("/etc") / name
        if target.exists():
            subprocess.run(["mount", "--bind", folder / name, target.resolve()], check=True)


def use(service: RunningService) -> dict[str, int]:
    """Ask the service for everything that it has; the status of each kind of call."""
    client = service.client
    rtf = with_attachment(contentType="text/rtf", data=encoded(r"{\rtf1 " + TEXT + "}"))
    linked = with_attachment(contentType="text/plain", url="http://elsewhere.example/Binary/1")
    statuses = {
        "score": client.post(SCORE, json=document(id="egress"), headers=FHIR),
        "explain": client.post(SCORE, json=parameters(document(id="why"), explain=True), headers=FHIR),
        "batch": client.post("/fhir", json=batch(document(id="b1"), rtf), headers=FHIR),
        "url": client.post(SCORE, json=linked, headers=FHIR),
        "plain": client.post("/v1/score", json={"notes": [{"id": "1", "text": TEXT}], "explain": True}),
        "cds": client.post("/cds-services/lang1-patient-view", json=_patient_view()),
        "broken": client.post(SCORE, content=b"{", headers=FHIR),
    }
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        if "get" in methods and "{" not in path:
            statuses[path] = client.get(path)
    return {name: answer.status_code for name, answer in statuses.items()}


def _patient_view() -> dict[str, Any]:
    bundle = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": document(id="cds")}]}
    return {
        "hook": "patient-view", "hookInstance": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "context": {"userId": "Practitioner/1", "patientId": "p1"}, "prefetch": {"notes": bundle},
    }  # fmt: skip


def control() -> None:
    """Leave the machine in three ways, to be seen."""
    with suppress(OSError):
        socket.getaddrinfo(CONTROL_HOST, 443)
    with socket.socket() as stream, suppress(OSError):
        stream.settimeout(0.2)
        stream.connect((CONTROL_ADDRESS, 443))
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as datagram:
        datagram.sendto(b"x", ("2001:db8:1::9", 9))


def main(bundle: Path, folder: Path) -> None:
    """Set up, run, import, control, report."""
    enter(folder)
    sniffer = Sniffer()
    service = RunningService(folder, bundle)
    try:
        statuses = use(service)
    finally:
        service.stop()
    imported = subprocess.run([sys.executable, "-c", _IMPORT_EVERYTHING], capture_output=True, text=True, check=False)
    before_control = list(sniffer.seen)
    control()
    until = time.monotonic() + _CONTROL_LIMIT_S
    while len(set(sniffer.seen[len(before_control) :])) < 3 and time.monotonic() < until:
        time.sleep(0.02)  # polls with a limit: the sniffer is another thread
    report = {
        "statuses": statuses,
        "imports": imported.stderr[-2000:] if imported.returncode else "",
        "seen": sorted(set(before_control)),
        "control": sorted(set(sniffer.seen[len(before_control) :])),
    }
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
