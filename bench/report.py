# SPDX-License-Identifier: BSD-2-Clause
"""build/bench.json, the table and the chart."""
import json

import chart
from results import RATES, SIZES, verdicts


def document(meta, results):
    tree = results.tree(results.median)
    return {
        "meta": meta,
        **{key: tree.get(key, {}) for key in ("throughput", "latency", "tcp",
                                              "scale", "soak", "ratio")},
        "spread": results.tree(results.spread),
        "targets": verdicts(results),
        "skipped": results.skipped,
        "errors": results.errors,
    }


def cells(results, path, scale, digits):
    """Median and, behind it, lowest-highest of all rounds."""
    if path not in results.rounds:
        return "-"
    low, high = results.spread(path)
    return (f"{results.median(path) / scale:.{digits}f} "
            f"({low / scale:.{digits}f}-{high / scale:.{digits}f})")


def names(results, prefix, position):
    """Systems in the order in which they were first measured."""
    found = {}
    for path in results.rounds:
        parts = path.split(".")
        if parts[0] == prefix:
            found[parts[position]] = True
    return list(found)


def table(title, head, rows):
    """Columns as wide as they need to be."""
    lines = [title, ""]
    widths = [max(len(str(row[i])) for row in [head, *rows])
              for i in range(len(head))]
    for row in [head, ["-" * width for width in widths], *rows]:
        lines.append("  ".join(
            f"{cell:{'<' if i == 0 else '>'}{width}}"
            for i, (cell, width) in enumerate(zip(row, widths))).rstrip())
    return "\n".join(lines) + "\n"


def throughput(results):
    return table(
        "Throughput, million packets/s: median (lowest-highest)",
        ["", *(f"{size} bytes" for size in SIZES)],
        [[name, *(cells(results, f"throughput.{size}.{name}", 1e6, 2)
                  for size in SIZES)]
         for name in names(results, "throughput", 2)])


def latency(results):
    rows = []
    for name in names(results, "latency", 2):
        rows.append([name, *(
            " / ".join(
                f"{results.median(path) / 1000:.1f}"
                if (path := f"latency.{rate}.{name}.{p}") in results.rounds
                else "-" for p in ("p50", "p99", "p999"))
            for rate in RATES)])
    return table("Latency through the gateway, us: p50 / p99 / p99.9",
                 ["", *(f"{rate} packets/s" for rate in RATES)], rows)


def single(results, prefix, title, scale, digits):
    return table(title, ["", "median (lowest-highest)"], [
        [path.removeprefix(prefix + "."), cells(results, path, scale, digits)]
        for path in results.rounds if path.startswith(prefix + ".")])


def bound(row):
    sign = "<=" if row["better"] == "lower" else ">="
    text = f"{sign} {row['goal']:.3g}"
    return text if row["floor"] is None else f"{text} [{row['floor']:.3g}]"


def targets(results):
    return table("Goals [floors]", ["", "value", "goal [floor]", ""], [
        [row["text"], "-" if row["value"] is None else f"{row['value']:.3f}",
         bound(row), row["verdict"]] for row in verdicts(results)])


def said(title, reasons):
    if not reasons:
        return ""
    return "\n".join([title, "", *(
        f"  {path}: {why.splitlines()[0]}" for path, why in reasons.items()),
        ""])


def text(meta, results):
    head = (f"xdivert {meta['commit']}, {meta['mode']} run of "
            f"{meta['seconds']} s on {meta['cpus']} x {meta['cpu']}, Linux "
            f"{meta['kernel']}\nload before {meta['load_before']:.1f}, after "
            f"{meta['load_after']:.1f}; {meta['stolen']} s stolen by the "
            f"hypervisor\n")
    parts = [
        head, throughput(results), latency(results),
        single(results, "tcp", "TCP, one iperf3 connection, Gbit/s", 1e9, 2),
        single(results, "scale", "Scale, 64 bytes, million packets/s", 1e6, 2),
        targets(results), said("Skipped", results.skipped),
        said("FAILED", results.errors)]
    return "\n".join(part for part in parts if part)


def write(base, meta, results):
    base.parent.mkdir(parents=True, exist_ok=True)
    base.with_suffix(".json").write_text(
        json.dumps(document(meta, results), indent=1) + "\n")
    base.with_suffix(".txt").write_text(text(meta, results))
    base.with_suffix(".svg").write_text(chart.draw(meta, results))
