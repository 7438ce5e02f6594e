"""Words of the textual form, and a cursor over them that knows where each stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

from .program import InvalidProgram

_LONGEST_NUMBER = 400  # digits; Python refuses to convert integers of more than 4300
_WORDS = re.compile(
    r"(?P<space>[ \t\r\n]+|\#[^\n]*)"
    r"|(?P<number>[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r'|(?P<string>"(?:[^"\\\n]|\\.)*")'
    r"|(?P<sign>\*\*|//|<<|>>|<=|>=|==|!=|[-+*/%&|^<>=(){}\[\],;:@?])"
)


class Token(NamedTuple):
    """kind: `number`, `name`, `string`, `sign` or `end`; start: characters before it."""

    kind: str
    text: str
    start: int


@dataclass(slots=True)
class Cursor:
    """Tokens of one text, read from left to right. Every complaint is an InvalidProgram with line and column, from 1."""

    text: str
    place: int = 0
    tokens: list[Token] = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = list(self._split())

    def _split(self) -> Iterator[Token]:
        start = 0
        while start < len(self.text):
            found = _WORDS.match(self.text, start)
            if found is None:
                self.refuse(f"unexpected character {self.text[start]!r}", Token("sign", "", start))
            kind = found.lastgroup or ""
            if kind == "number" and len(found.group()) > _LONGEST_NUMBER:
                self.refuse("a number of more than 400 digits", Token(kind, "", start))
            if kind != "space":
                yield Token(kind, found.group(), start)
            start = found.end()
        yield Token("end", "the end", len(self.text))

    @property
    def token(self) -> Token:
        return self.tokens[self.place]

    def ahead(self, distance: int) -> Token:
        return self.tokens[min(self.place + distance, len(self.tokens) - 1)]

    def advance(self) -> Token:
        token = self.token
        self.place = min(self.place + 1, len(self.tokens) - 1)
        return token

    def at(self, *texts: str) -> bool:
        return self.token.kind in ("sign", "name") and self.token.text in texts

    def accept(self, text: str) -> bool:
        """Step over `text` if it comes next."""
        found = self.at(text)
        if found:
            self.advance()
        return found

    def expect(self, *texts: str) -> Token:
        """Step over a fixed sequence of words; the last of them."""
        token = self.token
        for text in texts:
            if not self.at(text):
                self.refuse(f"expected `{text}`, found `{self.token.text}`")
            token = self.advance()
        return token

    def take(self, kind: str, what: str) -> str:
        if self.token.kind != kind:
            self.refuse(f"expected {what}, found `{self.token.text}`")
        return self.advance().text

    def natural(self, what: str) -> int:
        """An unsigned integer."""
        if not self.token.text.isdigit():
            self.refuse(f"expected {what}, found `{self.token.text}`")
        return int(self.advance().text)

    def refuse(self, complaint: str, token: Token | None = None) -> NoReturn:
        """Raise InvalidProgram at `token`, by default the next one."""
        start = (token or self.token).start
        line = self.text.count("\n", 0, start) + 1
        column = start - (self.text.rfind("\n", 0, start) + 1) + 1
        raise InvalidProgram(f"line {line}, column {column}: {complaint}")
