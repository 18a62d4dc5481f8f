"""`duly acl`: print the rules of the broker's users, and check what one of them may do."""

import asyncio
import hashlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from duly.cli import render
from duly.cli.access import access_of
from duly.cli.nouns import Json, MisuseError, did_you_mean, noun
from duly.engine.inspection.rights import rights_for
from duly.engine.storage.roles import ROLES, Role

_ROLES = ", ".join(ROLES)
app = noun(
    "Print the rules of the broker's users, one a role; check what your user may do.",
    "duly acl show > users.acl\n"
    "duly acl show worker --password-file worker.secret\n"
    "pass show worker | duly acl show worker --user shop-worker --password-file -\n"
    "duly acl check monitor",
)


@app.command("show")
def show_rules(
    role: Annotated[
        str | None, typer.Argument(metavar="ROLE", help=f"{_ROLES}; default: all of them.")
    ] = None,
    user: Annotated[
        str | None, typer.Option(help="Name of the user. Default: duly-ROLE.", metavar="NAME")
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(
            help="File that holds the password, or - for standard input; a final newline does "
            "not count. The rule contains its SHA-256.",
            metavar="FILE",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print rules for an ACL file of Valkey or Redis (6.2 or newer): nothing else goes to stdout.

    For a server without an ACL file, write ACL SETUSER in place of the first word. Without
    --password-file a rule has no password, and nobody can log in as its user.

    JSON: {"rules": [{"role", "purpose", "user", "rule", "commands"}]}
    """
    if role is None and (user is not None or password_file is not None):
        raise MisuseError(f"--user and --password-file belong to one role: name it ({_ROLES})")
    if user is not None and (not user.isprintable() or not user or " " in user):
        raise MisuseError(f"invalid user name {user!r}: it must be one word")
    chosen = list(ROLES.values()) if role is None else [_role(role)]
    password = "" if password_file is None else "#" + _hash(password_file)
    rows = [
        (each, each.rule(user=user or f"duly-{each.name}", password=password)) for each in chosen
    ]
    if as_json:
        render.as_json({"rules": [_described(each, rule) for each, rule in rows]})
        return
    for each, rule in rows:
        # Valkey refuses an ACL file with a comment in it, and then does not start.
        if role is None:
            typer.echo(f"# {each.name}: {each.purpose}", err=True)
        typer.echo(rule)
    if not password:
        typer.echo("duly: no password: nobody can log in (see --password-file)", err=True)


@app.command("check")
def check_rights(
    context: typer.Context,
    role: Annotated[str, typer.Argument(help=f"The role that the user is to fill: {_ROLES}.")],
    as_json: Json = False,
) -> None:
    """Tell whether the user of your settings may do what a role does, and name what is missing.

    The user is redis.username, or the one in redis.url. Each command is tried in a form that
    changes nothing. Exit code 1: something is missing.

    JSON: {"user", "role", "commands", "keys", "channels", "untried"}: what is missing, by sort
    """
    rights = asyncio.run(rights_for(access_of(context).redis(), _role(role)))
    if as_json:
        render.as_json(rights)
    else:
        user = render.one_line(rights.user)
        if rights.suffice:
            typer.echo(f"{user} may do all that the role {rights.role} does")
        else:
            typer.echo(f"{user} may not do all that the role {rights.role} does; missing:")
            for sort in ("commands", "keys", "channels"):
                if missing := getattr(rights, sort):
                    typer.echo(f"  {sort:<8}  {' '.join(missing)}")
            typer.echo(f"Add to its rule: {rights.additions}")
        if rights.untried:
            names = " ".join(rights.untried)
            typer.echo(f"not tried, for want of EVAL or Redis 7: {names}", err=True)
    if not rights.suffice:
        raise typer.Exit(1)


def _role(name: str) -> Role:
    if name not in ROLES:
        raise MisuseError(f"unknown role {name!r}{did_you_mean(name, ROLES)}; roles: {_ROLES}")
    return ROLES[name]


def _hash(file: Path) -> str:
    """Return the SHA-256 of a password; no message quotes any of it."""
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise MisuseError(f"--password-file {str(file)!r}: {error.strerror}") from None
    password = content.removesuffix(b"\n").removesuffix(b"\r")
    if not password or b"\n" in password:
        what = "has more than one line" if password else "is empty"
        raise MisuseError(f"--password-file {str(file)!r} {what}: it must hold one password")
    return hashlib.sha256(password).hexdigest()


def _described(role: Role, rule: str) -> dict[str, object]:
    return {
        "role": role.name,
        "purpose": role.purpose,
        "user": rule.split()[1],
        "rule": rule,
        "commands": [command.lower() for command in role.allowed],
    }
