"""Read an upload: a form with a file, or JSON with base64.

Litestar applies the route's body limit while it reads the body, and only after the key and its scope were checked.
"""

from __future__ import annotations

import tempfile
from typing import Any

import msgspec
from litestar import Request
from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType
from litestar.exceptions import ClientException

from gateway.api.http.documents import NewVoice
from gateway.errors import BadRequest, InvalidInput, Unavailable
from gateway.library.voices import MAX_UPLOAD_BYTES
from gateway.settings.words import explain, meant

MAX_BODY_BYTES = MAX_UPLOAD_BYTES * 4 // 3 + 100_000
"""The largest recording as base64, with room for the other fields."""

_FIELDS = ("file", "name", "consent", "language")
_decode = msgspec.json.Decoder(NewVoice).decode


async def read_upload(request: Request[Any, Any, Any]) -> NewVoice:
    """Read the body of an upload.

    Raises:
        BadRequest: the body is neither a form nor JSON, or a field is missing or unknown.
        InvalidInput: the recording in a JSON body is not base64.
    """
    kind, _ = request.content_type
    if kind == RequestEncodingType.MULTI_PART:
        return await _form(request)
    if kind == RequestEncodingType.URL_ENCODED:
        raise BadRequest("a recording cannot be url-encoded: send multipart/form-data, or JSON with audio_base64")
    try:
        return _decode(await request.body())
    except msgspec.ValidationError as error:
        if "base64" in str(error):
            raise InvalidInput("audio_base64 is not base64") from error
        raise BadRequest(
            f"{explain(error, NewVoice)}; send name, consent, audio_base64 and, optionally, language"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(
            "the body is neither multipart/form-data (file, name, consent, language) nor JSON "
            "(audio_base64, name, consent, language)"
        ) from error


async def _form(request: Request[Any, Any, Any]) -> NewVoice:
    try:
        form = await request.form()
    except ClientException as error:
        if error.status_code != 400:
            raise
        raise BadRequest("the form cannot be read: is the boundary in Content-Type the one in the body?") from error
    except OSError as error:  # a large file is written to disk while it arrives
        raise Unavailable(
            f"the recording cannot be received: it cannot be written to {tempfile.gettempdir()} "
            f"({error.strerror or error}); free some space there, or set TMPDIR"
        ) from error
    except (UnicodeDecodeError, LookupError) as error:
        raise BadRequest("the form has a field that is not text; give the recording a filename") from error
    try:
        for name in form:
            if name not in _FIELDS:
                raise BadRequest(
                    f"the form has a field {name[:40]!r}{meant(name, _FIELDS)}; known: {', '.join(_FIELDS)}"
                )
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise BadRequest("the form has no file: send the recording as the field 'file', with a filename")
        recording = await file.read(MAX_UPLOAD_BYTES + 1)
        return NewVoice(_words(form, "name"), _words(form, "consent"), recording, _words(form, "language") or None)
    finally:
        await form.close()


def _words(form: Any, name: str) -> str:
    value = form.get(name, "")
    if not isinstance(value, str):
        raise BadRequest(f"the form's field {name!r} must be text, not a file")
    return value.strip()
