"""The front door: what an application imports, what that costs, and what a type checker says."""

import ast
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import duly
from duly.engine.storage.store import Store
from duly.engine.transport.connection import Connection

IDENTITIES = {"self", "cls", "queue", "task_id", "name", "kind", "entry", "server"}
"""What the introduction of the reference explains once."""
HEAVY = ("pydantic", "redis", "taskiq", "msgspec", "structlog", "asyncio", "opentelemetry")


def python(*arguments):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=120
    )


def test_every_public_name_can_be_imported():
    assert [name for name in duly.__all__ if getattr(duly, name, None) is None] == []
    assert set(duly.__all__) <= set(dir(duly))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Jobb'"):
        duly.Jobb  # noqa: B018


def test_the_names_for_type_checkers_are_those_that_are_loaded():
    tree = ast.parse(Path(duly.__file__).read_text(encoding="utf-8"))
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    named = {
        alias.name: node.module
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert named == duly._ORIGIN
    assert sorted(named) == sorted(set(duly.__all__) - {"__version__"})


def test_importing_duly_loads_nothing_heavy():
    program = f"import sys, duly; print([name for name in {HEAVY} if name in sys.modules])"

    done = python("-c", program)

    assert done.stdout.strip() == "[]", done.stderr


def test_a_producer_does_not_load_the_worker():
    program = """
        import sys
        from duly import Client, Job, RedisSettings

        class Greet(Job, kind="greet"):
            name: str

        print([name for name in sys.modules if name.startswith("duly.engine.worker")])
    """

    done = python("-c", dedent(program))

    assert done.stdout.strip() == "[]", done.stderr


def complaints(tmp_path, program):
    """What `mypy --strict` says of a module that stands in a repository of its own."""
    module = tmp_path / "shop.py"
    module.write_text(dedent(program), encoding="utf-8")
    done = python(
        *("-m", "mypy", "--strict", "--no-error-summary", "--config-file", "/dev/null"),
        *("--cache-dir", str(tmp_path / "cache"), str(module)),
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return [line.split(": error: ")[1] for line in done.stdout.splitlines() if ": error: " in line]


@pytest.mark.slow
def test_a_type_checker_finds_a_wrong_field_of_a_payload(tmp_path):
    found = complaints(
        tmp_path,
        """
        from duly import BlockingClient, Client, Job, Policy, TaskContext


        class SendInvoice(Job, kind="send_invoice", policy=Policy(queue="low")):
            order_id: int


        async def send(job: SendInvoice, context: TaskContext) -> None:
            context.progress(0.5)
            print(job.order_id + 1)


        async def right(client: Client) -> str:
            return (await client.enqueue(SendInvoice(order_id=7), queue="high")).id


        async def wrong(client: Client, blocking: BlockingClient) -> None:
            await client.enqueue(SendInvoice(order_id="seven"))
            await client.enqueue(SendInvoice(order=7))
            blocking.enqueue(SendInvoice(order_id=7), delay=5)
        """,
    )

    assert len(found) == 3, found
    assert 'Argument "order_id" to "SendInvoice" has incompatible type "str"' in found[0]
    assert 'Unexpected keyword argument "order" for "SendInvoice"' in found[1]
    assert 'Argument "delay" to "enqueue" of "BlockingClient"' in found[2]


APPLICATION = """
from collections.abc import AsyncGenerator
from datetime import timedelta

from duly import App, Depends, Job, Task, TaskContext, group

app = App("shop")


class Mail:
    async def send(self, order_id: int) -> str:
        return f"invoice {order_id}"


@app.lifespan
async def mail() -> AsyncGenerator[Mail, None]:
    yield Mail()


@app.task(queue="low", max_attempts=5, timeout=timedelta(minutes=1))
async def send_invoice(
    order_id: int, context: TaskContext = Depends(), mail: Mail = Depends(mail)
) -> str:
    return await mail.send(order_id)


@app.task
def draw_label(order_id: int) -> bytes:
    return b"label"


class Remind(Job, kind="remind"):
    order_id: int


@app.handler(Remind)
async def remind(job: Remind, context: TaskContext = Depends()) -> None:
    context.then(group([send_invoice.job(7), draw_label.job(7)], then=Remind(order_id=8)))


app.schedule("label", draw_label.job(order_id=7), every=timedelta(minutes=10))
"""


@pytest.mark.slow
def test_a_type_checker_accepts_what_an_application_may_say(tmp_path):
    right = """
async def right(context: TaskContext) -> Task:
    async with app.connect():
        await app.enqueue(Remind(order_id=7), delay=timedelta(minutes=5))
        await send_invoice.options(delay=timedelta(minutes=5)).enqueue(order_id=7)
    with app.connect_blocking("redis://broker"):
        draw_label.enqueue_blocking(7)
    sent: str = await send_invoice(7, context=context, mail=Mail())
    label: bytes = draw_label(7)
    return await send_invoice.enqueue(7)
"""

    assert complaints(tmp_path, APPLICATION + right) == []


@pytest.mark.slow
def test_a_type_checker_finds_a_wrong_argument_of_a_task(tmp_path):
    found = complaints(
        tmp_path,
        APPLICATION
        + """
async def wrong() -> None:
    await send_invoice.enqueue(order_id="x")
    await send_invoice.enqueue(order=7)
    await send_invoice.options(delay=timedelta(minutes=5)).enqueue(order_id="x")
    draw_label.enqueue_blocking("x")
    send_invoice.options(dely=timedelta(minutes=5))
    send_invoice.options(delay=5)


@app.task(qeue="low")
async def misspelt() -> None: ...
""",
    )

    assert len(found) == 8, found
    assert 'Argument "order_id" to "enqueue" of "TaskFunction" has incompatible type' in found[0]
    assert 'Unexpected keyword argument "order" for "enqueue" of "TaskFunction"' in found[1]
    assert 'Argument "order_id" to "enqueue" of "TaskCall" has incompatible type' in found[2]
    assert 'Argument 1 to "enqueue_blocking" of "TaskFunction" has incompatible type' in found[3]
    assert 'Unexpected keyword argument "dely" for "options" of "TaskFunction"' in found[4]
    assert 'Argument "delay" to "options" of "TaskFunction" has incompatible type "int"' in found[5]
    assert 'Unexpected keyword argument "qeue"' in found[6]
    assert "Untyped decorator" in found[7]


def public_callables():
    inspector = duly.Inspector(Store(Connection(duly.RedisSettings())))
    nouns = {f"inspector.{name}": type(noun) for name, noun in vars(inspector).items()}
    public = {name: getattr(duly, name) for name in duly.__all__}
    for name, thing in (public | {n: k for n, k in nouns.items() if "._" not in n}).items():
        if inspect.isfunction(thing):
            yield name, thing
        elif inspect.isclass(thing):
            yield name, thing
            for attribute, value in vars(thing).items():
                function = getattr(value, "__func__", value)
                if inspect.isfunction(function) and not attribute.startswith("_"):
                    yield f"{name}.{attribute}", function


def test_everything_public_has_a_docstring():
    # A data class writes its own signature as its docstring where it has none.
    silent = [
        name
        for name, thing in public_callables()
        if not (thing.__doc__ or "").strip() or (thing.__doc__ or "").startswith(name + "(")
    ]

    assert silent == []


def test_every_public_argument_is_described():
    # By its name, in its own docstring or in the one that it refers to.
    undescribed = {}
    for name, thing in public_callables():
        if inspect.isfunction(thing):
            text = thing.__doc__ or ""
            arguments = set(inspect.signature(thing).parameters) - IDENTITIES
            missing = [each for each in arguments if each not in text]
            if missing and not re.search(r"\b([Ss]ee|[Aa]s) `", text):
                undescribed[name] = missing

    assert undescribed == {}


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="written by Python 3.11: signatures differ"
)
def test_the_references_are_what_docstrings_and_commands_say():
    root = Path(__file__).resolve().parents[3]
    spec = importlib.util.spec_from_file_location("generate", root / "docs/generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)

    written = (root / "docs/reference.md").read_text(encoding="utf-8")
    assert generate.page() == written, "run: make docs"
    commands = (root / "docs/cli.md").read_text(encoding="utf-8")
    assert generate.cli_page() == commands, "run: make docs"


def test_every_service_and_the_library_are_typed():
    root = Path(__file__).resolve().parents[3]
    sources = [*root.glob("shared/src/*"), *root.glob("services/*/src/*")]

    packages = [folder for folder in sources if (folder / "__init__.py").exists()]
    assert len(packages) == 4
    assert [folder.name for folder in packages if not (folder / "py.typed").exists()] == []


@pytest.mark.slow
def test_a_type_checker_finds_a_wrong_declaration(tmp_path):
    found = complaints(
        tmp_path,
        """
        from collections.abc import AsyncGenerator, Generator
        from contextlib import suppress
        from datetime import timedelta

        from sqlalchemy.orm import Session

        from duly import App, DeadLetter, Depends, Ended, Entry, Job, TaskContext
        from duly.integrations.outbox import Outbox

        app = App("shop")


        class A(Job, kind="a"):
            n: int


        class B(Job, kind="b"):
            n: int


        @app.handler(A)
        async def right(job: A, context: TaskContext = Depends()) -> None: ...

        @app.handler(A, run_in="process")
        def right_too(job: A) -> int: return job.n

        @app.merge(A)
        def merges(jobs: list[A], group: str) -> Job: return jobs[0]

        @app.merge(A)
        async def merges_too(jobs: list[A], group: str) -> B: return B(n=1)

        @app.lifespan
        async def opens() -> AsyncGenerator[int, None]: yield 1

        @app.lifespan
        def opens_too() -> Generator[int, None, None]: yield 1

        @app.timetable
        def table(n: int = Depends(opens)) -> list[Entry]: return []

        @app.entry_provider
        async def rows() -> tuple[Entry, ...]: return ()

        @app.on_failure
        def told(end: Ended) -> None: ...


        with suppress(Exception):
            @app.handler(A)
            async def wrong_1(job: B) -> None: ...

            @app.handler(A)
            def wrong_2(x: int, y: int) -> None: ...

            @app.merge(A)
            def wrong_3() -> int: return 3

            @app.on_failure
            async def wrong_4(end: Ended) -> None: ...

            @app.on_dead_letter
            async def wrong_5(letter: DeadLetter) -> None: ...

            @app.lifespan
            def wrong_6() -> int: return 3

            @app.timetable
            def wrong_7() -> int: return 3

            @app.entry_provider
            async def wrong_8() -> int: return 3


        def add(session: Session) -> None:
            Outbox().add(session, A(n=1), delay=timedelta(1))
            Outbox().add(session, A(n=1), dely=timedelta(1))
            Outbox().add(session, A(n=1), delay=5)
        """,
    )

    *declared, unknown, wrong = found
    assert all("incompatible type" in line or "Value of type" in line for line in declared), found
    assert len(declared) == 8, found
    assert 'Unexpected keyword argument "dely"' in unknown
    assert 'Argument "delay" to "add" of "Outbox" has incompatible type' in wrong
