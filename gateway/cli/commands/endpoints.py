"""`voxgate endpoints`: makes and lists endpoints."""

from __future__ import annotations

from typing import Any, get_args

import click
import msgspec

from gateway.cli.installed import engines_of
from gateway.cli.output import echo_json, echo_table, json_option
from gateway.cli.prepared import installed_names, with_database
from gateway.cli.server_record import find_server
from gateway.clock import SystemClock
from gateway.errors import BadRequest, Conflict, SettingsError
from gateway.routing.checks import endpoint_problems
from gateway.routing.endpoints import ID_RULE, Endpoint, Endpoints, is_id
from gateway.routing.policy import NO_POLICY, RoutePolicy, read_policy
from gateway.routing.router import Router
from gateway.settings import Settings
from gateway.settings.address import address
from gateway.speech.decode import decode_request
from gateway.speech.request import AudioFormat
from storage.db.database import Database
from storage.endpoints import EndpointRecord, EndpointStore

_ACTOR = "cli"
_ORIGINS = {
    "settings": "made by the settings",
    "database": "made by `voxgate endpoints create`",
    "demand": "made on demand, when it is called",
}


@click.group()
def endpoints() -> None:
    """Make and list the public names in the URL."""


@endpoints.command()
@click.argument("endpoint_id", metavar="ID")
@click.option("--backend", help="The backend when a request names none.")
@click.option("--voice", help="The voice when a request names none.")
@click.option("--language", help="BCP 47 tag when a request names none.")
@click.option(
    "--format", "audio_format", type=click.Choice(get_args(AudioFormat)), help="Format when a request names none."
)
@click.option("--speed", type=click.FloatRange(0.5, 2.0), help="Speed when a request names none.")
@click.option("--fallback", multiple=True, help="A backend to try when the first cannot speak; may be repeated.")
@click.option("--policy", help="The route policy as JSON, with `arms` that share the requests; see routing.md.")
@click.option("--replace", is_flag=True, help="Change an endpoint that exists.")
@json_option
def create(
    endpoint_id: str,
    backend: str | None,
    voice: str | None,
    language: str | None,
    audio_format: str | None,
    speed: float | None,
    fallback: tuple[str, ...],
    policy: str | None,
    replace: bool,
    as_json: bool,
) -> None:
    """Make an endpoint; every server serves it within a second."""
    if not is_id(endpoint_id):
        raise BadRequest(f"{ID_RULE}, got {endpoint_id!r}")
    given = {"backend": backend, "voice": voice, "language": language, "format": audio_format, "speed": speed}
    defaults = {name: value for name, value in given.items() if value is not None}

    async def put(database: Database, settings: Settings) -> Endpoint:
        if endpoint_id in settings.endpoints:
            raise Conflict(f"endpoint {endpoint_id!r} is made by voxgate.toml; change it there")
        endpoint = Endpoint(endpoint_id, defaults, _policy(policy, fallback))
        _check_endpoint(settings, endpoint)
        store = EndpointStore(database)
        earlier = await store.get(endpoint_id)
        if earlier is not None and not replace:
            raise Conflict(f"endpoint {endpoint_id!r} exists; to change it: voxgate endpoints create --replace …")
        now = SystemClock().now_ms()
        await store.put(
            EndpointRecord(
                endpoint_id,
                None,
                earlier.created_ms if earlier else now,
                now,
                policy=msgspec.json.encode(_document_of(endpoint.policy)).decode(),
                defaults=msgspec.json.encode(defaults).decode(),
            ),
            _ACTOR,
        )
        return (await _read(database, settings)).resolve(endpoint_id)

    _show(with_database(put), as_json)


@endpoints.command(name="list")
@json_option
def list_endpoints(as_json: bool) -> None:
    """List the endpoints that were made; `default` always exists."""

    async def read(database: Database, settings: Settings) -> tuple[list[Endpoint], bool]:
        return (await _read(database, settings)).all(), settings.endpoints_on_demand

    found, on_demand = with_database(read)
    if as_json:
        echo_json([_document(endpoint) for endpoint in found])
        return
    echo_table(
        ("endpoint", "made by", "backend", "defaults", "fallback"),
        [
            (
                endpoint.id,
                endpoint.origin,
                endpoint.backend or "as routed",
                _format_defaults(endpoint.defaults),
                " ".join(endpoint.policy.fallback),
            )
            for endpoint in found
        ],
        empty="only `default`; make another: voxgate endpoints create ID",
    )
    if on_demand:
        click.echo("any other id works without being made (auto_endpoints)", err=True)


@endpoints.command()
@click.argument("endpoint_id", metavar="ID")
@json_option
def show(endpoint_id: str, as_json: bool) -> None:
    """Show an endpoint, and the address to call."""

    async def read(database: Database, settings: Settings) -> tuple[Endpoint, Settings]:
        return (await _read(database, settings)).resolve(endpoint_id), settings

    endpoint, settings = with_database(read)
    _show(endpoint, as_json)
    if not as_json:
        click.echo(f"address   {_base(settings)}/v2/{endpoint.id}/run")


def _base(settings: Settings) -> str:
    """Return the server's address for callers: `public_url` if set, else the address of the server on this data
    folder."""
    if settings.public_url is not None:
        return settings.public_url.rstrip("/")
    running = find_server(settings.data_dir)
    return running.url if running is not None else address(settings.host, settings.port)


def _check_endpoint(settings: Settings, endpoint: Endpoint) -> None:
    """Refuse an endpoint whose backends or defaults are wrong for every request.

    Raises:
        BadRequest: no package registers a backend, or no request may have a default.
        InvalidInput: neither the named backend nor a fallback can speak with these defaults.
    """
    flags = {"policy": "--policy" if endpoint.policy.arms else "--fallback"}
    names = installed_names(settings)
    policy = _document_of(endpoint.policy)
    for problem in endpoint_problems(endpoint.defaults, policy, names, lambda key: flags.get(key, f"--{key}")):
        raise BadRequest(problem)
    if endpoint.backend is None and not endpoint.policy.arms:
        return  # as routed
    engines = engines_of(settings)
    known = {hosted.name: hosted for hosted in engines}
    named = {endpoint.backend, *endpoint.policy.backends} - {None}
    if not named <= known.keys():
        return  # a backend missing on this machine may be usable on another
    router = Router(known, None, lambda tenant, name: None, found=engines.infos)
    request = decode_request(b'{"text": "a"}', endpoint.input_defaults)
    if any(hosted.capabilities.cloning for hosted in router.serving(endpoint)):
        # The voice may be a tenant's own voice that is made later, so its name cannot be checked.
        request = msgspec.structs.replace(request, voice="default")
    offers = router.offers(request, endpoint, "")
    offers.first(offers.choose(""))


def _policy(text: str | None, fallback: tuple[str, ...]) -> RoutePolicy:
    """Return the policy of the options `--policy` and `--fallback`.

    Raises:
        BadRequest: the text is no JSON object, or no policy.
    """
    try:
        given = {} if text is None else msgspec.json.decode(text, type=dict[str, Any])
        return read_policy("--policy", given | ({"fallback": fallback} if fallback else {}))
    except msgspec.DecodeError as error:
        raise BadRequest(f"--policy is not a JSON object: {error}") from error
    except SettingsError as error:
        raise BadRequest(str(error)) from error


def _document_of(policy: RoutePolicy) -> dict[str, Any]:
    """Return the keys of a policy that differ from their defaults."""
    document: dict[str, Any] = msgspec.to_builtins(policy)
    return {key: value for key, value in document.items() if value != msgspec.to_builtins(getattr(NO_POLICY, key))}


async def _read(database: Database, settings: Settings) -> Endpoints:
    known = Endpoints(settings, EndpointStore(database))
    await known.refresh()
    return known


def _show(endpoint: Endpoint, as_json: bool) -> None:
    if as_json:
        echo_json(_document(endpoint))
        return
    click.echo(f"endpoint  {endpoint.id} ({_ORIGINS[endpoint.origin]})")
    click.echo(f"defaults  {_format_defaults(endpoint.defaults) or 'none'}")
    for arm in endpoint.policy.arms:
        click.echo(f"arm       {arm.backend}, weight {arm.weight:g}")
    click.echo(f"fallback  {' '.join(endpoint.policy.fallback) or 'none'}")


def _document(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "defaults": endpoint.defaults,
        "fallback": endpoint.policy.fallback,
        "policy": _document_of(endpoint.policy),
        "origin": endpoint.origin,
    }


def _format_defaults(defaults: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in defaults.items())
