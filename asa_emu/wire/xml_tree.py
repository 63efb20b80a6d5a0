"""A small element tree for XML that a stranger sent, and the escaping for XML that we send.

Bytes flow into `parse_tree_untrusted`, a tree of `Element` comes out, or `XmlError` and nothing else. It
stands on expat and keeps its own limits, because no library at hand bounds depth and node count both: the
body is capped before expat sees it (expat collects all attributes of a tag before it tells us, so only the
byte cap bounds those), a document type declaration is refused outright (so there are no entities beyond the
five of XML and nothing external), and depth, elements and attributes are counted while parsing. Everything is
read as UTF-8, whatever the declaration says. It knows nothing of AnyConnect, and it never puts document text
into an error message: that text may be a password.
"""

import re
from collections.abc import Iterator
from xml.parsers import expat

from asa_emu.wire.errors import XmlError

MAX_BODY = 64 * 1024
"""Bytes; the same cap as for the body of any request, and the only bound on the attributes of one tag."""
MAX_DEPTH = 32
MAX_NODES = 2000
MAX_ATTRIBUTES = 64
"""Per element. The deepest document known has 6 levels, the largest some 60 elements (a long group list
more)."""

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
"""What every document that we send begins with."""

_BOM = b"\xef\xbb\xbf"
_BLANKS = b" \t\r\n"
_NEEDS_ESCAPE = re.compile(r'[&<>"\t\r\n\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]')
_UNSENDABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_ESCAPES = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    # A parser folds CR LF in text to LF, and any blank in an attribute to a space; a reference survives both.
    "\t": "&#9;",
    "\n": "&#10;",
    "\r": "&#13;",
}


class Element:
    """One element: its tag, attributes, child elements, and the text directly inside it (never stripped)."""

    __slots__ = ("attributes", "children", "line", "source", "tag", "text")

    def __init__(self, tag: str, attributes: dict[str, str], line: int = 0) -> None:
        self.tag = tag
        self.attributes = attributes
        self.line = line
        """The line of the document on which it begins, from 1."""
        self.children: list[Element] = []
        self.text = ""
        self.source: bytes | None = None
        """The bytes of the whole element as they stood in the document, for the tags that were asked for."""

    def __repr__(self) -> str:
        return f"<Element {self.tag} children={len(self.children)}>"

    def find(self, *path: str) -> "Element | None":
        """Follow the first child of each name in turn; None as soon as there is none."""
        here = self
        for tag in path:
            for child in here.children:
                if child.tag == tag:
                    here = child
                    break
            else:
                return None
        return here

    def find_all(self, tag: str) -> "Iterator[Element]":
        """Yield the direct children of that name."""
        return (child for child in self.children if child.tag == tag)

    def find_text(self, *path: str) -> str | None:
        """Return the text at the path without blanks around it; None when nothing is there or it is empty."""
        found = self.find(*path)
        return found.text.strip() or None if found is not None else None


def parse_tree_untrusted(body: bytes, keep_source: frozenset[str] = frozenset()) -> Element:
    """Return the root element of a document of at most MAX_BODY bytes.

    A byte-order mark and blanks before the document are skipped. Elements named in `keep_source` carry their
    own bytes. Raises XmlError for anything that is not well-formed UTF-8 XML within the limits.
    """
    if len(body) > MAX_BODY:
        raise XmlError(f"document of {len(body)} bytes, at most {MAX_BODY} are read")
    body = body.removeprefix(_BOM).lstrip(_BLANKS)
    # expat would follow a UTF-16 byte-order mark, or its NULs, in spite of the encoding it is given.
    if body[:1] != b"<" or body[1:2] == b"\0":
        raise XmlError("not an XML document in UTF-8")
    parser = expat.ParserCreate("utf-8")
    builder = _Builder(parser, body, keep_source)
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        raise XmlError(f"not well-formed XML: {expat.ErrorString(error.code)}, line {error.lineno}") from None
    except ValueError as error:
        raise XmlError("undecodable XML") from error
    finally:
        # parser -> bound method -> builder -> parser is a cycle; cleared, reference counting frees it.
        parser.StartElementHandler = None
        parser.EndElementHandler = None
        parser.CharacterDataHandler = None
        parser.StartDoctypeDeclHandler = None
    return builder.root


class _Builder:
    """Collects the tree from expat's calls and stops the parser where a limit is passed."""

    __slots__ = ("body", "keep_source", "nodes", "parser", "root", "stack", "starts")

    def __init__(self, parser: expat.XMLParserType, body: bytes, keep_source: frozenset[str]) -> None:
        self.parser = parser
        self.body = body
        self.keep_source = keep_source
        self.nodes = 0
        self.root = Element("", {})
        self.stack: list[Element] = []
        self.starts: list[int] = []
        parser.buffer_text = True
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end
        parser.CharacterDataHandler = self.text
        parser.StartDoctypeDeclHandler = self.doctype

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise XmlError(f"more than {MAX_NODES} elements")
        line = self.parser.CurrentLineNumber
        if len(attributes) > MAX_ATTRIBUTES:
            raise XmlError(f"more than {MAX_ATTRIBUTES} attributes on one element, line {line}")
        element = Element(tag, attributes, line)
        stack = self.stack
        if stack:
            stack[-1].children.append(element)
            if len(stack) >= MAX_DEPTH:
                raise XmlError(f"more than {MAX_DEPTH} levels of elements, line {line}")
        else:
            self.root = element
        stack.append(element)
        if tag in self.keep_source:
            self.starts.append(self.parser.CurrentByteIndex)

    def end(self, tag: str) -> None:
        element = self.stack.pop()
        if tag in self.keep_source:
            element.source = self.body[self.starts.pop() : self._end_of(element)]

    def text(self, data: str) -> None:
        self.stack[-1].text += data

    def doctype(self, *_: object) -> None:
        raise XmlError(f"a document type declaration is refused, line {self.parser.CurrentLineNumber}")

    def _end_of(self, element: Element) -> int:
        """Offset after the element. expat stands at the end tag, or behind the whole of an empty-element
        tag."""
        here = self.parser.CurrentByteIndex
        empty_tag = not element.children and not element.text and self.body.endswith(b"/>", 0, here)
        return here if empty_tag else self.body.index(b">", here) + 1


def escape(value: str) -> str:
    """Return the value as XML text or attribute content (between double quotes).

    A character that XML 1.0 cannot carry (most controls, lone surrogates) becomes U+FFFD.
    """
    if _NEEDS_ESCAPE.search(value) is None:
        return value
    return _NEEDS_ESCAPE.sub(lambda found: _ESCAPES.get(found[0], "\ufffd"), value)


def escape_exactly(value: str) -> str:
    """Like `escape`, but raises ValueError for what XML cannot carry: a password must not be changed on its
    way."""
    if _UNSENDABLE.search(value) is not None:
        raise ValueError("the value holds a character that XML cannot carry")
    return escape(value)


def recognise_xml(body: bytes) -> bool:
    """Tell whether a request body is meant as XML, by its first byte after blanks and byte-order mark
    (design: never by X-Aggregate-Auth or Content-Type, which clients leave out or get wrong).
    """
    head = body[:64].removeprefix(_BOM).lstrip(_BLANKS)
    return head[:1] == b"<"
