"""A badge: a label and a number as a small SVG, for pages and documents that may not run scripts. Pure."""

from html import escape

_CHARACTER_PX = 7.0
"""Width of a character of the font on average; `textLength` makes the text fit whatever font there is."""
_PADDING_PX = 6
_HEIGHT_PX = 20


def render_badge(label: str, count: int) -> bytes:
    """`count` with separators of thousands. An SVG without scripts, styles or links."""
    value = f"{count:,}"
    left, right = (round(len(text) * _CHARACTER_PX) + 2 * _PADDING_PX for text in (label, value))
    width = left + right
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_HEIGHT_PX}" role="img"\
 aria-label="{escape(label)}: {value}">
<title>{escape(label)}: {value}</title>
<rect width="{width}" height="{_HEIGHT_PX}" rx="3" fill="#444"/>
<path d="M{left} 0h{right - 3}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3H{left}z" fill="#0b6bcb"/>
<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">
<text x="{left / 2}" y="14" textLength="{left - 2 * _PADDING_PX}">{escape(label)}</text>
<text x="{left + right / 2}" y="14" textLength="{right - 2 * _PADDING_PX}">{value}</text>
</g>
</svg>
""".encode()
