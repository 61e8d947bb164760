# SPDX-License-Identifier: Apache-2.0
"""What perf/plot/recording.py and perf/plot/figures.py draw with: SVG that needs nothing from elsewhere and follows the reader's choice
of light or dark."""

import math
from xml.sax.saxutils import escape

# Eight hues that people with any colour vision tell apart (Okabe and Ito), readable on light and dark.
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d3b", "#7f7f7f"]
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #222 } .title { font-size: 15px; font-weight: 600 }
  .note { fill: #666; font-size: 11px } .grid { stroke: #ddd } .axis { stroke: #888 } .page { fill: #fff }
  .mark { stroke: #222 } .tick { fill: #222 }
  @media (prefers-color-scheme: dark) {
    text { fill: #ddd } .note { fill: #999 } .grid { stroke: #333 } .axis { stroke: #777 } .page { fill: #161616 }
    .mark { stroke: #eee } .tick { fill: #eee }
  }
"""


class Svg:
    def __init__(self, width, height, title):
        self.size = (width, height)
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
            f' role="img" aria-label="{escape(title)}">',
            f"<style>{STYLE}</style>",
            f'<rect class="page" width="{width}" height="{height}"/>',
        ]

    def text(self, x, y, text, anchor="start", kind="", colour=None):
        style = f' style="fill:{colour}"' if colour else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}"{style}>{escape(text)}</text>'
        )

    def line(self, x1, y1, x2, y2, kind, width=1):
        self.parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}" stroke-width="{width}"/>'
        )

    def path(self, points, colour, filled=False):
        text = " ".join(f"{'M' if i == 0 else 'L'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(points))
        look = f'fill="{colour}" fill-opacity="0.55"' if filled else f'fill="none" stroke="{colour}" stroke-width="1.8"'
        self.parts.append(f'<path d="{text}" {look} stroke-linejoin="round"/>')

    def dot(self, x, y, colour, radius=3):
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"/>')

    def rectangle(self, x, y, width, height, colour):
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2" fill="{colour}"/>'
        )

    def render(self):
        return "\n".join(self.parts + ["</svg>", ""])

    def write(self, path):
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.render())


def quantity(value):
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def duration(ns):
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.3g} ns"


def steps_up_to(highest, most=5):
    """Round numbers from 0 to at least `highest`."""
    raw = highest / most
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw * 0.9999)
    return [i * step for i in range(int(math.ceil(highest / step - 1e-9)) + 1)]
