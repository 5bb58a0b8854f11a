"""The time stamps of files whose clock jumps, as that of segments that were joined, made to go on."""

from collections.abc import Sequence
from typing import Any

#: A clock that goes back by more than so many seconds has been set anew, as the ffmpeg command line has it.
BACKWARDS = 0.1
#: A clock that goes forward by more than so many seconds, in formats of broadcast, whose clocks may be set anew.
FORWARDS = 10.0
#: Streams of one file begin together, within so many seconds, where its clock is set anew.
TOGETHER = 0.5


def is_broadcast(container: Any) -> bool:
    """True for the formats of broadcast, whose clocks may be set anew and which say nothing of their length."""
    from av.format import Flags

    discontinuous: Any = Flags.ts_discont
    return bool(discontinuous.value & container.format.flags)


class Timeline:
    """Shifts the times of a container's packets so that each stream's go on where the clock is set anew.

    Every reader of a file that hands all packets of the same streams through one of these gets the same times, so
    that sound stays in step with the images.

    Args:
        container: the PyAV container.
        streams: those whose packets are handed through.
    """

    def __init__(self, container: Any, streams: Sequence[Any]) -> None:
        self._forwards = FORWARDS if is_broadcast(container) else float("inf")
        #: By a stream's index, in seconds: what is added to its times, and when its next packet is due.
        self._shifts = {stream.index: 0.0 for stream in streams}
        self._due: dict[int, float] = {}
        self._last: dict[int, float] = {}

    def mend(self, packet: Any) -> bool:
        """Shifts a packet's times in place; True where its stream's clock is set anew. Packets come in their order."""
        index, base = packet.stream.index, packet.time_base
        is_seam = False
        if packet.dts is not None:
            time = float(packet.dts * base)
            due = self._due.get(index)
            if due is not None and not -BACKWARDS <= time + self._shifts[index] - due <= self._forwards:
                is_seam = True
                self._shifts[index] = self._new_shift(index, time, due)
            shifted = time + self._shifts[index]
            step = float(packet.duration * base) if packet.duration else shifted - self._last.get(index, shifted)
            self._last[index], self._due[index] = shifted, shifted + max(step, 0.0)
        shift = round(self._shifts[index] / base)
        if shift:
            if packet.dts is not None:
                packet.dts += shift
            if packet.pts is not None:
                packet.pts += shift
        return is_seam

    def _new_shift(self, index: int, time: float, due: float) -> float:
        """That of a stream that has gone over the same seam already, or else what makes this stream go on at once."""
        for other, shift in self._shifts.items():
            if other != index and abs(time + shift - due) < TOGETHER:
                return shift
        return due - time
