"""Latency over leaves as an SVG: logarithmic both ways."""

import math

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 720, 420, 60, 50, 40, 150
COLOURS = {"warm": "#b3541e", "cold": "#1e6fb3"}
STYLE = "font-family: sans-serif; font-size: 12px"


def svg(lines, title):
    """`lines` maps (kind, hedged, quantile) to points of leaves and milliseconds."""
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    low, high = 10 ** math.floor(math.log10(min(ys))), 10 ** math.ceil(math.log10(max(ys)))
    across = max(math.log2(max(xs)), 1)

    def place(x, y):
        right = LEFT + math.log2(x) / across * (WIDTH - LEFT - RIGHT)
        up = math.log10(y / low) / math.log10(high / low)
        return right, HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - TOP)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" style="{STYLE}">', f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    out.append(f'<text x="{LEFT}" y="22" font-weight="bold">{title}: simulated</text>')
    for power in range(round(math.log10(low)), round(math.log10(high)) + 1):
        for step in (1, 2, 5):
            y = step * 10.0**power
            if y > high:
                continue
            left, top = place(1, y)
            out.append(f'<line x1="{left:.1f}" y1="{top:.1f}" x2="{WIDTH - RIGHT}" y2="{top:.1f}" stroke="#e4e4e4"/>')
            out.append(f'<text x="{LEFT - 6}" y="{top + 4:.1f}" text-anchor="end">{y:g}</text>')
    for x in sorted(set(xs)):
        left, top = place(x, low)
        out.append(f'<text x="{left:.1f}" y="{top + 18:.1f}" text-anchor="middle">{x}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">leaves</text>')
    out.append(f'<text x="16" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 16 {HEIGHT / 2})">milliseconds</text>')
    ends = []
    for (kind, hedged, name), points in lines.items():
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        dash = "" if hedged else ' stroke-dasharray="5 4"'
        width = 2.2 if name == "p50" else 1.2
        out.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[kind]}" stroke-width="{width}"{dash}/>')
        ends.append((place(*points[-1])[1], kind, f"{kind} {name}{', hedged' if hedged else ''}"))
    # Names at the lines' ends, moved apart.
    at = TOP - 14
    for wanted, kind, name in sorted(ends):
        at = max(at + 14, wanted + 4)
        out.append(f'<text x="{WIDTH - RIGHT + 8}" y="{at:.1f}" fill="{COLOURS[kind]}">{name}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"
