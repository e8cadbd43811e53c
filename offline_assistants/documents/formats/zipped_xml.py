"""The way into documents that are ZIP archives of XML: Word, PowerPoint, Excel, OpenDocument, EPUB. Nothing is unpacked to disk.

A member is read only as far as the archive's own table says it goes, and all of them together only up to a limit, so that a bomb does not go off. XML that
declares entities is refused, whatever they are: these formats have none. Names are compared without namespaces, because the same formats are written in
two of them ("transitional" and "strict").
"""

from __future__ import annotations

import io
import posixpath
import xml.etree.ElementTree as ET
import zipfile
import zlib
from collections.abc import Iterator
from typing import NamedTuple, Self
from urllib.parse import unquote

from offline_assistants.errors import InvalidFile

_MAX_UNPACKED_BYTES = 256 << 20
_MAX_MEMBERS = 100_000
_DECLARATIONS = tuple(word.encode(encoding) for word in ("<!DOCTYPE", "<!ENTITY") for encoding in ("utf-8", "utf-16-le", "utf-16-be"))
_OLE_SIGNATURE = b"\xd0\xcf\x11\xe0"


class Relationship(NamedTuple):
    """From one part of an Office document to another."""

    kind: str
    """The last word of its type: "slide", "notesSlide", "styles"."""
    target: str
    """A member of the archive, or an address outside that nobody follows."""


def local_name(name: str) -> str:
    """`{namespace}name` without the namespace."""
    return name.rpartition("}")[2]


def attribute(element: ET.Element, name: str) -> str | None:
    """By its name without namespace."""
    if (value := element.get(name)) is not None:
        return value
    return next((value for key, value in element.attrib.items() if local_name(key) == name), None)


def children(element: ET.Element, name: str) -> Iterator[ET.Element]:
    return (child for child in element if local_name(child.tag) == name)


def child(element: ET.Element | None, *path: str) -> ET.Element | None:
    """The first child of a name, then the first of the next name in it, and so on."""
    for name in path:
        if element is None:
            return None
        element = next(children(element, name), None)
    return element


def descendants(element: ET.Element, name: str) -> Iterator[ET.Element]:
    return (found for found in element.iter() if local_name(found.tag) == name)


class ZippedXml:
    """An open archive. Everything it does raises InvalidFile for what is damaged, protected or too large."""

    def __init__(self, content: bytes, *, kind: str) -> None:
        """`kind`: what the file should be, with its article, as in "a Word document"."""
        self._kind = kind
        self._left = _MAX_UNPACKED_BYTES
        if content.startswith(_OLE_SIGNATURE) and "EncryptedPackage".encode("utf-16-le") in content:
            raise self.protected()
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(content))
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
            raise self.damaged() from error
        self._members = {info.filename: info for info in self._archive.infolist()[:_MAX_MEMBERS]}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def damaged(self) -> InvalidFile:
        return InvalidFile(f"The file is damaged or is not {self._kind}. Open it on your machine, save it again, and upload the new file.")

    def protected(self) -> InvalidFile:
        return InvalidFile("The file is protected by a password. Save a copy without one and upload that.")

    def read(self, name: str) -> bytes:
        """A member's bytes."""
        info = self._members.get(name)
        if info is None:
            raise self.damaged()
        if info.flag_bits & 1:
            raise self.protected()
        self._left -= info.file_size
        if self._left < 0:
            raise InvalidFile(f"The file unpacks to more than {_MAX_UNPACKED_BYTES >> 20} MB of text with its mark-up, which is the limit. Split it.")
        try:
            return self._archive.read(info)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
            raise self.damaged() from error

    def xml(self, name: str) -> ET.Element:
        """The root of a member that is XML."""
        try:
            return ET.fromstring(self._checked(name))  # noqa: S314  without entities, and within limits
        except (ET.ParseError, ValueError, LookupError) as error:
            raise self.damaged() from error

    def elements(self, name: str, tag: str) -> Iterator[ET.Element]:
        """The elements of a name in a member, one after the other; each is forgotten when the next one is asked for."""
        try:
            for _, element in ET.iterparse(io.BytesIO(self._checked(name))):  # noqa: S314
                if local_name(element.tag) == tag:
                    yield element
                    element.clear()
        except (ET.ParseError, ValueError, LookupError) as error:
            raise self.damaged() from error

    def _checked(self, name: str) -> bytes:
        content = self.read(name)
        if any(word in content for word in _DECLARATIONS):
            raise InvalidFile(f"The file declares XML entities, which {self._kind} never has: it is made to do harm, and was not read.")
        return content

    def relationships(self, part: str) -> dict[str, Relationship]:
        """Where an Office part leads, by id; "" is the whole document."""
        folder, name = posixpath.split(part)
        listing = posixpath.join(folder, "_rels", f"{name}.rels")
        if listing not in self:
            return {}
        found: dict[str, Relationship] = {}
        for element in self.xml(listing):
            target = posixpath.normpath(posixpath.join("/", folder, unquote(element.get("Target", "")))).lstrip("/")
            found[element.get("Id", "")] = Relationship(element.get("Type", "").rpartition("/")[2], target)
        return found

    def related(self, part: str, kind: str) -> str | None:
        """The first part that `part` leads to by a relationship of this kind, if it is there."""
        return next((each.target for each in self.relationships(part).values() if each.kind == kind and each.target in self), None)

    def main_part(self) -> str:
        """The part that an Office document begins with."""
        found = self.related("", "officeDocument")
        if found is None:
            raise self.damaged()
        return found
