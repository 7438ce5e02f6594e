"""What a compiled kernel itself says of its arguments: read from the bytes, with nothing of Lacuna's."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple


class Parameter(NamedTuple):
    """In bytes."""

    offset: int
    size: int


KPARAM_INFO, VALUE_OF_BYTES = 0x17, 0x04


def of_cubin(cubin: bytes, entry: str) -> list[Parameter]:
    """From the section `.nv.info.ENTRY`: records of a format, an attribute and a length, one KPARAM_INFO for each parameter."""
    data = sections(cubin)[f".nv.info.{entry}"]
    found: dict[int, Parameter] = {}
    at = 0
    while at < len(data):
        form, attribute, size = struct.unpack_from("<BBH", data, at)
        at += 4
        if form == VALUE_OF_BYTES:
            if attribute == KPARAM_INFO:
                _, ordinal, offset, flags = struct.unpack_from("<IHHI", data, at)
                found[ordinal] = Parameter(offset, flags >> 18)
            at += size
    return [found[ordinal] for ordinal in range(len(found))]


def sections(elf: bytes) -> dict[str, bytes]:
    """Of a 64-bit little-endian ELF file, by name."""
    table, size, count, names_at = *struct.unpack_from("<Q", elf, 0x28), *struct.unpack_from("<HHH", elf, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", elf, table + number * size) for number in range(count)]
    names = headers[names_at]
    return {_text(elf, names[4] + header[0]): elf[header[4] : header[4] + header[5]] for header in headers if header[1] != 8}


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode()


def of_hsaco(code: bytes, entry: str) -> list[Parameter]:
    """From the note of the code object, a MessagePack map: `.args` of the kernel that is called `entry`."""
    note = sections(code)[".note"]
    name_size, size, _ = struct.unpack_from("<III", note, 0)
    start = 12 + -(-name_size // 4) * 4
    read: Any = _unpacked(note[start : start + size], 0)[0]
    kernel: Any = next(each for each in read["amdhsa.kernels"] if each[".name"] == entry)
    visible: list[Any] = [each for each in kernel[".args"] if not str(each[".value_kind"]).startswith("hidden")]
    return [Parameter(each[".offset"], each[".size"]) for each in visible]


def _unpacked(data: bytes, at: int) -> tuple[object, int]:
    """A MessagePack value, and where the next one begins: maps, arrays, text, whole numbers and truth values."""
    head = data[at]
    if head < 0x80:
        return head, at + 1
    if head < 0x90 or head in (0xDE, 0xDF):
        count, at = (head & 0x0F, at + 1) if head < 0x90 else _number(data, at, {0xDE: 2, 0xDF: 4}[head])
        found: dict[object, object] = {}
        for _ in range(count):
            key, at = _unpacked(data, at)
            found[key], at = _unpacked(data, at)
        return found, at
    if head < 0xA0 or head in (0xDC, 0xDD):
        count, at = (head & 0x0F, at + 1) if head < 0xA0 else _number(data, at, {0xDC: 2, 0xDD: 4}[head])
        items: list[object] = []
        for _ in range(count):
            item, at = _unpacked(data, at)
            items.append(item)
        return items, at
    if head < 0xC0 or head in (0xD9, 0xDA):
        size, at = (head & 0x1F, at + 1) if head < 0xC0 else _number(data, at, {0xD9: 1, 0xDA: 2}[head])
        return data[at : at + size].decode(), at + size
    if head in (0xC2, 0xC3):
        return head == 0xC3, at + 1
    return _number(data, at, {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}[head])


def _number(data: bytes, at: int, size: int) -> tuple[int, int]:
    return int.from_bytes(data[at + 1 : at + 1 + size], "big"), at + 1 + size
