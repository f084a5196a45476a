"""Finding: a line of the report of `stagehook doctor`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A line of the report. fix: what to do if it is not ok. note: it is ok, but only on purpose."""

    subject: str
    ok: bool
    says: str
    fix: str = ""
    note: bool = False

    def line(self) -> str:
        """The line for people."""
        mark = ("note " if self.note else "ok   ") if self.ok else "WRONG"
        fix = f"; try: {self.fix}" if self.fix else ""
        return f"{mark} {self.subject:10} {self.says}{fix}"
