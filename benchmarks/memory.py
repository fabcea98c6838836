"""Memory: the peak while a large document goes all the way, and what waiting messages cost."""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp

from attrs import frozen

from benchmarks.harness import Load, Server, SmtpSink
from benchmarks.samples import generated, inbound, whole_leg

__all__ = ["Large", "Waiting", "measure_large", "measure_waiting"]


@frozen
class Large:
    """Bytes: the document, the message around it, the mail, and the highest memory beyond that before it came."""

    document: int
    message: int
    mail: int
    baseline: int
    intake_peak: int
    peak: int

    @property
    def ratio(self) -> float:
        """The peak in documents."""
        return self.peak / self.document


@frozen
class Waiting:
    """Bytes of resident memory with few and with many messages waiting, and after a restart over the many."""

    few: int
    many: int
    with_few: int
    with_many: int
    restarted: int


async def measure_large(folder: Path, size: int) -> Large:
    """One document of `size` bytes from MLLP to the sink, after a small one."""
    place = Path(mkdtemp(dir=folder))
    small, large = generated("small", "N1", 330_000), generated("large", "N1", size * 4 // 3 + 3_000)
    sink = SmtpSink()
    port = await sink.start()
    with Server.pfiflow(place, whole_leg(place, port)) as server:
        await Load(server.address, small.templates).run(1, messages=5)
        await sink.wait_for(5, 30)
        before, passed = server.memory("VmRSS"), sink.bytes
        await Load(server.address, large.templates).run(1, messages=1)
        acknowledged = server.memory("VmHWM")
        await sink.wait_for(6, 120)
        peak = server.memory("VmHWM")
    sink.close()
    if problems := server.warnings():
        raise RuntimeError("\n".join(problems[:5]))
    document = len(large.documents[0])
    return Large(document, large.size, sink.bytes - passed, before, acknowledged - before, peak - before)


async def measure_waiting(folder: Path, few: int, many: int) -> Waiting:
    """Small transmissions of a hundred patients into a held channel."""
    place = Path(mkdtemp(dir=folder))
    sample = generated("waiting", "N1", 0, patients=min(100, many))
    route = inbound(place)
    with Server.pfiflow(place, route) as server:
        load = Load(server.address, sample.templates)
        await load.run(8, messages=few)
        with_few = server.memory("VmRSS")
        await load.run(8, messages=many - few)
        with_many = server.memory("VmRSS")
    with Server.pfiflow(place, route) as server:
        restarted = server.memory("VmRSS")
    return Waiting(few, many, with_few, with_many, restarted)
