"""Normalises and compares BCP 47 language tags."""

from __future__ import annotations

from functools import lru_cache

import langcodes

from gateway.errors import InvalidInput

_LONGEST = 35  # RFC 5646, 4.4.1


class UnknownLanguage(InvalidInput):
    """The value is no language tag. The caller of this module adds the languages that are spoken here."""


@lru_cache(maxsize=1024)
def normalize_language(tag: str) -> str:
    """Return the usual spelling of a tag: `EN_us` is `en-US`, `eng` is `en`, `iw` is `he`.

    Raises:
        UnknownLanguage: it is no tag.
    """
    try:
        if len(tag) > _LONGEST or not langcodes.tag_is_valid(tag):
            raise ValueError(tag)
        return langcodes.standardize_tag(tag)
    except ValueError:
        shown = tag if len(tag) <= _LONGEST else f"{tag[:_LONGEST]}..."
        raise UnknownLanguage(
            f"language must be a BCP 47 tag such as 'en', 'en-US' or 'pt-BR', got {shown!r}"
        ) from None


@lru_cache(maxsize=4096)
def language_matches(asked: str, have: str) -> bool:
    """Return whether a voice that speaks `have` can be used for the language `asked`.

    The languages must be the same. Script and region must be the same if both tags name one: `en` and `en-US` match,
    `en-GB` and `en-US` do not. `no` means Bokmål, as in CLDR: `nb` and `no` match each other, and both can be used for
    `nn`, but a voice for `nn` cannot be used for Bokmål. `*` matches every language.

    Raises:
        UnknownLanguage: one of them is no tag.
    """
    if have == "*":
        return True
    ask, has = _parts(asked), _parts(have)
    return (
        (ask.language == has.language or (ask.language, has.language) == ("nn", "no"))
        and (ask.script is None or has.script is None or ask.script == has.script)
        and (ask.territory is None or has.territory is None or ask.territory == has.territory)
    )


def _parts(tag: str) -> langcodes.Language:
    parts = langcodes.Language.get(normalize_language(tag)).prefer_macrolanguage()  # Google's cmn-CN is zh-CN
    return parts.update_dict({"language": "no"}) if parts.language == "nb" else parts
