"""`voxgate backends`: lists installed backends, and tests one against the plugin contract."""

from __future__ import annotations

import click

from gateway.cli.output import echo_json, echo_table, json_option


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def backends(context: click.Context, as_json: bool) -> None:
    """List backends: found, missing, broken; or test one."""
    if context.invoked_subcommand is None:
        context.invoke(list_backends, as_json=as_json)


@backends.command(name="list")
@json_option
def list_backends(as_json: bool) -> None:
    """List every registered backend, with the cure for those that cannot be used."""
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
@click.option("--timeout", type=click.FloatRange(1, 86_400), default=300.0, show_default=True,
              help="Seconds one check may take, loading included.")  # fmt: skip
@json_option
def test_backend(name: str, timeout: float, as_json: bool) -> None:
    """Load the backend NAME and check it against the contract. Exit code 2 if a check fails."""
    from gateway.cli.conformance import run_checks
    from gateway.cli.installed import chosen, refuse_missing

    refuse_missing(*chosen(name))
    findings = []
    for finding in run_checks(name, timeout):
        findings.append(finding)
        if not as_json:
            mark = "ok    " if finding.ok else "FAILED"
            click.echo(f"{mark}  {finding.check}" + (f": {finding.detail}" if finding.detail else ""))
    failed = [finding for finding in findings if not finding.ok]
    if as_json:
        echo_json(findings)
    else:
        click.echo(f"{len(findings) - len(failed)} of {len(findings)} checks hold for {name}")
    if failed:
        raise click.exceptions.Exit(2)
