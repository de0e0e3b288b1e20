"""Says addresses of the net, files and names of code in English: www.example.com/a?b=1, jane@example.org."""

from __future__ import annotations

import re

from gateway.speech.text.spell.english.said import cardinal, digit_by_digit
from gateway.speech.text.spell.english.scan import Rule, Said

_URL = re.compile(r"(?:https?|ftp|wss?)://[^\s<>\"“”]+|(?:www|WWW)\.[\w-]+\.[^\s<>\"“”]+", re.IGNORECASE)
_MAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
_TOP = (
    "com|org|net|io|gov|edu|dev|app|info|biz|ai|tv|co|me|uk|us|ca|de|fr|es|it|nl|eu|ch|at|au|nz|in|jp|cn|ru|br|pl|se|"
    "no|fi|dk|ie|xyz|online|shop|blog|tech|cloud|example|test|local"
)
_SURE = "com|org|net|io|gov|edu|dev|app|info|biz|ai|co\\.uk|co\\.jp|com\\.au|uk|de|eu|tv|xyz"
_DOMAIN = re.compile(
    rf"(?:\w[\w-]{{0,62}}\.){{1,4}}(?:{_SURE})(?![\w-])(?:\.(?:{_TOP})(?!\w))?(?::\d{{1,5}})?(?:[/?#][^\s<>\"“”]*)?"
)
_PORT = re.compile(r"(?:localhost|[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}):\d{2,5}(?:/[^\s<>\"“”]*)?(?!\w)")
_PATH = re.compile(r"(?:~|\.{1,2})?(?:/[\w.-]+){2,}/?|~/[\w./-]+")
_EXTENSIONS = (
    "py|js|ts|jsx|tsx|json|md|txt|html|htm|css|csv|pdf|docx?|xlsx?|pptx?|png|jpe?g|gif|svg|mp[34]|wav|flac|ogg|zip|tar|gz|"
    "xml|ya?ml|toml|ini|cfg|conf|sh|bat|exe|dll|so|c|cpp|h|hpp|rs|go|java|rb|php|sql|db|log|lock|epub|srt|vtt|NET|js"
)
_FILE = re.compile(rf"(?:[\w-]{{1,64}}\.){{1,4}}(?:{_EXTENSIONS})(?!\w|\.\w)")
_SNAKE = re.compile(r"[^\W_]+(?:_+[^\W_]+)+")
_DOT_NAME = re.compile(r"\.(?=[A-Za-z][A-Za-z]+)")
_PIECE = re.compile(r"\d+|[^\W\d_]+|\S")
_SIGNS = {
    "@": "at", ".": "dot", "/": "slash", "-": "dash", "_": "underscore", "?": "question mark", "=": "equals",
    "&": "and",
    "#": "hash", "+": "plus", ":": "colon", "%": "percent", "~": "tilde", "\\": "backslash", "$": "dollar", "*": "star",
}  # fmt: skip
_LONGEST = 2000


def _said(address: str) -> str:
    return " ".join(_piece(each) for each in _PIECE.findall(address))


def _piece(piece: str) -> str:
    if piece.isdecimal():
        return (
            cardinal(piece)
            if (len(piece) <= 2 and not piece.startswith("0")) or (piece.endswith("000") and len(piece) == 4)
            else digit_by_digit(piece)
        )
    return _SIGNS.get(piece, piece)


def _trimmed(found: re.Match[str]) -> tuple[str, int]:
    """Return an address without the marks that end its sentence, and its end."""
    address = found[0][:_LONGEST].rstrip(".,;:!?'’”)]}*" if "(" not in found[0] else ".,;:!?'’”]}*")
    return address, found.start() + len(address)


def _url(text: str, at: int) -> Said | None:
    found = _URL.match(text, at)
    if found is None or text[max(0, at - 1) : at].isalnum():
        return None
    address, end = _trimmed(found)
    address = re.sub(r"^\w+://", "", address).rstrip("/")
    named = re.match(r"www\.", address, re.IGNORECASE)
    if named is not None:
        return end, f"w w w dot {_said(address[4:])}"
    return end, _said(address)


def _mail(text: str, at: int) -> Said | None:
    found = _MAIL.match(text, at)
    return None if found is None else (found.end(), _said(found[0]))


def _domain(text: str, at: int) -> Said | None:
    for pattern in (_PORT, _DOMAIN):
        found = pattern.match(text, at)
        if found is not None and re.search(r"[A-Za-z]", found[0].split(".")[0]):
            if pattern is _PORT and "." not in found[0] and not found[0].startswith("localhost"):
                continue
            address, end = _trimmed(found)
            return end, _said(address.rstrip("/"))
    return None


def _file(text: str, at: int) -> Said | None:
    found = _FILE.match(text, at)
    if found is None or text[max(0, at - 1) : at].isalnum():
        return None
    if re.search(r"\.[a-z]$", found[0]) and "_" not in found[0] and not found[0][:-2].islower():
        return None
    return found.end(), _said(found[0])


def _snake(text: str, at: int) -> Said | None:
    found = _SNAKE.match(text, at)
    return None if found is None else (found.end(), found[0].replace("_", " "))


def _path(text: str, at: int) -> Said | None:
    if text[max(0, at - 1) : at] not in ("", " ", "\n", "(", '"', "'", "`", "“"):
        return None
    found = _PATH.match(text, at)
    if found is None or not re.search(r"[A-Za-z]", found[0]):
        return None
    path, end = _trimmed(found)
    return end, _said(path)


def _dot_name(text: str, at: int) -> Said | None:
    """Say .NET and .env with their dot."""
    if text[max(0, at - 1) : at] not in ("", " ", "\n", "(", "`", "/"):
        return None
    found = _DOT_NAME.match(text, at)
    return None if found is None else (found.end(), "dot ")


def _user(text: str, at: int) -> Said | None:
    return (at + 1, "at ") if re.match(r"@\w", text[at : at + 2]) and not text[max(0, at - 1) : at].isalnum() else None


GLUED: tuple[Rule, ...] = (_url, _mail, _domain, _file, _snake)
SIGNS: dict[str, tuple[Rule, ...]] = {"/": (_path,), "~": (_path,), ".": (_path, _dot_name), "@": (_user,)}
