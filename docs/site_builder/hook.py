"""What mkdocs calls: generated pages, formulas, and a check that pages load nothing from elsewhere."""

from __future__ import annotations

import logging
import re
from typing import Any

from docs.site_builder.cli_page import cli_page
from docs.site_builder.configuration_page import configuration_page
from docs.site_builder.messages_page import messages_page
from docs.site_builder.notebook_pages import notebook_pages

GENERATED = {
    "reference/cli.md": cli_page,
    "reference/configuration.md": configuration_page,
    "reference/messages.md": messages_page,
}
LOADED = re.compile(r"<(?:script|img|iframe|source|link)\b[^>]*\b(?:src|href)=\"(?:https?:)?//[^>]*>")
HARMLESS = ("canonical", "prev", "next", "edit")
# A warning of a logger of mkdocs fails a strict build.
logger = logging.getLogger("mkdocs.hooks.site_builder")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made from code and from notebooks."""
    from mkdocs.structure.files import File  # noqa: PLC0415 - the checks below are tested without mkdocs

    for name, make in GENERATED.items():
        files.append(File.generated(config, name, content=make()))
    for name, content in notebook_pages().items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """Typeset the formulas of a page."""
    from docs.site_builder.formulas import typeset  # noqa: PLC0415

    return typeset(html)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Warn of files that a reader's browser would fetch from another place."""
    for tag in loaded_from_elsewhere(output):
        logger.warning("%s loads a file from elsewhere: %s", page.file.src_uri, tag)
    return output


def loaded_from_elsewhere(html: str) -> list[str]:
    """The tags of a page that make a browser fetch files from another place."""
    return [tag for tag in LOADED.findall(html) if not any(f'rel="{kind}"' in tag for kind in HARMLESS)]
