"""`make bench`: measures every part, prints the table as it grows, and leaves it in `.local/bench.json`."""

import os
import time

import msgspec

from bench import imports, local_stack, package, store
from bench.rows import LackingError, Row
from local.build import STATE
from local.stack import end_on_sigterm

RESULT = STATE / "bench.json"
PARTS = {"imports": imports, "package": package, "store": store, "local stack": local_stack}


def main() -> None:
    """Measure; exits 0 whatever the ratios are, since a busy machine shifts them."""
    end_on_sigterm()
    busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    if busy > 1:
        print(f"note: this machine is busy (load {busy:.1f} for each processor), so the ratios are rough")
    rows: list[Row] = []
    for name, part in PARTS.items():
        began = time.monotonic()
        try:
            for row in part.rows():
                rows.append(row)
                print(_line(row), flush=True)
        except LackingError as lacking:
            print(f"left out: {name}: {lacking}", flush=True)
        print(f"{'':4}{name}: {time.monotonic() - began:.0f} s", flush=True)
    found = [{"name": row.name, "ratio": round(row.ratio, 3), "aim": row.aim} for row in rows]
    RESULT.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    missed = sum(not row.is_met for row in rows)
    print(f"{len(rows)} ratios, {missed} above their aim; in {RESULT}")


def _line(row: Row) -> str:
    mark = "" if row.is_met else "ABOVE "
    return f"{row.name:<62} {row.ratio:>6.3f}  aim {row.aim:<4} {mark}{row.seen}"


if __name__ == "__main__":
    main()
