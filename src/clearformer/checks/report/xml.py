"""Elements of XML whose attributes may hold any text."""

import re
from typing import Any
from xml.etree import ElementTree

INVALID_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def element(parent: ElementTree.Element, tag: str, attributes: dict[str, Any]) -> ElementTree.Element:
    """A new element below `parent`."""
    return ElementTree.SubElement(parent, tag, {key: valid_in_xml(value) for key, value in attributes.items()})


def valid_in_xml(text: str) -> str:
    """Replace control characters and lone surrogates, which an error message may hold and XML may not."""
    return INVALID_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text)
