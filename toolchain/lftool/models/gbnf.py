"""GBNF, llama.cpp's notation for grammars: whether a text is one that its engines take, and how large it may be.

Source: llama.cpp, grammars/README.md for the notation; src/llama-grammar.cpp for what its parser refuses, such as left
recursion. The bounds on size and nesting are ours: that parser recurses, and copies what repeats.
"""

from __future__ import annotations

import re
import sys

from attrs import define, field

MOST_CHARACTERS = 64 * 1024
_MOST_DEPTH = 32  # of parentheses
_MOST_REPEATS = 2000  # of one symbol, and of what they nest to; llama.cpp's MAX_REPETITION_THRESHOLD
_MOST_SYMBOLS = 100_000  # with those that repeat
_NOTHING = (None, True)  # characters, none of them: llama.cpp refuses to repeat that
_NAME = re.compile(r"[A-Za-z0-9-]+")
_ESCAPE = re.compile(r'\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|[tnr"\\\[\]-])')
_TOKEN = re.compile(r"!?<(?:\[[0-9]{1,9}\]|[^\[>\n][^>\n]*)>")
_TIMES = re.compile(r"\{[ \t]*([0-9]{1,9})[ \t]*(?:(,)[ \t]*([0-9]{1,9})?[ \t]*)?\}", re.ASCII)
_MOST_OF_NOTHING = 32  # repetitions of what may match nothing: llama.cpp follows all ways at once, and they multiply
_MOST_WAYS = 4096
_SURROGATES = range(0xD800, 0xE000)
_SPACE = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_SPACE_AND_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")


@define
class _Parser:
    """A recursive parser of one grammar; `at` is the place that it has come to.

    Attributes:
        rules: Rule to its alternatives; an alternative is its symbols, each with whether it may be left out. A symbol is
            the name of a rule, or None for characters.
        used: Rule to the place where it is named first.
        groups: How many parentheses there are so far.
        made: How many rules llama.cpp's parser would have by now: it makes some of parentheses and repetitions.
        symbols: How many symbols it would have made by repeating.
        repeats: What repeats, with whether it may be an empty literal; how often at most, None for
            without end; and its place.
        tokens: Tokens that it names, as they stand there, each with its place.
    """

    text: str
    at: int = 0
    rules: dict[str, list[list[tuple[str | None, bool]]]] = field(factory=dict)
    used: dict[str, int] = field(factory=dict)
    groups: int = 0
    made: int = 0
    symbols: int = 0
    repeats: list[tuple[str | None, bool, int | None, int]] = field(factory=list)
    tokens: list[tuple[str, int]] = field(factory=list)

    def refuse(self, what: str, at: int | None = None) -> ValueError:
        """Return an error with the line of a place."""
        line = self.text.count("\n", 0, self.at if at is None else at) + 1
        return ValueError(f"line {line} of the grammar: {what}")

    def next(self) -> str:
        """Return the next character; empty at the end."""
        return self.text[self.at : self.at + 1]

    def skip(self, *, lines: bool) -> None:
        """Go on behind spaces and comments."""
        found = (_SPACE_AND_LINES if lines else _SPACE).match(self.text, self.at)
        self.at = found.end() if found else self.at

    def name(self) -> str:
        """Read the name of a rule."""
        found = _NAME.match(self.text, self.at)
        if not found:
            raise self.refuse(f"expected the name of a rule, not {self._shown()}")
        self.at = found.end()
        return found[0]

    def _shown(self) -> str:
        return repr(self.next()) if self.next() else "the end"

    def grammar(self) -> None:
        """Read all rules."""
        self.skip(lines=True)
        while self.at < len(self.text):
            begin = self.at
            name = self.name()
            self.skip(lines=False)
            if not self.text.startswith("::=", self.at):
                raise self.refuse(f"expected ::= behind {name}, not {self._shown()}")
            if name in self.rules:
                raise self.refuse(f"{name} is defined a second time", begin)
            self.at += 3
            self.skip(lines=True)
            self.made += name not in self.used
            self.rules[name] = []
            self.alternatives(name, 0)
            if self.next() not in {"", "\n", "\r"}:
                raise self.refuse(f"expected a symbol or the end of the rule, not {self._shown()}")
            self.skip(lines=True)

    def alternatives(self, rule: str, depth: int) -> None:
        """Read alternatives into a rule."""
        self.sequence(rule, depth)
        while self.next() == "|":
            self.at += 1
            self.skip(lines=True)
            self.sequence(rule, depth)

    def sequence(self, rule: str, depth: int) -> None:
        """Read one alternative."""
        symbols: list[tuple[str | None, bool]] = []
        self.rules[rule].append(symbols)
        weight = 0  # rules of the symbol that came last; 0 before there is one
        while character := self.next():
            if character in "*+?{":
                weight = self._repeated(symbols, weight)
            elif character == "(":
                weight = self._group(symbols, depth)
            elif character in '"[.<!' or _NAME.match(character):
                symbols.append(self.symbol(character))
                weight = int(symbols[-1] != _NOTHING)
            else:
                return
            self.skip(lines=depth > 0)

    def _group(self, symbols: list[tuple[str | None, bool]], depth: int) -> int:
        """Read what is in parentheses; return how many rules it becomes."""
        begin, before = self.at, self.made
        if depth == _MOST_DEPTH:
            raise self.refuse(f"more than {_MOST_DEPTH} parentheses in one another")
        self.at += 1
        self.skip(lines=True)
        self.groups += 1
        self.made += 1
        name = f"({self.groups}"  # no rule is called so
        self.rules[name] = []
        self.alternatives(name, depth + 1)
        if self.next() != ")":
            raise self.refuse("a parenthesis is not closed", begin)
        self.at += 1
        symbols.append((name, False))
        return self.made - before

    def symbol(self, first: str) -> tuple[str | None, bool]:
        """Read characters, a token, or the name of a rule."""
        begin = self.at
        if first == ".":
            self.at += 1
        elif first in "<!":
            found = _TOKEN.match(self.text, self.at)
            if not found:
                raise self.refuse("a token is <text> or <[number]>")
            self.at = found.end()
            self.tokens.append((found[0].removeprefix("!"), begin))
        elif first in '"[':
            self.at += self.text.startswith("[^", self.at)
            return None, not self._characters('"' if first == '"' else "]", begin)
        else:
            name = self.name()
            self.made += name not in self.used and name not in self.rules
            self.used.setdefault(name, begin)
            return name, False
        return None, False

    def _characters(self, end: str, begin: int) -> int:
        """Read characters until `end`; return how many there are."""
        self.at += 1
        count = 0
        while self.next() != end:
            place = self.at
            first = self._character(end, begin)
            if end == "]" and self.next() == "-" and self.text[self.at + 1 : self.at + 2] not in {"]", ""}:
                self.at += 1
                if self._character(end, begin) < first:
                    raise self.refuse(f"a range that ends before it begins, {self.text[place : self.at]!r}", place)
            count += 1
        self.at += 1
        return count

    def _character(self, end: str, begin: int) -> int:
        """Read one character; return its code point."""
        if not self.next():
            raise self.refuse(f"{self.text[begin]} is not closed by {end}", begin)
        if self.next() != "\\":
            self.at += 1
            return ord(self.text[self.at - 1])
        found = _ESCAPE.match(self.text, self.at)
        if not found:
            raise self.refuse(f"an unknown escape, {self.text[self.at : self.at + 2]!r}")
        letter = found[0][1]
        point = (
            int(found[0].lstrip("\\xuU"), 16)
            if letter in "xuU"
            else ord({"t": "\t", "r": "\r", "n": "\n"}.get(letter, letter))
        )
        in_literal = end == '"'
        if point > sys.maxunicode or point in _SURROGATES or (in_literal and point == 0):
            raise self.refuse(f"no text has the character {found[0]}")
        self.at = found.end()
        return point

    def _repeated(self, symbols: list[tuple[str | None, bool]], weight: int) -> int:
        """Read how often the last symbol repeats; return how many rules it becomes."""
        begin = self.at
        if not weight:
            raise self.refuse(f"{self.next()} has nothing before it to repeat")
        least, most = self._times()
        total = weight * (most or least or 1)
        self.symbols += total
        if total > _MOST_REPEATS or self.symbols > _MOST_SYMBOLS:
            raise self.refuse(f"too many repetitions: at most {_MOST_REPEATS} in one another", begin)
        self.made += 1 if most is None else most - least
        name, empty = symbols[-1]
        self.repeats.append((name, empty, most, begin))
        symbols[-1] = (name, empty or least == 0)
        return 0 if most == 0 else total

    def _times(self) -> tuple[int, int | None]:
        """Read how often something comes, at least and at most; None for without end."""
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        if self.next() in simple:
            self.at += 1
            return simple[self.text[self.at - 1]]
        found = _TIMES.match(self.text, self.at)
        if not found:
            raise self.refuse("a repetition is {m}, {m,} or {m,n}")
        least = int(found[1])
        most = least if not found[2] else int(found[3]) if found[3] else None
        if most is not None and most < least:
            raise self.refuse(f"a repetition of {least} to {most}")
        self.at = found.end()
        return least, most

    def check_rules(self) -> None:
        """Refuse rules that are named and not there, and rules that begin with themselves."""
        for name, place in self.used.items():
            if name not in self.rules:
                raise self.refuse(f"there is no rule {name}", place)
        if "root" not in self.rules:
            raise ValueError("the grammar has no rule root, which an answer begins with")
        empty = self._empty()
        self._check_repeats(empty)
        leads = {name: self._leads(name, empty) for name in self.rules}
        cleared: set[str] = set()
        for name in self.rules:
            self._walk(name, leads, cleared)

    def _check_repeats(self, empty: set[str]) -> None:
        """Refuse what may match nothing and repeats without end, or often, or stands in a long row."""
        for sequence in (sequence for alternatives in self.rules.values() for sequence in alternatives):
            row = 0
            for symbol, left_out in sequence:
                row = row + 1 if left_out or symbol in empty else 0
                if row > _MOST_OF_NOTHING:
                    raise ValueError(
                        f"the grammar has more than {_MOST_OF_NOTHING} symbols in a row that may match nothing"
                    )
        ways = 1
        for name, nothing, most, place in self.repeats:
            if not nothing and name not in empty:
                continue
            if most is None:
                raise self.refuse("what may match nothing repeats without end, which llama.cpp does not support", place)
            ways *= max(most, 1)
            if most > _MOST_OF_NOTHING or ways > _MOST_WAYS:
                raise self.refuse(
                    f"what may match nothing repeats more than {_MOST_OF_NOTHING} times; let it match one character at least",
                    place,
                )

    def _empty(self) -> set[str]:
        """Return the rules that may match nothing."""
        found: set[str] = set()
        ready: list[str] = []
        waiting: dict[
            str, list[tuple[str, set[str]]]
        ] = {}  # rule to the alternatives that match nothing only if it does
        for name, alternatives in self.rules.items():
            for sequence in alternatives:
                needed = {symbol for symbol, left_out in sequence if not left_out}
                if not needed:
                    ready.append(name)
                elif None not in needed:
                    left = {symbol for symbol in needed if symbol is not None}
                    for symbol in left:
                        waiting.setdefault(symbol, []).append((name, left))
        while ready:
            name = ready.pop()
            if name in found:
                continue
            found.add(name)
            for waits, left in waiting.get(name, ()):
                left.discard(name)
                if not left:
                    ready.append(waits)
        return found

    def _leads(self, name: str, empty: set[str]) -> set[str]:
        """Return the rules that a rule may begin with."""
        made: set[str] = set()
        for sequence in self.rules[name]:
            for symbol, left_out in sequence:
                if symbol is not None:
                    made.add(symbol)
                if not left_out and symbol not in empty:
                    break
        return made

    def _walk(self, begin: str, leads: dict[str, set[str]], cleared: set[str]) -> None:
        """Refuse a rule from which its own beginning can be reached."""
        path: list[tuple[str, list[str]]] = [(begin, sorted(leads[begin]))]
        on_path = {begin}
        while path:
            name, left = path[-1]
            if not left:
                path.pop()
                on_path.discard(name)
                cleared.add(name)
                continue
            following = left.pop()
            if following in on_path:
                title = next((item for item in (following, name) if not item.startswith("(")), begin)
                raise ValueError(
                    f"the rule {title} of the grammar begins with itself, which llama.cpp does not support"
                )
            if following not in cleared:
                path.append((following, sorted(leads[following])))
                on_path.add(following)


def check_gbnf(text: str) -> tuple[str, ...]:
    """Raise unless a text is a GBNF grammar with a rule `root`.

    Returns:
        The tokens that it names, `<text>` or `<[number]>`; whether a vocabulary has them is not known here.

    Raises:
        ValueError: It is not one, with the line; or it has more than 65536 characters, 32 parentheses in one another, or
            2000 repetitions in one another, or 32 of what may match nothing; or a rule begins with itself.
    """
    if "\0" in text:
        raise ValueError("a grammar with a NUL character")
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"a grammar of {len(text)} characters, where {MOST_CHARACTERS} are the most")
    parser = _Parser(text)
    parser.grammar()
    parser.check_rules()
    return tuple(token for token, _ in parser.tokens)


def check_characters(text: str) -> None:
    """Raise unless every character that a grammar names is one that a text can have, and every range begins before it ends.

    For grammars that a program has made: their rules are not looked at, and their size is not bounded.

    Raises:
        ValueError: A character or a range is none, with the line. llama.cpp's engines end where nothing can match.
    """
    parser = _Parser(text)
    while parser.at < len(text):
        first = parser.next()
        if first in '"[':
            parser.symbol(first)
        elif first == "#":
            parser.skip(lines=False)
        else:
            parser.at += 1
