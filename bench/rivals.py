"""`make bench`: our steps beside JAX, PyTorch and NumPy, one core against one core, then all against all."""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

_RESULTS = Path(__file__).parent / "results"


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, and write it; 1 where an answer is wrong."""
    # Here and not above: every worker imports this file, and needs none of these.
    import machine  # noqa: PLC0415
    import report  # noqa: PLC0415
    from contestants import CONTESTANTS, OURS, SIMULATE  # noqa: PLC0415
    from measure import Effort, Row, Team, measure  # noqa: PLC0415
    from step_cases import Case, cases, sweeps  # noqa: PLC0415

    wanted = _parser().parse_args(arguments)
    available = sorted(os.sched_getaffinity(0))
    core = available[-1] if wanted.core is None else wanted.core
    quick = Effort(stretch=0.03, total=1.0, most=3)
    rivals = [name for name in CONTESTANTS if name not in {OURS, SIMULATE}]
    table = cases(wanted.sizes)
    if wanted.quick:
        table = [case for case in table if case.p <= 37 and case.activation == "relu"]
        rivals.remove("PyTorch compiled")
    described = machine.describe()
    began = time.monotonic()

    def run(table: list[Case], cores: set[int], names: list[str], effort: Effort) -> list[Row]:
        rows = []
        with Team(cores) as team:
            for case in table:
                looped = [SIMULATE] if len(cores) == 1 and case.dynamics == "descent" and case.p == 11 else []
                rows.append(measure(case, team, looped + names, effort))
                print(report.line(rows[-1]), flush=True)
        return rows

    print(f"{report.headline(described)}\n\none core (number {core})\n{report.HEADER}", flush=True)
    one = run(table, {core}, rivals, quick if wanted.quick else Effort())
    print(f"\n{report.notes(one)}", flush=True)
    several: list[Row] = []
    if len(available) > 1 and not wanted.quick:
        print(f"\nall {len(available)} cores\n{report.HEADER}", flush=True)
        relu = [case for case in table if case.activation == "relu"]
        several = run(relu, set(available), rivals, replace(Effort(), total=3.0, most=5))
    points: list[Row] = []
    if wanted.sizes is None and not wanted.quick:
        print(f"\none core, for the picture\n{report.HEADER}", flush=True)
        points = run(sweeps(), {core}, ["JAX"], replace(Effort(), total=0.8, most=5))

    print(f"\n{time.monotonic() - began:.0f} s")
    if wrong := [sentence for row in one + several + points for sentence in row.wrong()]:
        print("wrong answers, nothing written:", *wrong, sep="\n  ", file=sys.stderr)
        return 1
    if wanted.write:
        report.write(_RESULTS / machine.slug(described), described, one, several, points)
        print(f"bench/results/{machine.slug(described)}.md, .json" + (", .png" if points else ""))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one core, p ≤ 37, few rounds, no torch.compile")
    parser.add_argument("--sizes", type=_sizes, metavar="P,P…", help="only these moduli, and no picture")
    parser.add_argument("--core", type=int, help="the core of the one-core rows (default: the last that is available)")
    parser.add_argument("--no-write", dest="write", action="store_false", help="leave bench/results/ as it is")
    return parser


def _sizes(text: str) -> set[int]:
    return {int(part) for part in text.split(",")}


if __name__ == "__main__":
    sys.exit(main())
