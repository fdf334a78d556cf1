# SPDX-License-Identifier: BSD-2-Clause
"""The chart: bars with their spread, as SVG."""
from xml.sax.saxutils import escape

from results import RATES, SIZES

WIDTH, LEFT, RIGHT, BAR, GAP = 860, 230, 150, 18, 6
OURS, PEER = "#c2410c", "#64748b"


def panel(title, rows, unit):
    """rows: name, value, low, high. Returns drawing and height."""
    longest = max((high for _, _, _, high in rows), default=1) or 1
    scale = (WIDTH - LEFT - RIGHT) / longest
    out = [f'<text x="0" y="14" font-weight="bold">{escape(title)}</text>']
    y = 26
    for name, value, low, high in rows:
        color = OURS if name.startswith("xdivert") else PEER
        middle = y + BAR / 2
        out.append(
            f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">'
            f'{escape(name)}</text>'
            f'<rect x="{LEFT}" y="{y}" width="{value * scale:.1f}" '
            f'height="{BAR}" fill="{color}"/>'
            f'<path d="M{LEFT + low * scale:.1f} {middle}H'
            f'{LEFT + high * scale:.1f}" stroke="#000" stroke-width="1.5"/>'
            f'<text x="{LEFT + high * scale + 6:.1f}" y="{y + 13}">'
            f'{value:.2f} {unit}</text>')
        y += BAR + GAP
    return "".join(out), y + 14


def rows_of(results, paths, scale):
    rows = []
    for name, path in paths:
        if path in results.rounds:
            low, high = results.spread(path)
            rows.append((name, results.median(path) / scale, low / scale,
                         high / scale))
    return sorted(rows, key=lambda row: -row[1])


def systems_of(results, prefix, suffix=""):
    """(name, path) for each path between prefix and suffix."""
    return [(path[len(prefix):len(path) - len(suffix)], path)
            for path in results.rounds
            if path.startswith(prefix) and path.endswith(suffix)]


def panels(results):
    for size in SIZES:
        yield (f"Throughput, {size} bytes", rows_of(
            results, systems_of(results, f"throughput.{size}."), 1e6),
            "M packets/s")
    for rate in RATES:
        for p in ("p50", "p99"):
            yield (f"Latency at {rate} packets/s, {p}", rows_of(
                results, systems_of(results, f"latency.{rate}.", f".{p}"),
                1e3), "us")
    yield ("TCP, one connection", rows_of(
        results, systems_of(results, "tcp."), 1e9), "Gbit/s")
    yield ("Scale, 64 bytes", [
        row for path in results.rounds if path.startswith("scale.")
        for row in rows_of(results, [(path[6:], path)], 1e6)], "M packets/s")


def draw(meta, results):
    y, parts = 40, []
    for title, rows, unit in panels(results):
        if not rows:
            continue
        drawing, height = panel(title, rows, unit)
        parts.append(f'<g transform="translate(16 {y})">{drawing}</g>')
        y += height
    head = (f"xdivert {meta['commit']}: {meta['cpus']} x {meta['cpu']}, "
            f"Linux {meta['kernel']}; bars: medians, lines: spread")
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + 32}" '
            f'height="{y}" font-family="sans-serif" font-size="12">'
            f'<rect width="100%" height="100%" fill="#fff"/>'
            f'<text x="16" y="22">{escape(head)}</text>'
            f'{"".join(parts)}</svg>\n')
