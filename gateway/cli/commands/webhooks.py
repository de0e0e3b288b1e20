"""`voxgate webhooks`: lists webhook deliveries, and shows the secret that signs them."""

from __future__ import annotations

from typing import get_args

import click

from gateway.access.signing import signing_key
from gateway.cli.output import echo_json, echo_table, format_time, json_option
from gateway.cli.prepared import settings_for, with_database
from gateway.jobs.lists import Delivery, WebhookState
from gateway.jobs.webhooks.signature import webhook_secret
from storage.webhooks import DeliveryState, WebhookStore


@click.group()
def webhooks() -> None:
    """List webhooks, and show the secret that signs them."""


@webhooks.command(name="list")
@click.option("--tenant", help="Only webhooks of this tenant's jobs.")
@click.option("--endpoint", help="Only webhooks of jobs at this endpoint.")
@click.option("--job", help="Only webhooks of this job.")
@click.option("--status", type=click.Choice(get_args(WebhookState)), help="Only webhooks with this status.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True,
              help="Most webhooks to list, the newest first.")  # fmt: skip
@json_option
def list_webhooks(
    tenant: str | None, endpoint: str | None, job: str | None, status: WebhookState | None, limit: int, as_json: bool
) -> None:
    """List webhooks, newest first: PENDING until the receiver accepts it, FAILED after the last retry."""
    states = () if status is None else (DeliveryState(status),)
    rows = with_database(
        lambda database, settings: WebhookStore(database).page(
            tenant=tenant, endpoint_id=endpoint, job_id=job, states=states, limit=limit
        )
    )
    if as_json:
        echo_json([Delivery.of(row) for row in rows])
        return
    echo_table(
        ("delivery", "job", "tenant", "endpoint", "status", "tries", "made", "next try", "last", "url"),
        [
            (
                row.id,
                row.job_id,
                row.tenant,
                row.endpoint_id,
                row.state.value,
                row.tries,
                format_time(row.created_ms),
                format_time(row.due_ms) if row.state is DeliveryState.PENDING else None,
                row.last_error or row.last_status,
                row.url,
            )
            for row in rows
        ],
        empty="no webhooks; a request asks for one with the key `webhook`",
    )


@webhooks.command()
@click.option("--tenant", default="default", show_default=True, help="The tenant of the webhooks.")
def secret(tenant: str) -> None:
    """Show the secret (`whsec_...`) of a tenant's webhooks; receivers verify the signature with it."""
    click.echo(webhook_secret(signing_key(settings_for()), tenant))
