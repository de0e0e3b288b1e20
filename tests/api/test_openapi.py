"""The OpenAPI document tells the truth about the server that serves it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import pytest_asyncio
from support.running import Caller

from gateway.api import build_app
from gateway.app import SURFACES

pytestmark = pytest.mark.asyncio(loop_scope="module")


def check(schema: dict[str, Any], value: Any, document: dict[str, Any], where: str = "$") -> None:
    """Validate a value against the part of JSON Schema that the document uses."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    if "anyOf" in schema:
        assert any(fits(option, value, document) for option in schema["anyOf"]), f"{where}: {value!r}"
        return
    if "enum" in schema:
        assert value in schema["enum"], where
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "null": type(None)}
    if schema.get("type") == "number":
        assert isinstance(value, (int, float)), where
    elif "type" in schema:
        assert isinstance(value, kinds[schema["type"]]), f"{where}: {value!r} is no {schema['type']}"
    if schema.get("type") == "object" and "properties" in schema:
        assert set(schema.get("required", [])) <= set(value), f"{where} lacks {schema['required']}"
        assert set(value) <= set(schema["properties"]), (
            f"{where}: {set(value) - set(schema['properties'])} undocumented"
        )
        for name, inner in value.items():
            check(schema["properties"][name], inner, document, f"{where}.{name}")
    if schema.get("type") == "array" and isinstance(schema.get("items"), dict):
        for index, item in enumerate(value):
            check(schema["items"], item, document, f"{where}[{index}]")


def fits(schema: dict[str, Any], value: Any, document: dict[str, Any]) -> bool:
    try:
        check(schema, value, document)
    except AssertionError:
        return False
    return True


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def document(real: Caller) -> dict[str, Any]:
    answer = await real.http.get("/openapi.json", headers={"Authorization": ""})
    assert answer.status_code == 200
    return answer.json()


def operation(document: dict[str, Any], method: str, path: str) -> dict[str, Any]:
    for template, item in document["paths"].items():
        if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), path) and method.lower() in item:
            return item[method.lower()]
    raise AssertionError(f"{method} {path} is not in the document")


SENT = [
    ("POST", "/run", b'{"input": {"text": "a"}}', 200),
    ("POST", "/v2/default/run", b"{", 400),
    ("POST", "/run", b"a" * 60_000, 413),
    ("POST", "/runsync", b'{"input": {}}', 200),
    ("POST", "/runsync", b'{"input": {"text": "a sentence"}}', 200),
    ("POST", "/v2/some/runsync", b'{"input": {"text": "a sentence"}, "policy": {"ttl": 1}}', 400),
    ("GET", "/v2/default/status/nothing", b"", 404),
    ("POST", "/status/nothing", b"", 404),
    ("GET", "/status-sync/nothing", b"", 404),
    ("POST", "/cancel/nothing", b"", 404),
    ("POST", "/retry/nothing", b"", 404),
    ("POST", "/purge-queue", b"", 200),
    ("GET", "/v2/default/health", b"", 200),
    ("GET", "/v2/default", b"", 200),
    ("GET", "/health/live", b"", 200),
    ("GET", "/health/ready", b"", 200),
    ("GET", "/metrics", b"", 200),
    ("GET", "/audio/nothing", b"", 403),
    ("GET", "/usage", b"", 200),
    ("GET", "/usage?days=900", b"", 400),
    ("GET", "/voices", b"", 200),
    ("GET", "/v2/some/voices", b"", 200),
    ("POST", "/voices", b"{}", 400),
    ("GET", "/v2/some/voices/nobody/audio", b"", 404),
    ("DELETE", "/voices/nobody", b"", 404),
    ("GET", "/subtitles/nothing.vtt", b"", 404),
    ("GET", "/pronunciations", b"", 200),
    ("POST", "/pronunciations", b'{"entries": [{"phrase": "a", "respelling": "b"}]}', 200),
    ("PUT", "/pronunciations", b'{"entries": [{"phrase": ".", "respelling": "b"}]}', 400),
    ("DELETE", "/pronunciations?phrase=nothing", b"", 404),
    ("DELETE", "/pronunciations", b"", 200),
    ("GET", "/v1/models", b"", 200),
    ("GET", "/v1/models/tts-1", b"", 200),
    ("GET", "/v1/models/nobody", b"", 404),
    ("POST", "/v1/audio/speech", b"{}", 400),
    ("POST", "/v1/audio/speech", b"a" * 120_000, 413),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), SENT)
async def test_every_answer_is_one_the_document_tells_of(
    real: Caller, document: dict[str, Any], method: str, path: str, body: bytes, status: int
):
    answer = await real.http.request(method, path, content=body)
    assert answer.status_code == status
    spec = operation(document, method, path.partition("?")[0])["responses"][str(status)]
    media_type = answer.headers["content-type"].partition(";")[0]
    assert media_type in spec["content"]
    if media_type == "application/json":
        check(spec["content"][media_type]["schema"], answer.json(), document)


async def test_every_route_is_documented_under_an_id_of_its_own(real: Caller, document: dict[str, Any]):
    application = build_app(real.gateway.port, SURFACES)._app
    documented = {
        (method.upper(), re.sub(r"\{(\w+):\w+\}", r"{\1}", path))
        for path, item in document["paths"].items()
        for method in item
    }
    for route in application.routes:
        for method in route.methods - ({"OPTIONS", "HEAD"} if route.path.startswith("/health/") else {"OPTIONS"}):
            path = re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path)
            assert (method, path) in documented or path == "/openapi.json", (method, path)
    ids = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))
    assert {"run", "runDefault", "runsync", "status", "statusPost", "cancel", "health", "usage", "metrics"} <= set(ids)


async def test_every_reference_leads_somewhere_and_every_path_parameter_is_named(document: dict[str, Any]):
    names = re.findall(r"#/components/schemas/(\w+)", json.dumps(document))
    assert set(names) <= set(document["components"]["schemas"])
    for path, item in document["paths"].items():
        for operation in item.values():
            named = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", path))
            assert operation["summary"] and not operation["summary"].endswith(".")


async def test_the_body_of_run_is_the_guides(document: dict[str, Any]):
    check({"$ref": "/SpeechEnvelope"}, {"input": {"text": "a", "format": "mp3", "speed": 1.5, "seed": 3}}, document)
    with pytest.raises(AssertionError):
        check({"$ref": "/SpeechEnvelope"}, {"input": {"text": "a", "speeed": 1}}, document)
    for name in ("run", "runsync"):
        body = document["paths"][f"/v2/{{endpoint_id}}/{name}"]["post"]["requestBody"]
        assert body["content"]["application/json"]["schema"]["$ref"].endswith("/SpeechEnvelope")
