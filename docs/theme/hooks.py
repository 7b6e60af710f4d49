"""What MkDocs does not do by itself: pages that lie outside docs/, links to sources, the notebook, and formulas.

Links in the pages are those of the repository, so that they also work where the files are read without the site.
"""

from __future__ import annotations

import html
import json
import os
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PAGES = {
    "README.md": "readme.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "lle/enhancers/assets/MODEL_CARD.md": "cards/enhancer.md",
    "lle/prior/assets/MODEL_CARD.md": "cards/prior.md",
    "docs/first_steps.ipynb": "first_steps.md",
}
"""Files of the repository that become pages of the site."""
LINK = re.compile(r"(?<=\]\()([^)\s#]+)(#[^)\s]*)?(?=\))")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".json": "json"}


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages outside docs/, and a page for every source that one of the pages links to."""
    for place, page in PAGES.items():
        text = (ROOT / place).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=notebook_page(text) if place.endswith(".ipynb") else text))
    for file in list(files.documentation_pages()):
        for target in _targets(file.content_string, file.src_uri):
            page = page_of(target)
            if page.startswith("source/") and not files.get_file_from_path(page):
                files.append(File.generated(config, page, content=source_page(target)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links between files of the repository become links between pages."""
    here = page.file.src_uri

    def moved(found: re.Match[str]) -> str:
        target = in_repository(found[1], here)
        if target is None:
            return found[0]
        return os.path.relpath(page_of(target), Path(here).parent) + (found[2] or "")

    return LINK.sub(moved, markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Formulas become MathML, which browsers draw without a script."""

    def drawn(found: re.Match[str]) -> str:
        return convert(html.unescape(found[2].strip()), display="block" if found[1] == "div" else "inline")

    return FORMULA.sub(drawn, content)


def place_of(page: str) -> str:
    """The file of the repository that a page of the site comes from."""
    return next((place for place, made in PAGES.items() if made == page), f"docs/{page}")


def page_of(place: str) -> str:
    """The page of the site that shows a file of the repository."""
    if place in PAGES:
        return PAGES[place]
    return place.removeprefix("docs/") if place.startswith("docs/") else f"source/{place}.md"


def in_repository(link: str, page: str) -> str | None:
    """The file of the repository that a link on a page leads to; None where there is no such file."""
    if ":" in link:
        return None
    target = os.path.normpath(Path(place_of(page)).parent / link)
    return target if not target.startswith("..") and (ROOT / target).is_file() else None


def source_page(place: str) -> str:
    """A source with a heading."""
    text = (ROOT / place).read_text(encoding="utf-8")
    fence = "`" * (3 + max([0, *(len(each) for each in re.findall(r"`{3,}", text))]))
    return f"# {place}\n\n{fence}{LANGUAGES.get(Path(place).suffix, 'text')}\n{text}\n{fence}\n"


def notebook_page(text: str) -> str:
    """The cells of a notebook one below the other."""
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        parts.append(f"```python\n{source}\n```" if cell["cell_type"] == "code" else source)
    return "\n\n".join(parts) + "\n"


def _targets(markdown: str, page: str) -> list[str]:
    """Files of the repository that a page links to."""
    return [target for found in LINK.finditer(markdown) if (target := in_repository(found[1], page))]
