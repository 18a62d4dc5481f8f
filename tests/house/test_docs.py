"""What documents point at exists."""

import ast
import posixpath
import re
import textwrap
import tomllib

import pytest
import typer

import duly
from duly.cli.main import app
from duly.engine.storage.keys import QueueKeys

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
SOURCE = re.compile(r'\b(?:src|srcset)="([^"]+)"')
FENCE = re.compile(r"^ *```([\w-]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
VENDORED = re.compile(r"(^|/)(vendor|node_modules)/")
FOREIGN = re.compile(r"^[a-z]+:")


@pytest.fixture(scope="module")
def documents(texts):
    """Path from the root → content, of every document except vendored ones."""
    return {
        name: text
        for name, text in texts.items()
        if name.endswith(".md") and not VENDORED.search(name)
    }


def prose(text):
    return FENCE.sub("", text)


def anchors(text):
    """The anchors of the headings, as GitHub names them."""
    headings = re.findall(r"^#+ +(.+?) *$", prose(text), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def resolves(target, path):
    """Whether a link in the file at `path` leads somewhere."""
    place, _, anchor = target.partition("#")
    there = path.parent / place if place else path
    if not there.exists():
        return False
    return not anchor or there.suffix != ".md" or anchor in anchors(there.read_text())


def test_relative_links_resolve(documents, root):
    broken = [
        f"{name}: {target}"
        for name, text in documents.items()
        for target in LINK.findall(prose(text)) + SOURCE.findall(prose(text))
        if not FOREIGN.match(target) and not resolves(target, root / name)
    ]

    assert broken == []


def test_readmes_of_packages_lead_somewhere_from_an_index_too(root):
    targets, wrong = set(), []
    for project in [root / "shared", *sorted((root / "services").iterdir())]:
        table = tomllib.loads((project / "pyproject.toml").read_text())["project"]
        repository = f"{table['urls']['Source']}/blob/main/"
        text = prose((project / table["readme"]).read_text())
        referred = re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.MULTILINE)
        for target in [*referred, *LINK.findall(text), *SOURCE.findall(text)]:
            targets.add(target)
            place = root / target.removeprefix(repository)
            if not target.startswith(repository) or not resolves(str(place), root / "README.md"):
                wrong.append(f"{project.name}: {target}")

    assert targets
    assert wrong == []


def linked(name, text):
    """The paths from the root to which a document links."""
    targets = (target.partition("#")[0] for target in LINK.findall(prose(text)))
    return {
        posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
        for target in targets
        if target and not FOREIGN.match(target)
    }


def test_every_document_can_be_reached_from_the_readme(documents):
    reached, ways = set(), ["README.md"]
    while ways:
        name = ways.pop()
        if name not in reached and name in documents:
            reached.add(name)
            targets = linked(name, documents[name])
            # A link to a folder shows what is in it.
            ways += [other for other in documents if {other, posixpath.dirname(other)} & targets]
    lost = {name for name in documents if name.startswith("docs/")} - reached

    assert lost == set()


def shell_lines(text):
    for language, block in FENCE.findall(text):
        if language in {"sh", "shell", "bash", "console"}:
            yield from (line.strip().removeprefix("$ ") for line in block.splitlines())


def shell_of(documents):
    return [(name, line) for name, text in documents.items() for line in shell_lines(text)]


def test_make_targets_in_documents_exist(documents, root):
    makefiles = (root / "Makefile").read_text() + (root / "deploy/make.mk").read_text()
    targets = set(re.findall(r"^([a-z0-9]+):", makefiles, re.MULTILINE))
    named = {
        (name, target)
        for name, text in documents.items()
        for target in re.findall(r"`make ([a-z0-9]+)[^`]*`", text)
    } | {
        (name, match[1])
        for name, line in shell_of(documents)
        if (match := re.match(r"make ([a-z0-9]+)", line))
    }

    assert named
    assert sorted((name, target) for name, target in named if target not in targets) == []


def exists(words, top):
    """Whether the command line knows these verbs and options."""
    found, verbs = top, [word for word in words if re.fullmatch(r"[a-z]+", word)]
    for verb in verbs:
        if not hasattr(found, "commands"):
            break
        found = found.commands.get(verb)
        if found is None:
            return False
    known = {
        option
        for command in (found, top)
        for p in command.params
        for option in (*p.opts, *p.secondary_opts)
    }
    known.add("--help")
    if found.context_settings.get("ignore_unknown_options"):
        return True  # a service, which has its own
    return {word.partition("=")[0] for word in words if word.startswith("--")} <= known


def test_commands_in_documents_exist(documents):
    top = typer.main.get_command(app)
    lines = shell_of(documents) + [
        (name, span)
        for name, text in documents.items()
        for span in re.findall(r"`([^`\n]+)`", prose(text))
    ]
    wrong = []
    for name, line in lines:
        command, *words = re.sub(r"#.*", "", line).split() or [""]
        if command.rpartition("/")[2] == "duly" and not exists(words, top):
            wrong.append(f"{name}: {line}")

    assert wrong == []


def test_python_in_documents_parses(documents):
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    wrong = []
    for name, text in documents.items():
        for language, block in FENCE.findall(text):
            if language == "python":
                try:
                    compile(textwrap.dedent(block), name, "exec", flags)
                except SyntaxError as error:
                    wrong.append(f"{name}: {error}")

    assert wrong == []


def test_no_two_adrs_have_the_same_number(documents):
    names = sorted(name for name in documents if name.startswith("docs/adr/"))
    numbers = [int(name.removeprefix("docs/adr/")[:4]) for name in names]

    # A number may be missing: it was reserved for a decision that was not taken.
    assert [number for number in numbers if numbers.count(number) > 1] == []


def test_adrs_have_every_part(documents):
    parts = ["Context", "Decision", "Consequences", "Alternatives", "Enforced by"]
    records = {name: text for name, text in documents.items() if name.startswith("docs/adr/")}

    assert len(records) > 1
    assert {
        name: found
        for name, text in records.items()
        if (found := re.findall(r"^## (.+)$", text, re.MULTILINE)) != parts
    } == {}


def test_architecture_names_every_key(documents):
    keys = set(QueueKeys.__slots__) - {"name", "prefix"}
    table = documents["docs/architecture.md"].partition("## Keys")[2].partition("\n## ")[0]

    assert keys - set(re.findall(r"`(\w+)`", table)) == set()


def test_paths_in_documents_exist(documents, root):
    path = re.compile(r"`((?:tests|shared|services|deploy|docs|requirements)/[\w./-]+)`")
    wrong = [
        f"{name}: {target}"
        for name, text in documents.items()
        for target in path.findall(prose(text))
        # What the page on adding a job has its reader make.
        if not (root / target).exists() and not target.endswith("/invoices.py")
    ]

    assert wrong == []


def test_the_api_page_has_every_public_name(documents):
    cells = re.findall(r"^\| (`[^|]+`) \|", documents["docs/api.md"], re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}

    assert named == {name for name in duly.__all__ if not name.startswith("_")}


def rooms(root):
    """Every module of the engine, as "room.module"; a package inside a room counts as one."""
    engine = root / "shared/src/duly/engine"
    paths = [path.relative_to(engine).parts for path in engine.rglob("*.py")]
    return {
        f"{parts[0]}.{parts[1].removesuffix('.py')}"
        for parts in paths
        if len(parts) > 1 and parts[1] != "__init__.py"
    }


def test_architecture_names_the_modules_of_the_engine(documents, root):
    page, known = documents["docs/architecture.md"], rooms(root)
    room_names = "|".join({name.partition(".")[0] for name in known})
    named = set(re.findall(rf"`((?:{room_names})\.\w+)`", page))
    rows = re.findall(rf"^\| `({room_names})` \| [^|]+ \| (.+) \|$", page, re.MULTILINE)
    listed = {f"{room}.{word}" for room, row in rows for word in re.findall(r"`(\w+)`", row)}

    assert named - known == set()
    assert known - listed == set()


def test_architecture_names_every_script(documents, root):
    scripts = {path.name for path in (root / "shared/src/duly/engine/storage/lua").glob("*.lua")}
    named = set(re.findall(r"`(\w+\.lua)`", documents["docs/architecture.md"]))

    assert named == scripts


def test_log_messages_in_documents_are_those_of_the_code(documents, texts):
    table = documents["docs/telemetry.md"].partition("### Messages")[2].partition("\n#")[0]
    cells = re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
    messages = [message for cell in cells for message in re.findall(r"`([^`]+)`", cell)]
    code = " ".join(text for name, text in texts.items() if "/src/" in name)

    assert messages
    assert [message for message in messages if f'"{message}"' not in code] == []
