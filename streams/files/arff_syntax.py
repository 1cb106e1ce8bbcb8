"""The syntax of ARFF: tokens, rows and the declarations of attributes."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from streams.files.bad_rows import BadRowError
from streams.files.decoding import BOM, check_decoded, decode, open_text
from streams.files.reading import Column
from streams.files.values import NominalValues, value_converter

_TOKEN = r"""(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^\s,'"%{}][^,%{}]*?)?)"""

_FIELD = re.compile(rf"\s*{_TOKEN}\s*(,|%.*$|$)")

_DECLARED = re.compile(rf"\s*{_TOKEN}\s*(,|\}}|%.*$|$)")

_IN_BRACES = re.compile(r"""\{((?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^'"}])*)\}""")

_WORD = re.compile(
    r"""(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^\s,'"%{}][^\s,%{}]*))(?:\s*,\s*|\s+|(?=%)|$)"""
)

SPARSE_FIELD = re.compile(rf"\s*([0-9]+)\s+{_TOKEN}\s*(?:,|$)")

_ATTRIBUTE = re.compile(
    r"""@attribute\s+(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^\s{'"]+))\s*(.*)""", re.IGNORECASE
)

_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)")

_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}


def read_attributes(path: str | Path, drop: Sequence[str], encoding: str) -> tuple[list[Column], int, bytes]:
    """Return the attributes of an ARFF file, the number of lines of its header, and the text after `@data`."""
    columns: list[Column] = []
    left_out = set(drop)
    with open_text(path, encoding) as file:
        for line, raw in enumerate(iter(file.readline, b""), 1):
            try:
                text = decode(raw.removeprefix(BOM)).strip()
                keyword = text.split(maxsplit=1)[0].lower() if text else "%"
                if keyword == "@data":
                    if not columns:
                        raise BadRowError(": @data before any @attribute; declare the attributes first")
                    rest = raw.removeprefix(BOM).strip()[len(keyword) :].strip()
                    return columns, line, rest + b"\n" if rest else b""
                if keyword == "@attribute":
                    columns.append(_read_attribute(text, left_out, encoding))
                elif not keyword.startswith(("%", "@relation")):
                    raise BadRowError(
                        f": {text[:40]!r} in the header; allowed: @relation, @attribute, @data and % comments"
                    )
            except BadRowError as reason:
                raise ValueError(f"{path}, line {line}{reason}") from None
    raise ValueError(f"{path}: no line @data; is this an ARFF file?")


def _read_attribute(text: str, drop: Collection[str], encoding: str) -> Column:
    match = _ATTRIBUTE.match(text)
    if match is None:
        raise BadRowError(
            f": cannot read {text[:60]!r}; write @attribute name type, the name in quotes if it holds blanks"
        )
    name, spec = unquote(*match.group(1, 2, 3)) or "?", match[4]
    check_decoded(name, name, encoding)
    if spec.startswith("{"):
        return Column(name, _declared_values(name, spec, encoding))
    kind = re.split(r"[\s\[%]", spec, maxsplit=1)[0].lower()
    if kind in ("numeric", "real", "integer"):
        return Column(name)
    if kind == "string" or name in drop:
        return Column(name, NominalValues())
    raise BadRowError(
        f", attribute {name!r}: of type {kind!r}; allowed: numeric, real, integer, string, {{value, ...}}; "
        f"pass drop=[{name!r}] to leave it out"
    )


def _declared_values(name: str, spec: str, encoding: str) -> NominalValues:
    """Return the values in the braces of a declaration; a comment may follow them."""
    if "}" not in spec:
        raise BadRowError(f": the values of {name!r} have no closing brace; write them on one line")
    in_braces = _IN_BRACES.match(spec)
    words = None if in_braces is None or "," in in_braces[1] else _words(in_braces[1].strip())
    if in_braces is not None and words is not None:
        fields, end = words, in_braces.end()  # Weka allows blanks between the values
    else:
        fields, end = _split_arff(spec, _DECLARED, "}", start=1)
    rest = spec[end:].strip()
    if rest and not rest.startswith("%"):
        raise BadRowError(f", attribute {name!r}: {rest[:40]!r} after the closing brace; remove it")
    if fields and fields[-1] == "":
        fields = fields[:-1]  # a comma at the end
    texts = ["?" if value is None else value for value in fields]
    for value in texts:
        check_decoded(name, value, encoding)
    convert = value_converter(texts)
    return NominalValues(list(dict.fromkeys(map(convert, texts))), convert, is_closed=True)


def split_row(text: str, n_columns: int) -> list[str | None]:
    """Return the fields of a dense row. Blanks separate them if commas give the wrong number of fields."""
    try:
        fields, _ = _split_arff(text, _FIELD, "")
    except BadRowError:
        if (words := _words(text)) is not None and len(words) == n_columns:
            return words
        raise
    if len(fields) == n_columns + 1 and fields[-1] == "":
        return fields[:-1]
    if len(fields) < n_columns and (words := _words(text)) is not None and len(words) == n_columns:
        return words
    return fields


def _words(text: str) -> list[str | None] | None:
    """Return the fields of a row with blanks or commas between them, or `None` if the row has another form."""
    words, start = [], 0
    while start < len(text) and text[start] != "%":
        match = _WORD.match(text, start)
        if match is None:
            return None
        words.append(unquote(*match.group(1, 2, 3)))
        start = match.end()
    return words


def _split_arff(
    text: str, pattern: re.Pattern[str], closing: str, start: int = 0
) -> tuple[list[str | None], int]:
    """Return the fields up to a closing mark or the end, and the position where they end."""
    fields = []
    while True:
        match = pattern.match(text, start)
        if match is None:
            raise BadRowError(
                f": cannot read {text[start : start + 40]!r}; quote values that hold any of , ' \" % {{ }}"
            )
        fields.append(unquote(*match.group(1, 2, 3)))
        start = match.end()
        if match[4] != ",":
            if closing and match[4] != closing:
                raise BadRowError(f": no closing {closing}")
            return fields, start


def unquote(single: str | None, double: str | None, plain: str | None) -> str | None:
    """Return the text of an ARFF token, `None` for an unquoted question mark."""
    quoted = single if single is not None else double
    if quoted is None:
        return None if plain == "?" else plain or ""
    return _ESCAPE.sub(
        lambda m: chr(int(m[1][1:], 16)) if len(m[1]) > 1 else _ESCAPED.get(m[1], m[1]), quoted
    )
