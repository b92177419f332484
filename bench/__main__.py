"""`make bench`: measures every part, or those that are named, prints the table as it grows, and leaves it in `.local/bench.json`."""

import argparse
import os
import time

import msgspec

from bench import command_line, costs, imports, local_stack, package, simulation, store
from bench.rows import LackingError, Row
from local.build import STATE
from local.stack import end_on_sigterm

RESULT = STATE / "bench.json"
PARTS = {
    "imports": imports,
    "command line": command_line,
    "package": package,
    "units": costs,
    "simulation": simulation,
    "store": store,
    "local stack": local_stack,
}


def main() -> None:
    """Measure; exits 0 whatever the ratios are, since a busy machine shifts them."""
    end_on_sigterm()
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all without any")
    chosen = parser.parse_args().parts or [*PARTS]
    if unknown := {*chosen} - {*PARTS}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    if busy > 1:
        print(f"note: this machine is busy (load {busy:.1f} for each processor), so the ratios are rough")
    rows: list[Row] = []
    for name, part in PARTS.items():
        if name not in chosen:
            continue
        began = time.monotonic()
        try:
            for row in part.rows():
                rows.append(row)
                print(_line(row), flush=True)
        except LackingError as lacking:
            print(f"left out: {name}: {lacking}", flush=True)
        print(f"{'':4}{name}: {time.monotonic() - began:.0f} s", flush=True)
    found = [{"name": row.name, "ratio": round(row.ratio, 3), "aim": row.aim} for row in rows]
    if {*chosen} != {*PARTS} and RESULT.exists():
        measured = {row.name for row in rows}
        found = [row for row in msgspec.json.decode(RESULT.read_bytes()) if row["name"] not in measured] + found
    RESULT.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    missed = sum(not row.is_met for row in rows)
    print(f"{len(rows)} ratios, {missed} above their aim; in {RESULT}")


def _line(row: Row) -> str:
    mark = "" if row.is_met else "ABOVE "
    return f"{row.name:<62} {row.ratio:>6.3f}  aim {row.aim:<4} {mark}{row.seen}"


if __name__ == "__main__":
    main()
