"""Puts the tables of `benchmarks/README.md` into the pages, so that a number stands in one place only."""

import re
from pathlib import Path
from typing import Any

README = Path(__file__).resolve().parents[1] / "benchmarks" / "README.md"
SECTION = re.compile(r"^<!-- (?P<name>[^/].*?) -->\n(?P<text>.*?)^<!-- /(?P=name) -->$", re.M | re.S)
WANTED = re.compile(r"^<!-- benchmark: (?P<name>.+?) -->$", re.M)
REST = "<!-- benchmarks: all others -->"


IMAGES = (".svg", ".png")


def on_files(files: Any, config: Any) -> Any:
    """Take the images of the benchmarks along, beside the page that shows them."""
    from mkdocs.structure.files import File

    for path in sorted(README.parent.iterdir()):
        if path.suffix in IMAGES:
            files.append(File.generated(config, path.name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace `<!-- benchmark: NAME -->` by the section of that name, `REST` by all that no page line names.

    Raises:
        KeyError: No such section; the build stops.
    """
    sections = {
        match["name"]: match["text"] for match in SECTION.finditer(README.read_text(encoding="utf-8"))
    }
    used = set(WANTED.findall(markdown))
    filled = WANTED.sub(lambda match: sections[match["name"]], markdown)
    others = "\n\n".join(text for name, text in sections.items() if name not in used)
    return filled.replace(REST, others)
