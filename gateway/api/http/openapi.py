"""Make the OpenAPI document from the routes."""

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
    """Make operation ids from a given name.

    `run`; `runDefault` where the path names no endpoint; `statusPost` for the POST of a route that also has GET;
    `voiceAudioHead` for a HEAD.
    """

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
    """Describe the answers of a route that needs a key: its success and each error."""
    errors = {
        400: "The request is invalid.",
        401: "The key is missing or not valid.",
        403: "The key lacks a scope.",
        404: "No such endpoint or job, or not one of this key's tenant." if not_found else "No such endpoint.",
        429: "A limit is reached; Retry-After gives the time to wait.",
        500: "A defect of the server.",
        503: "The server cannot take the request now.",
    }
    if body:
        errors |= {409: "The idempotency key was sent with another body before.", 413: "The body is too large."}
    if conflict:
        errors[409] = "The state of the job does not allow this."
    return {**succeeds(success, words=words, media_type=media_type), **fails(errors)}


def succeeds(
    success: type[Any] | None, *, words: str = "", media_type: str = "application/json"
) -> dict[int, ResponseSpec]:
    """Describe the status 200 of a route. `words` defaults to the first line of the type's docstring."""
    summary = words or (success.__doc__ or "").strip().splitlines()[0]
    return {200: ResponseSpec(success, generate_examples=False, description=summary, media_type=media_type)}


def fails(errors: Mapping[int, str]) -> dict[int, ResponseSpec]:
    """Describe error statuses, each with its words."""
    return {
        status: ResponseSpec(ErrorAnswer, generate_examples=False, description=words)
        for status, words in sorted(errors.items())
    }


def document(surfaces: Sequence[Surface], settings: Settings, dependencies: Mapping[str, Any]) -> bytes:
    """Make the OpenAPI 3.1 document of these surfaces, as JSON.

    Litestar describes the routes in a separate application, because an application that serves its own schema also
    answers unknown paths below it with an HTML page. Request bodies are added here: handlers read them as bytes,
    because clients send JSON with any content type or none.
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
    # The schemas come from msgspec: Litestar does not describe fields that may be absent.
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
    """Return the types of all answers."""
    return {
        spec.data_container
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for spec in (handler.responses or {}).values()
        if isinstance(spec.data_container, type) and issubclass(spec.data_container, msgspec.Struct)
    }
