"""The OpenAPI document, made from the routes themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Litestar
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Components, SecurityScheme
from litestar.routes import HTTPRoute
from litestar.types import Method, OperationIDCreator

from gateway.api.http.surface import ErrorAnswer, Surface
from gateway.settings import Settings
from voxgate import __version__

if TYPE_CHECKING:
    from litestar.types.internal_types import PathParameterDefinition

KEY_SCHEME = "key"
OPEN: list[dict[str, list[str]]] = [{}]
"""The security of a route that needs no key."""

_REF = "#/components/schemas/{name}"


def operation_id(name: str) -> OperationIDCreator:
    """Hand-set ids: `run`, and `runDefault` where the address names no endpoint; `statusPost` for a POST of a GET,
    `voiceAudioHead` for its HEAD."""

    def creator(handler: HTTPRouteHandler, method: Method, path: list[str | PathParameterDefinition]) -> str:
        base = name if path and path[0] == "v2" else f"{name}Default"
        if HttpMethod(method) is HttpMethod.HEAD:
            return f"{base}Head"
        also_get = HttpMethod.GET in handler.http_methods
        return f"{base}Post" if also_get and HttpMethod(method) is HttpMethod.POST else base

    return creator


def answers(
    success: type[Any] | None,
    *,
    body: bool = False,
    not_found: bool = False,
    conflict: bool = False,
    words: str = "",
    media_type: str = "application/json",
) -> dict[int, ResponseSpec]:
    """What a route that needs a key answers: its success, and each error in the one form errors have."""
    errors = {
        400: "The request itself is wrong.",
        401: "No key, or not a good one.",
        403: "The key lacks a scope.",
        404: "No such endpoint or job, or not one of this key's tenant." if not_found else "No such endpoint.",
        429: "A limit is reached; Retry-After says when to come back.",
        500: "A defect of the server.",
        503: "The server cannot take it now.",
    }
    if body:
        errors |= {409: "The idempotency key came with another body before.", 413: "The body is too large."}
    if conflict:
        errors[409] = "The state of the job forbids it."
    return {**succeeds(success, words=words, media_type=media_type), **fails(errors)}


def succeeds(
    success: type[Any] | None, *, words: str = "", media_type: str = "application/json"
) -> dict[int, ResponseSpec]:
    """The 200 of a route; `words` are the first line of the type's docstring unless given."""
    summary = words or (success.__doc__ or "").strip().splitlines()[0]
    return {200: ResponseSpec(success, generate_examples=False, description=summary, media_type=media_type)}


def fails(errors: Mapping[int, str]) -> dict[int, ResponseSpec]:
    """Each error status with its words."""
    return {
        status: ResponseSpec(ErrorAnswer, generate_examples=False, description=words)
        for status, words in sorted(errors.items())
    }


def document(surfaces: Sequence[Surface], settings: Settings, dependencies: Mapping[str, Any]) -> bytes:
    """The OpenAPI 3.1 document of these surfaces, as JSON.

    Litestar describes the routes in an application of its own, because one that serves its schema also answers
    unknown addresses below it with an HTML page. Bodies are added here: handlers take them as bytes, since clients
    send JSON under any content type or none.
    """
    config = OpenAPIConfig(
        title="voxgate",
        version=__version__,
        description="A self-hosted text-to-speech gateway that speaks RunPod's job API and OpenAI's speech API.",
        components=Components(
            security_schemes={
                KEY_SCHEME: SecurityScheme(type="http", scheme="bearer", description="`Authorization: Bearer KEY`")
            }
        ),
        security=[{KEY_SCHEME: []}],
        use_handler_docstrings=True,
        render_plugins=(),
    )
    routes = [route for surface in surfaces for route in surface.routes(settings)]
    bodies = {name: body for surface in surfaces for name, body in surface.bodies.items()}
    forms = {name: form for surface in surfaces for name, form in surface.forms.items()}
    described = Litestar(
        route_handlers=routes, dependencies=dict(dependencies), openapi_config=config, logging_config=None
    )
    tree = described.openapi_schema.to_schema()
    # msgspec knows what it decodes and encodes better than Litestar does (fields that may be absent).
    _, schemas = msgspec.json.schema_components([*bodies.values(), *_answered(described)], ref_template=_REF)
    tree["components"]["schemas"] = {name: schemas[name] for name in sorted(schemas)}
    for operations in tree["paths"].values():
        for operation in operations.values():
            operation["summary"] = operation.pop("description").partition(". ")[0].rstrip(".")
            name = operation["operationId"].removesuffix("Default")
            if name in bodies:
                content: dict[str, Any] = {
                    "application/json": {"schema": {"$ref": _REF.format(name=bodies[name].__name__)}}
                }
                if name in forms:
                    content["multipart/form-data"] = {"schema": forms[name]}
                operation["requestBody"] = {"required": True, "content": content}
    return msgspec.json.encode(tree)


def _answered(app: Litestar) -> set[type[msgspec.Struct]]:
    """The types every route answers with."""
    return {
        spec.data_container
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for spec in (handler.responses or {}).values()
        if isinstance(spec.data_container, type) and issubclass(spec.data_container, msgspec.Struct)
    }
