"""A form as a browser sends it: what `studio.js` reads from the page."""

from __future__ import annotations

import html as entities
import re
from typing import Any


def fields_of_form(html: str) -> dict[str, Any]:
    """The fields of the page's form, with their values."""
    fields: dict[str, Any] = {}
    for tag in re.findall(r"<input\b[^>]*>", html):
        given = {name: entities.unescape(value) for name, value in re.findall(r'([\w:-]+)="([^"]*)"', tag)}
        kind = given.get("type", "text")
        if "name" not in given or " disabled" in tag or kind == "file":
            continue
        if kind in {"radio", "checkbox"} and not re.search(r"\schecked\b", tag):
            continue
        fields[given["name"]] = given.get("value", "on")
    for name, options in re.findall(r'<select [^>]*name="([^"]+)">(.*?)</select>', html, re.DOTALL):
        chosen = re.search(r'value="([^"]*)" selected', options) or re.search(r'value="([^"]*)"', options)
        fields[name] = entities.unescape(chosen[1]) if chosen else ""
    for name, text in re.findall(r'<textarea [^>]*name="([^"]+)"[^>]*>(.*?)</textarea>', html, re.DOTALL):
        fields[name] = entities.unescape(text)
    return fields


def yaml_beside(html: str) -> str:
    """The YAML that the page shows."""
    code = re.search(r'id="yaml".*?</div>', html, re.DOTALL)
    lines = re.findall(r"<code[^>]*>(.*?)</code>", code[0]) if code else []
    return "".join(f"{entities.unescape(line)}\n" for line in lines)


def mistakes_shown(html: str) -> list[str]:
    """The mistakes on the page, without the sentence below the YAML."""
    found = [entities.unescape(text) for text in re.findall(r'class="mistake">([^<]*)', html)]
    return [text for text in found if "each is at its field" not in text]
