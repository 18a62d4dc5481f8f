"""What documents point at is there."""

import ast
import posixpath
import re
import textwrap

import pytest
import typer

from duly.cli.main import app
from duly.engine.keys import QueueKeys

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
SOURCE = re.compile(r'\b(?:src|srcset)="([^"]+)"')
FENCE = re.compile(r"^ *```([\w-]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
VENDORED = re.compile(r"(^|/)(vendor|node_modules)/")
FOREIGN = re.compile(r"^[a-z]+:")


@pytest.fixture(scope="module")
def documents(texts):
    """Path from the root → content, of every document of ours."""
    return {
        name: text
        for name, text in texts.items()
        if name.endswith(".md") and not VENDORED.search(name)
    }


def prose(text):
    return FENCE.sub("", text)


def anchors(text):
    """The anchors that headings make, as GitHub names them."""
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


def linked(name, text):
    """The paths from the root that a document links to."""
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
    known = {option for command in (found, top) for p in command.params for option in p.opts}
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


def test_adrs_are_numbered_without_a_gap_or_a_double(documents):
    names = sorted(name for name in documents if name.startswith("docs/adr/"))
    numbers = [int(name.removeprefix("docs/adr/")[:4]) for name in names]

    assert numbers == list(range(len(numbers)))


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
