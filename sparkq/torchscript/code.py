"""TorchScript's source text, held against the operators that payloads may call.

The text is what torch's printer writes, and less than Python: no operators but calls, no comments, no escapes. So little is
allowed that Python's regular expressions and torch's lexer cannot see different tokens in it, and every call is the name, or
the member, right before a parenthesis.
"""
from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Mapping

from sparkq.torchscript.operators import FUNCTIONS, LOADING, METHODS, PACKED_CLASSES, is_operator

__all__ = ["CodeError", "check_code"]

_STRING = re.compile(r'"[^"\\\n\x00-\x1f\x7f]*"')
_TEXT = re.compile(r'[\w \n(),\-.:=>\[\]"]*', re.ASCII)
_KEYWORDS = frozenset({
    "class", "def", "return", "if", "elif", "else", "for", "while", "in", "is", "not", "and", "or", "pass", "break", "continue",
    "None", "True", "False",
})
_STRANGE = (
    ("keyword ", re.compile(rf"(?<![\w.])(?:{'|'.join(sorted(set(keyword.kwlist) - _KEYWORDS))})(?!\w)")),
    ("a member apart from its owner, ", re.compile(r'\s\.|[A-Za-z_)\]"]\.\s|[A-Za-z_]\w*\.\s')),
    ("a call of a result, ", re.compile(r'[)\]"]\s*[("]|[)\]"]\w|\w"')),
)
_CLASS = re.compile(r"^class (\w+)\(Module\):$", re.MULTILINE)
_DEFINITION = re.compile(r"^( *)def (\w+)\(", re.MULTILINE)
_METHOD = re.compile(r"forward\d*|__getstate__|__setstate__|_weight_bias|set_weight_bias")
_FORWARD = re.compile(r"forward\d*|__getstate__")
_FIELD = re.compile(r"^  \w+ : [\w.\[\], ]+$", re.MULTILINE)
_NAMESPACE = re.compile(r"(?<![\w.])(?:torch|ops|CONSTANTS|__torch__)(?![\w.])")
_PACKED = re.compile(r"__torch__\.torch\.classes\.([\w.]+)")
_CALL = re.compile(r'(?<![\w.)\]"])([\w.]+)\s*\(|[)\]"]\.([\w.]+)\s*\(')
_ASSIGNED = r"(?<![\w.]){name}\s*(?::[^=\n]*)?=(?!=)"
_OWN_STATE = "__torch__.torch.ao.nn."


class CodeError(Exception):
    """Source text in a payload that none of ours has; the message is a noun."""


def check_code(sources: Mapping[str, str]) -> frozenset[str]:
    """Check the source files of an archive.

    Parameters
    ----------
    sources : mapping of str to str
        Module (``__torch__.torch.fx.graph_module``) to its text.

    Returns
    -------
    frozenset of str
        Full names of the classes that they define.

    Raises
    ------
    CodeError
        If there is anything in them that no payload of ours has.
    """
    plain = {module: _without_strings(module, text) for module, text in sources.items()}
    for module, text in plain.items():
        # Of this name torch takes the C++ class, whatever the archive says.
        if text.strip() and f"{module}.".startswith("__torch__.torch.classes."):
            raise CodeError(f"module {module}")
    classes = {f"{module}.{name}" for module, text in plain.items() for name in _CLASS.findall(text)}
    functions = {
        f"{module}.{name}" for module, text in plain.items() for indent, name in _DEFINITION.findall(text) if not indent
    }
    for module, text in plain.items():
        for is_loading, part in _parts(module, text):
            _check_calls(module, part, functions, is_loading)
    return frozenset(classes)


def _without_strings(module: str, text: str) -> str:
    """`text` with a quotation mark for each string and without fields, if torch's printer could have written it."""
    # Three quotation marks in a row would open a string of another kind.
    plain = text if '"""' in text else _STRING.sub('"', text)
    found = _TEXT.match(plain)
    rest = plain[found.end():] if found else plain
    if rest or '"""' in text:
        raise CodeError(f"{rest[:1] or chr(34)!r} in {module}")
    for what, pattern in _STRANGE:
        if (strange := pattern.search(plain)) is not None:
            raise CodeError(f"{what}{strange.group().strip()!r} in {module}")
    packed = set(_PACKED.findall(plain)) - PACKED_CLASSES
    if packed:
        raise CodeError(f"class {min(packed)} in {module}")
    plain = _FIELD.sub("", plain)
    if (other := _NAMESPACE.search(plain)) is not None:
        raise CodeError(f"another meaning of {other.group()!r} in {module}")
    return plain


def _parts(module: str, text: str) -> Iterator[tuple[bool, str]]:
    """Each function without its head's name, and whether it runs while an archive loads."""
    headless = _CLASS.sub("", text)
    starts = [(found.start(), found.group(1), found.group(2)) for found in _DEFINITION.finditer(headless)]
    if re.search(r"\bclass\b", headless) or len(starts) != len(re.findall(r"\bdef\b", headless)):
        raise CodeError(f"a definition that is neither module nor function in {module}")
    has_state = any(name == "__setstate__" for _, _, name in starts)
    if has_state and not f"{module}.".startswith(_OWN_STATE):
        raise CodeError(f"__setstate__ in {module}")
    yield False, headless[:starts[0][0]] if starts else headless
    for index, (start, indent, name) in enumerate(starts):
        if indent and not _METHOD.fullmatch(name):
            raise CodeError(f"method {name} in {module}")
        part = headless[start:starts[index + 1][0] if index + 1 < len(starts) else len(headless)]
        yield has_state and not _FORWARD.fullmatch(name), part.replace(f"def {name}(", "(", 1)


def _check_calls(module: str, part: str, functions: set[str], is_loading: bool) -> None:
    for name, member in set(_CALL.findall(part)):
        if member:
            is_known = bool(METHODS.fullmatch(member)) and not (is_loading and member.startswith("forward"))
        elif name in _KEYWORDS:
            continue
        elif is_loading:
            is_known = name in LOADING
        elif name.startswith("__torch__."):
            is_known = name in functions
        else:
            is_known = is_operator(name) or name in FUNCTIONS or _is_alias(name, part, functions)
        if not is_known or name in FUNCTIONS and re.search(_ASSIGNED.format(name=name), part):
            raise CodeError(f"operator {name or '.' + member} in {module}")


def _is_alias(name: str, part: str, functions: set[str]) -> bool:
    """Whether a local name is nothing but another one of functions of the archive."""
    if "." in name:
        return False
    assigned = _ASSIGNED.format(name=name)
    values = re.findall(rf"{assigned} ([\w.]+)$", part, re.MULTILINE)
    return 0 < len(values) == len(re.findall(assigned, part)) and set(values) <= functions
