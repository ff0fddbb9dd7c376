"""The code blocks of README and documentation."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "examples" / "README.md", *(ROOT / "docs").rglob("*.md")],
    key=lambda path: str(path.relative_to(ROOT)),
)
BLOCK = re.compile(
    r"(?P<mark><!-- not run: .+? -->\n)?^```(?P<head>[^\n`]*)\n(?P<text>.*?)^```$", re.M | re.S
)
TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        language: As written behind the fence.
        title: Name of the file that it shows, or nothing.
        text: What it holds.
        skipped: Marked with `<!-- not run: reason -->`.
        line: Where it begins.
    """

    language: str
    title: str
    text: str
    skipped: bool
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        language, _, rest = match["head"].partition(" ")
        title = TITLE.search(rest)
        line = text.count("\n", 0, match.start("text"))
        found.append(Block(language, title[1] if title else "", match["text"], bool(match["mark"]), line))
    return found


def commands(page: Path) -> list[str]:
    """The lines that call autoprune, fenced or indented."""
    fenced = [
        line for b in blocks(page) if b.language == "sh" and not b.skipped for line in b.text.splitlines()
    ]
    indented = [
        line.strip() for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("    ")
    ]
    lines = [line for line in [*fenced, *indented] if line.startswith("autoprune ")]
    return [line for line in dict.fromkeys(lines) if "..." not in line]
