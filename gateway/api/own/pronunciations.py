"""`/pronunciations`: a tenant's dictionary. Reading it needs the scope `speak`, changing it the scope `voices`."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, post, put
from litestar.params import QueryParameter, RawBody

from gateway.api.http.answers import json_response
from gateway.api.http.documents import NewPronunciations
from gateway.api.http.openapi import answers, fails
from gateway.api.http.security import Caller, Core, authenticated
from gateway.errors import BadRequest
from gateway.library.pronunciations import Dictionary
from gateway.settings.words import explain
from gateway.speech.text.lexicon import ANY, MAX_ENTRIES, MAX_PHRASE_CHARS, MAX_RESPELLING_CHARS

MAX_BODY_BYTES = MAX_ENTRIES * 4 * (MAX_PHRASE_CHARS + MAX_RESPELLING_CHARS)
_PATH = "/pronunciations"
_SCOPE = {"scope": "voices"}
_TAGS = ["pronunciations"]
_CHANGED = {
    **answers(Dictionary),
    **fails(
        {
            400: "An entry is not valid, or there are too many.",
            404: "There is no such entry.",
            409: "The dictionary has another version now.",
            413: "The body is too large.",
        }
    ),
}
_decode = msgspec.json.Decoder(NewPronunciations).decode


@get(_PATH, operation_id="pronunciations", guards=[authenticated], tags=_TAGS, responses=answers(Dictionary))
async def pronunciations(gateway: Core, caller: Caller) -> Response[bytes]:
    """Get the dictionary of the key's tenant, and its version."""
    return json_response(gateway.pronunciations.get(caller.tenant))


@post(
    _PATH,
    operation_id="setPronunciations",
    status_code=200,
    guards=[authenticated],
    tags=_TAGS,
    opt=_SCOPE,
    request_max_body_size=MAX_BODY_BYTES,
    responses=_CHANGED,
)
async def set_pronunciations(
    request: Request[Any, Any, Any], gateway: Core, caller: Caller, body: RawBody
) -> Response[bytes]:
    """Add entries to the dictionary, or change those with the same phrase and language."""
    sent = _read(body)
    return json_response(await gateway.pronunciations.set(caller.tenant, sent.entries, version=sent.version))


@put(
    _PATH,
    operation_id="putPronunciations",
    status_code=200,
    guards=[authenticated],
    tags=_TAGS,
    opt=_SCOPE,
    request_max_body_size=MAX_BODY_BYTES,
    responses=_CHANGED,
)
async def put_pronunciations(
    request: Request[Any, Any, Any], gateway: Core, caller: Caller, body: RawBody
) -> Response[bytes]:
    """Replace all entries of the dictionary by these."""
    sent = _read(body)
    return json_response(
        await gateway.pronunciations.set(caller.tenant, sent.entries, replace=True, version=sent.version)
    )


@delete(
    _PATH,
    operation_id="deletePronunciations",
    status_code=200,
    guards=[authenticated],
    tags=_TAGS,
    opt=_SCOPE,
    responses=_CHANGED,
)
async def delete_pronunciations(
    gateway: Core,
    caller: Caller,
    phrase: Annotated[
        str | None, QueryParameter(description="The entry's phrase. Without it, all entries are removed.")
    ] = None,
    language: Annotated[str, QueryParameter(description="The entry's language; `*`: every language.")] = ANY,
) -> Response[bytes]:
    """Remove one entry from the dictionary, or all of them."""
    if phrase is None:
        return json_response(await gateway.pronunciations.clear(caller.tenant))
    return json_response(await gateway.pronunciations.remove(caller.tenant, phrase, language))


def _read(body: bytes) -> NewPronunciations:
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        wrong = explain(error, NewPronunciations) if isinstance(error, msgspec.ValidationError) else error
        raise BadRequest(
            f'{wrong}; send {{"entries": [{{"phrase": "Nguyen", "respelling": "Win", "language": "en"}}]}}'
        ) from error


PRONUNCIATIONS = (pronunciations, set_pronunciations, put_pronunciations, delete_pronunciations)
