"""What only emulated segments have: counters, wear, and power failures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from vasmem import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray

CrashModel: TypeAlias = Literal["px86", "none", "all"]


class PowerFailure(NamedTuple):
    """Lines of 64 bytes that were not durable when the power failed, and those left as new."""

    lines: int
    survived: int


class Emulated:
    """A part of Segment. All of it raises VasmemError where nothing is emulated."""

    _core: _core.Segment

    def crash(self, model: CrashModel = "px86", *, seed: int = 0) -> PowerFailure:
        """Let the power fail, which ends this attachment; the next one recovers.

        Of each line that was stored to and not yet made durable, the medium keeps the old content
        or has the present one: with "px86" each line by itself, as a processor writes lines back
        whenever it likes; with "none" all are old, with "all" all are as they are now. What a line
        held in between is not offered. The same `seed` on the same bytes leaves the same bytes.

        An open transaction is gone. Raises VasmemError, and nothing happens, while the segment is
        attached for writing elsewhere or once more here.
        """
        return PowerFailure(*self._core.crash(model, seed))

    def nvm(self) -> dict[str, int]:
        """Counters since the segment was made, of all processes, and the latency model.

        `flushes`, `lines` and `fences` count what was asked of the processor; `lines_written` and
        `words_written` what of it changed the medium; `bytes_logged` went into redo records,
        `bytes_asked` is what the `commits` were to write, records apart.
        """
        return self._core.nvm()

    def wear(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Numbers of the lines of 64 bytes that were ever written, and how often each was.

        The number times 64 is the offset in the segment's file; counts end at 2**32 - 1.
        """
        import numpy

        lines, times = self._core.wear()
        return numpy.frombuffer(lines, "u8"), numpy.frombuffer(times, "u4")
