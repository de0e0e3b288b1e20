"""`voxgate backends`: what is installed, what may load, and whether it keeps the contract."""

from __future__ import annotations

import click
import msgspec

from gateway.cli.output import echo_json, echo_table, json_option


@click.group(invoke_without_command=True)
@click.pass_context
def backends(context: click.Context) -> None:
    """List backends: found, missing, broken; or test one."""
    if context.invoked_subcommand is None:
        context.invoke(list_backends, as_json=False)


@backends.command(name="list")
@json_option
def list_backends(as_json: bool) -> None:
    """List every registered backend, with what mends those that cannot be used."""
    from gateway.cli.installed import installed

    rows = installed()
    if as_json:
        echo_json(rows)
        return
    echo_table(
        ("backend", "state", "package", "version", "languages", "voices", "rate", "remark"),
        [
            (
                row.name,
                row.state if row.enabled else f"{row.state}, not enabled",
                row.distribution,
                row.version,
                " ".join(row.languages),
                " ".join(row.voices),
                f"{row.sample_rate} Hz" if row.sample_rate else "",
                row.remark,
            )
            for row in rows
        ],
        empty="no package registers a backend",
    )


@backends.command(name="test")
@click.argument("name")
@json_option
def test_backend(name: str, as_json: bool) -> None:
    """Check the backend NAME against the contract; loads it. Exit code 2 if it breaks a promise."""
    from backends.testing.conformance import check
    from gateway.cli.installed import chosen, refuse_missing

    backend, own, context = chosen(name)
    refuse_missing(backend, own, context)
    findings = check(backend, msgspec.to_builtins(own, enc_hook=str), context)
    failed = [finding for finding in findings if not finding.ok]
    if as_json:
        echo_json(findings)
    else:
        for finding in findings:
            mark = "ok    " if finding.ok else "FAILED"
            click.echo(f"{mark}  {finding.check}" + (f": {finding.detail}" if finding.detail else ""))
        click.echo(f"{len(findings) - len(failed)} of {len(findings)} checks hold for {name}")
    if failed:
        raise click.exceptions.Exit(2)
