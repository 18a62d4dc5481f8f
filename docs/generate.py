"""Writes docs/reference.md out of the docstrings of all that `import duly` gives, and other pages.

Run it after a change of a public docstring or of a command: `make docs`. Tests compare the pages
with the code.
"""

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

import duly
from duly.cli.main import app
from duly.engine.storage.store import Store
from duly.engine.transport.connection import Connection
from duly_monitor.api.reference import api_page
from duly_monitor.api.routes import described_api

PAGE = Path(__file__).with_name("reference.md")
CLI_PAGE = Path(__file__).with_name("cli.md")
API_PAGE = Path(__file__).with_name("monitor-api.md")
CLI_INTRODUCTION = """\
# Reference of the command line

`docs/generate.py` writes this page from the commands themselves; the option `--help` of a command
shows the same. Global options stand right after `duly`, all others behind their command.

The command line comes with `pip install 'duly[cli]'`; `duly dash` needs the extra `dash`, and
`duly up` the extra `all`.

**Which broker?** `--redis-url` names it, or a `duly.yaml`: that of `--config`, of `--profile` or of
the working directory. Without any, it is that of the `duly up` which runs in this directory.

**Profiles.** A profile is a `duly.yaml` of your own, called NAME.yaml in `~/.config/duly/` (on
macOS in `~/Library/Application Support/duly/`): `duly --profile=prod stats`, or the variable
`DULY_PROFILE` for a whole session. Variables override its keys as they do everywhere.

**Passwords.** A profile may hold one: keep it readable by you alone (`chmod 600`). Every user of
the machine can read a command line; give a password by `DULY_REDIS__PASSWORD` or in the profile.

**Completion**, installed by `duly --install-completion`, knows commands, options, states, kinds
and profiles, and the queues, entries and workers of the broker.
"""
SECTIONS = {
    "Applications": ("App", "TaskFunction", "load_settings", "Settings"),
    "Jobs": ("Job", "Policy", "Rate", "Aggregate"),
    "Enqueue": ("Client", "BlockingClient", "Request", "RedisSettings", "QueueSettings"),
    "Flows": ("chain", "group", "step"),
    "Handlers": ("TaskContext", "Retry", "Skip", "Requeue", "Revoke"),
    "Workers": ("Server", "ServerOptions", "Middleware", "Ended", "Outcome", "DeadLetter"),
    "taskiq": ("DulyBroker", "DulyReceiver"),
    "Schedules": ("Entry", "Overlap", "CatchUp"),
    "Inspect and operate": (
        "Inspector",
        "Task",
        "TaskState",
        "Query",
        "Found",
        "TaskPage",
        "BulkPlan",
        "Survey",
        "FailureGroup",
        "QueueReport",
        "MinuteReport",
        "DayReport",
        "KindReport",
        "ServerReport",
        "ServerStatus",
        "RunningTask",
        "EntryReport",
        "TickReport",
        "TickOutcome",
        "GroupReport",
        "JoinReport",
        "LockPage",
        "LockReport",
        "BrokerReport",
        "AuditRecord",
        "AuditPage",
        "Attempt",
        "AttemptOutcome",
        "Progress",
    ),
}
INTRODUCTION = """\
# Reference of the Python API

Everything here is imported from `duly`: `from duly import Client, Job`. All other modules are
internal and may change without notice. `docs/generate.py` writes this page from the docstrings;
[the Python API](api.md) is the way in.

`queue`, `task_id`, `kind`, `entry` (of the timetable) and `server` are the names and ids that the
listings show. Durations are `timedelta`, instants are aware `datetime` values in UTC, and arguments
and fields that end in `_ms` are whole milliseconds.
"""


def page() -> str:
    """Return the page."""
    sections = dict(SECTIONS)
    placed = {name for names in sections.values() for name in names}
    errors = [name for name in duly.__all__ if name not in placed and name != "__version__"]
    sections["Errors"] = ("DulyError", *(name for name in errors if name != "DulyError"))
    parts = [INTRODUCTION]
    for title, names in sections.items():
        parts.append(f"## {title}\n")
        for name in names:
            parts.append("\n".join(described(getattr(duly, name), name)))
            if name == "Inspector":
                parts += ["\n".join(described(type(noun), title)) for title, noun in nouns()]
    return "\n".join(parts)


def nouns() -> Iterator[tuple[str, object]]:
    """Yield what an inspector has for each noun, as `inspector.queues`."""
    for name, noun in vars(duly.Inspector(Store(Connection(duly.RedisSettings())))).items():
        if not name.startswith("_"):
            yield f"inspector.{name}", noun


def described(thing: Any, name: str) -> Iterator[str]:  # noqa: ANN401 - a class or a function
    """Yield the lines that describe one public thing, under its public name."""
    yield f"### {name}\n"
    if inspect.isfunction(thing):
        yield from code(signature(name, thing))
        yield prose(thing)
        return
    if issubclass(thing, Exception):
        yield f"A kind of `{thing.__mro__[1].__name__}`.\n"
    yield prose(thing)
    rows = list(fields(thing))
    if rows:
        yield "| field | type | default | meaning |\n| --- | --- | --- | --- |"
        yield "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
    for attribute, value in members(thing):
        title = f"{name}.{attribute}"
        yield f"#### {title}\n"
        if isinstance(value, property):
            yield prose(value.fget)
        else:
            yield from code(signature(title, value))
            yield prose(value)


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the public functions and properties of a class."""
    for attribute, value in vars(kind).items():
        found = getattr(value, "__func__", value)
        if not attribute.startswith("_") and (
            inspect.isfunction(found) or isinstance(found, property)
        ):
            yield attribute, found


def signature(name: str, function: Any) -> str:  # noqa: ANN401 - whatever may be called
    """Return how something is called, as one would write it."""
    found = inspect.signature(function)
    opens = inspect.isasyncgenfunction(getattr(function, "__wrapped__", None))
    if opens:  # what `asynccontextmanager` made of a generator
        found = found.replace(return_annotation=inspect.Signature.empty)
    parameters = [each for each in found.parameters.values() if each.name not in {"self", "cls"}]
    text = str(found.replace(parameters=parameters))
    text = re.sub(
        r"<class '([\w.]+)'>|\b(?:[a-z_]+\.)+(?=[A-Z]|timedelta|datetime)",
        lambda m: m[1] or "",
        text,
    )
    text = re.sub(r"<function .*? at 0x[0-9a-f]+>", "…", text)
    if opens:
        return f"async with {name}{text} as {name.partition('.')[0].lower()}: ..."
    prefix = "await " if inspect.iscoroutinefunction(function) else ""
    return f"{prefix}{name}{text}"


def code(text: str) -> Iterator[str]:
    """Yield a block of code, one parameter a line where it is long."""
    if len(text) > 90:  # noqa: PLR2004 - the width of a page
        head, _, rest = text.partition("(")
        inner, closing, tail = rest.rpartition(")")
        lines = re.split(r", (?=\*|\w+:|\w+=)", inner)
        text = f"{head}(\n" + "".join(f"    {line},\n" for line in lines) + f"{closing}{tail}"
    yield f"```text\n{text}\n```\n"


def prose(thing: Any) -> str:  # noqa: ANN401 - whatever has a docstring
    """Return a docstring as Markdown: its sections as lists, its examples as code."""
    text = re.sub(r"(?m)^((?:>>>|\.\.\.).*\n?)+", example, inspect.getdoc(thing) or "")
    lines: list[str] = []
    section = fenced = False
    for line in text.splitlines():
        fenced ^= line.startswith("```")
        title = re.fullmatch(r"(Args|Raises|Returns|Yields):", line)
        item = re.fullmatch(r"    (\*{0,2}\w+): (.*)", line) if section else None
        section = bool(title) or (section and not fenced)
        if fenced:
            lines.append(line)
        elif title:
            lines += [f"**{title[1]}**", ""]
        elif item:
            lines.append(f"- `{item[1]}`: {item[2]}")
        else:
            lines.append(re.sub(r"^ {4,}", "  ", line))
    return "\n".join(lines).strip() + "\n"


def example(found: re.Match[str]) -> str:
    """Return an example of a docstring as a block of code."""
    lines = [re.sub(r"^(>>>|\.\.\.) ?", "", line) for line in found[0].splitlines()]
    body = "\n".join(re.sub(r"\s*# doctest: .*", "", line) for line in lines)
    return f"```python\n{body}\n```\n"


def fields(kind: type) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, type, default and meaning of the fields that a class declares."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    if not isinstance(tree, ast.ClassDef):
        return
    for node, following in zip(tree.body, [*tree.body[1:], None], strict=True):
        meaning = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            meaning = " ".join(str(following.value.value).split())
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name, annotation, default = node.targets[0].id, "", ast.unparse(node.value)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name, annotation = node.target.id, ast.unparse(node.annotation)
            default = ast.unparse(node.value) if node.value is not None else ""
            meaning = meaning or described_by(node.value)
        else:
            continue
        if not name.startswith("_") and name != "model_config":
            cells = (cell(annotation), cell(default))
            yield f"`{name}`", *cells, meaning.replace("|", "\\|")


def described_by(value: ast.expr | None) -> str:
    """Return the description that a pydantic field gives."""
    if isinstance(value, ast.Call):
        for keyword in value.keywords:
            if keyword.arg == "description" and isinstance(keyword.value, ast.Constant):
                return str(keyword.value.value)
    return ""


def cell(text: str) -> str:
    """Return code in a cell of a table."""
    text = re.sub(r", description='(?:[^'\\]|\\.)*'", "", text)
    return f"`{text}`".replace("|", "\\|") if text else ""


def cli_page() -> str:
    """Return the page of the command line."""
    parts = [CLI_INTRODUCTION, *command(get_command(app), "duly", 2)]
    return "\n".join(line.rstrip() for line in "\n".join(parts).splitlines()) + "\n"


def command(found: Any, name: str, level: int) -> Iterator[str]:  # noqa: ANN401 - typer's own
    """Yield the lines that describe a command, and those of the commands below it."""
    context = found.context_class(found, info_name=name, parent=None)
    yield f"{'#' * level} {name}\n"
    yield f"```text\n{' '.join([name, *found.collect_usage_pieces(context)])}\n```\n"
    yield inspect.cleandoc(found.help or "") + "\n"
    records = [parameter.get_help_record(context) for parameter in found.params]
    rows = [tuple(text.replace("|", "\\|") for text in record) for record in records if record]
    if rows:
        yield "| argument or option | meaning |\n| --- | --- |"
        yield "\n".join(f"| `{left.strip()}` | {meaning} |" for left, meaning in rows) + "\n"
    if found.epilog:
        yield from examples(inspect.cleandoc(found.epilog))
    below = getattr(found, "commands", {})
    for word in below:
        if not below[word].hidden:
            yield from command(below[word], f"{name} {word}", min(level + 1, 4))


def examples(epilog: str) -> Iterator[str]:
    """Yield the examples at the end of a help as code, and the sentences after them."""
    lines = [line for line in epilog.splitlines() if line]
    yield lines[0] + "\n"
    shown = [
        re.sub(r" {3,}", "   # ", line.strip(), count=1)
        for line in lines[1:]
        if not line.startswith("Exit codes")
    ]
    yield "\n".join(["```sh", *shown, "```", ""])
    yield from (line + "\n" for line in lines[1:] if line.startswith("Exit codes"))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    CLI_PAGE.write_text(cli_page(), encoding="utf-8")
    API_PAGE.write_text(api_page(described_api()), encoding="utf-8")
    print(f"wrote {PAGE.name}, {CLI_PAGE.name} and {API_PAGE.name}", file=sys.stderr)  # noqa: T201 - a command
