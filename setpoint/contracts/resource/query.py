"""The SQL of a condition: one SELECT and nothing that could change anything. Called by resolve.

What is written is read by a parser and asked word for word; that it only reads is enforced once more where it is
asked. No other module knows the parser.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from setpoint.contracts.limits import QUERY_BYTES_MAX
from setpoint.contracts.probe import Engine
from setpoint.contracts.resource.source import excerpt

if TYPE_CHECKING:
    from sqlglot import Token, TokenType
    from sqlglot.expressions import Expr

ENGINE_NAMES: Final[Mapping[Engine, str]] = {"duckdb": "DuckDB", "sqlite": "SQLite"}

_WORD: Final = re.compile(r"[A-Za-z0-9_]+")
_BEGINNINGS: Final = frozenset({"SELECT", "WITH", "FROM", "("})

_READ_AGAIN_MAX: Final = 6
"""How deep brackets may nest behind words that the parser first takes for a type, as in DECIMAL(DATE(1)).

What is in them it reads twice, so each one inside another doubles its work.
"""


class Flaw(NamedTuple):
    """What is wrong with a query, and at which line and column of it (from 1; line 0: nowhere in particular)."""

    message: str
    line: int = 0
    column: int = 0
    code: str = "bad-query"


@dataclass
class Judge:
    """Judges the queries of one project. It remembers: assets that share a condition differ in their names alone."""

    _known: dict[tuple[Engine, str], Flaw | None] = field(default_factory=dict)

    def flaw(self, engine: Engine, query: str, names: frozenset[str] = frozenset()) -> Flaw | None:
        """Return what is wrong with a query, or None when it is one SELECT.

        ``names`` are texts that templates brought in. Queries that differ in them alone are judged once, where the
        names are of one shape: letters for letters, digits for digits, and each word of SQL only for itself.
        """
        if len(query) > QUERY_BYTES_MAX // 4 and len(query.encode()) > QUERY_BYTES_MAX:
            return Flaw(f"a query is longer than {QUERY_BYTES_MAX} bytes", code="too-large")
        text = query
        for name in sorted(names, key=lambda name: (-len(name), name)):
            text = text.replace(name, f"\0{_WORD.sub(_shape, name)}\0") if name else text
        if (engine, text) not in self._known:
            self._known[engine, text] = _flaw(engine, query)
        return self._known[engine, text]


def _shape(word: re.Match[str]) -> str:
    if word[0].isdigit():
        return "0"
    return "w" if not word[0][0].isdigit() and word[0].upper() not in _keywords() else word[0]


def newest(table: str, column: str) -> str:
    """Return the query for the newest value of a column. Dots in ``table`` part it from its schema.

    The column is qualified: SQLite takes a quoted name that it does not find for a text, but not a qualified one.
    """
    source = ".".join(map(_quoted, table.split(".")))
    return " ".join(("SELECT", f"MAX(newest.{_quoted(column)})", "FROM", source, "AS newest"))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _flaw(engine: Engine, query: str) -> Flaw | None:
    # Imported when the first query comes: it takes longer to load than most projects take to compile.
    from sqlglot.dialects import Dialect
    from sqlglot.errors import ParseError, TokenError

    dialect = Dialect.get_or_raise(engine)
    unreadable = f"this does not read as SQL of {ENGINE_NAMES[engine]}"
    try:
        tokens = dialect.tokenize(query)
        found = _flaw_of_tokens(query, tokens) or _flaw_of_nesting(query, tokens, dialect.parser_class.TYPE_TOKENS)
        return found or _flaw_of_tree(dialect.parser().parse(tokens, query)[0])
    except MemoryError:
        raise
    except TokenError:
        return Flaw(f"{unreadable}: a quote or a comment is not closed")
    except ParseError as error:
        first = error.errors[0] if error.errors else {}
        near = str(first.get("highlight", ""))
        column = max(first.get("col", 0) - len(near) + 1, 1)
        return Flaw(f"{unreadable}, near {excerpt(near)}", first.get("line", 0), column)
    except RecursionError:
        return Flaw("the query is nested too deeply")
    except Exception as error:  # noqa: BLE001 - somebody else's parser on strangers' text: whatever it raises refuses
        return Flaw(f"{unreadable} ({type(error).__name__})")


def _flaw_of_tokens(query: str, tokens: Sequence[Token]) -> Flaw | None:
    """Look at how the statement and the bodies of its WITH begin, and whether there is another one behind it."""
    before: list[str] = ["AS", "("]
    for token in tokens:
        word = token.text.upper() if token.token_type.name not in ("STRING", "IDENTIFIER") else "quoted"
        if before[-2:] == ["AS", "("] and word not in _BEGINNINGS:
            return _at(
                query, token, f"a query is one SELECT and changes nothing; this begins with {excerpt(token.text)}"
            )
        if before[-1] == ";" and word != ";":
            return _at(query, token, "a query is one SELECT; this is another statement")
        if word not in ("NOT", "MATERIALIZED") and not (word == "(" and before[-1:] == ["("]):
            before = [before[-1], word]
    return None if tokens else Flaw("there is no query")


def _flaw_of_nesting(query: str, tokens: Sequence[Token], types: Set[TokenType]) -> Flaw | None:
    """Look for what would keep the parser busy for minutes, before it starts: a few bytes more double its work."""
    opened: list[bool] = []
    inside, before = 0, None
    for token in tokens:
        if token.text in ("(", "["):
            doubtful = before is not None and (before.token_type in types or before.text.upper() == "IF")
            opened.append(doubtful)
            inside += doubtful
            if inside > _READ_AGAIN_MAX:
                return _at(query, token, "the query is nested too deeply")
        elif token.text in (")", "]") and opened:
            inside -= opened.pop()
        before = token
    return None


def _flaw_of_tree(tree: Expr | None) -> Flaw | None:
    from sqlglot import exp

    if not isinstance(tree, exp.Query) or (
        isinstance(tree, exp.Select) and not (tree.expressions or tree.args.get("from_"))
    ):
        return Flaw("a query is one SELECT")
    for node in tree.walk():
        if isinstance(node, (exp.DML, exp.DDL, exp.Command, exp.Into, exp.Lock)) and not isinstance(node, exp.Query):
            return Flaw(f"a query is one SELECT and changes nothing; this has {node.key.upper()} in it")
        if isinstance(node, (exp.Placeholder, exp.Parameter)):
            return Flaw(f"nobody fills in the parameter {excerpt(node.sql())}")
    return None


def _at(query: str, token: Token, message: str) -> Flaw:
    line_start = query.rfind("\n", 0, token.start) + 1
    return Flaw(message, query.count("\n", 0, token.start) + 1, token.start - line_start + 1)


@cache
def _keywords() -> frozenset[str]:
    """Return the words that mean something to the parser, in capitals."""
    from sqlglot.dialects import Dialect

    words: set[str] = set()
    for engine in ENGINE_NAMES:
        dialect = type(Dialect.get_or_raise(engine))
        for known in (dialect.tokenizer_class.KEYWORDS, dialect.parser_class.FUNCTIONS):
            words.update(part for text in known for part in _WORD.findall(text.upper()))
    return frozenset(words)
