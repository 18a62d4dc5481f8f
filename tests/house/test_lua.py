"""A script says what it takes, what it returns and what it keeps; and is declared once.

What several scripts need is a function of its own, which says the same of itself.
"""

import importlib
import pkgutil
import re
from collections import Counter

import pytest

from duly.engine.storage import scripts
from duly.engine.storage.keys import queue_keys

ENGINE = "shared/src/duly/engine/storage/"
KEY_BUILT = re.compile(r"redis\.p?call\('[A-Z]+',\s*(?:'|\"|ARGV)")
NO_KEY_COMMANDS = re.compile(r"redis\.p?call\('(TIME|XINFO|XGROUP|XREADGROUP|PUBLISH|MEMORY)'")


def lua_in(texts, folder):
    """Return name → text of the Lua files right in a folder."""
    return {
        name.removeprefix(folder).removesuffix(".lua"): text
        for name, text in texts.items()
        if name.startswith(folder) and "/" not in name.removeprefix(folder)
    }


@pytest.fixture
def scripts_by_name(texts):
    return lua_in(texts, ENGINE + "lua/")


@pytest.fixture
def declarations():
    """Return every `Script` of the modules that declare them."""
    modules = [
        importlib.import_module(f"{scripts.__name__}.{module.name}")
        for module in pkgutil.iter_modules(scripts.__path__)
    ]
    return [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, scripts.Script)
    ]


@pytest.fixture
def functions(texts):
    return lua_in(texts, ENGINE + "lua/functions/")


def used(text):
    """Return which functions a text says that it uses."""
    found = re.search(r"^-- Uses  (.+)$", header(text), re.MULTILINE)
    return found[1].split() if found else []


def words(text, between=","):
    """Return the words of a list, without what stands in parentheses."""
    return [word.strip() for word in re.sub(r"\([^()]*\)", "", text).split(between) if word.strip()]


def named(head, part, between=","):
    """Return the names that a part of a header lists, up to its first sentence."""
    found = re.search(rf"^-- {part}  (.*(?:\n--    .*)*)", head, re.MULTILINE)
    if not found:
        return []
    text = re.sub(r"\s*\n--\s*", " ", found[1])
    if between == ";":
        return re.sub(r"\([^()]*\)", "", text).partition(". ")[0].split(";")
    return words(re.sub(r"\([^()]*\)", "", text).partition(". ")[0], between)


def code_of(text):
    """Return a script without its header and comments."""
    return re.sub(r"--.*", "", text.removeprefix(header(text)))


def header(text):
    return "".join(
        line + "\n"
        for line in re.split(r"^(?!--)", text, maxsplit=1, flags=re.MULTILINE)[0].splitlines()
    )


@pytest.mark.parametrize("part", ["KEYS", "ARGV", "Returns", "Invariant"])
def test_header_names_every_part(scripts_by_name, part):
    silent = [
        name
        for name, text in scripts_by_name.items()
        if not re.search(rf"^-- {part}  \S", header(text), re.MULTILINE)
    ]

    assert scripts_by_name
    assert silent == []


@pytest.mark.parametrize("part", ["Takes", "Returns"])
def test_header_of_a_function_names_every_part(functions, part):
    assert functions
    assert [n for n, t in functions.items() if f"\n-- {part}  " not in header(t)] == []


def test_header_starts_with_a_sentence(scripts_by_name, functions):
    texts = scripts_by_name | functions
    assert [n for n, text in texts.items() if not re.match(r"-- [A-Z]", text)] == []


def test_a_function_has_a_file_of_its_name_alone(functions):
    other = [
        name
        for name, text in functions.items()
        if not re.fullmatch(
            rf"local function {name}\(.*\n(  .*\n)+end\n", text.removeprefix(header(text))
        )
    ]

    assert other == []


def test_no_function_is_written_twice(scripts_by_name, functions):
    names = Counter(
        name
        for text in (*scripts_by_name.values(), *functions.values())
        for name in re.findall(r"^\s*local function (\w+)", text, re.MULTILINE)
    )

    assert [name for name, times in names.items() if times > 1] == []


def test_what_is_used_is_named_and_what_is_named_is_used(scripts_by_name, functions):
    wrong = {}
    for name, text in (scripts_by_name | functions).items():
        code = text.removeprefix(header(text))
        called = {call for call in re.findall(r"(?<![\w.:])(\w+)\(", code) if call in functions}
        if sorted(called - {name}) != sorted(used(text)):
            wrong[name] = (called, used(text))

    assert wrong == {}


def test_a_function_is_used_by_several(scripts_by_name, functions):
    uses = Counter(name for text in (scripts_by_name | functions).values() for name in used(text))

    assert [name for name in functions if uses[name] < 2] == []


def test_every_script_has_one_declaration_and_every_declaration_a_script(
    scripts_by_name, declarations
):
    assert sorted(script.name for script in declarations) == sorted(scripts_by_name)


def test_the_header_names_what_the_declaration_names(scripts_by_name, declarations):
    wrong = {}
    for script in declarations:
        head = header(scripts_by_name[script.name])
        columns = script.argument_names[: -2 if script.columns else None]
        declared = {
            "KEYS": [*script.key_names, *(["any"] if script.any_keys else [])],
            "ARGV": list(columns) or ["none"],
            "COLUMNS": list(script.columns),
            "ROWS": [(sort, list(fields._fields)) for sort, fields in script.rows.items()],
        }
        told = {
            "KEYS": named(head, "KEYS", " "),
            "ARGV": named(head, "ARGV"),
            "COLUMNS": named(head, "COLUMNS"),
            "ROWS": [
                (sort.partition(":")[0].strip(), words(sort.partition(":")[2]))
                for sort in named(head, "ROWS", ";")
            ],
        }
        if declared != told:
            wrong[script.name] = (declared, told)

    assert wrong == {}


def test_what_is_declared_is_used(scripts_by_name, declarations):
    idle = {}
    for script in declarations:
        code = code_of(scripts_by_name[script.name])
        bound = set(re.findall(r"[\w]+", " ".join(re.findall(r"local (.*?) =", script.bindings))))
        # Sizes of rows and the width of columns may be of no interest.
        needed = {name for name in bound - {"width"} if not name.endswith("_SIZE")}
        row_fields = {
            f"{sort}_{name}".upper()
            for sort, fields in script.rows.items()
            for name in fields._fields
        }
        if "ipairs(KEYS)" in code:  # looks at each key
            needed -= set(script.key_names)
        if "unpack(ARGV, at" in code:  # hands over a row, or a part of one, whole
            needed -= row_fields
        unused = {name for name in needed if not re.search(rf"\b{name}\b", code)}
        if unused:
            idle[script.name] = unused

    assert idle == {}


def test_what_is_used_is_declared(scripts_by_name, declarations, functions):
    loose = {}
    for script in declarations:
        code = code_of(scripts_by_name[script.name])
        constants = set(re.findall(r"\b[A-Z][A-Z_]+\b", re.sub(r"'[^']*'", "", code)))
        unknown = constants - set(re.findall(r"\w+", script.bindings)) - {"ARGV", "KEYS"}
        if unknown:
            loose[script.name] = unknown

    assert loose == {}


def test_scripts_use_names_and_never_numbers(scripts_by_name, declarations):
    numbered = [
        script.name
        for script in declarations
        if re.search(r"(KEYS|ARGV)\[\d", code_of(scripts_by_name[script.name]))
        or (
            "KEYS[" in code_of(scripts_by_name[script.name])
            and not (script.any_keys or script.repeats)
        )
    ]

    assert numbered == []


def test_functions_are_handed_what_they_use(functions):
    assert [name for name, text in functions.items() if re.search("KEYS|ARGV", code_of(text))] == []


def test_no_local_hides_what_is_declared(scripts_by_name, declarations, functions):
    hidden = {}
    for script in declarations:
        code = code_of(scripts_by_name[script.name])
        made = ",".join(
            [
                *re.findall(r"local ((?:\w+(?:, )?)+)", code.replace("local function", "")),
                *re.findall(r"function \w*\(([\w, ]*)\)", code),
                *re.findall(r"for ([\w, ]+?) (?:in|=)", code),
            ]
        )
        bound = {
            name for names in re.findall(r"local (.*?) =", script.bindings) for name in words(names)
        }
        if both := (set(words(made)) | set(functions)) & bound:
            hidden[script.name] = both

    assert hidden == {}


def test_a_call_hands_over_what_the_declaration_says():
    keys = queue_keys("default")
    tasks = [scripts.NewTask(id=name, data=b"{}", due_ms=5, lock="digest") for name in ("a", "b")]

    call = scripts.add(keys, tasks, max_length=9, whole=True)

    assert call.keys == (keys.stream, keys.index, keys.scheduled, keys.locks, keys.records)
    assert dict(zip(call.script.argument_names, call.args, strict=False)) == {
        "now_ms": 0, "max_length": 9, "mode": "all", "control": keys.control, "n": 2, "width": 5,
    }  # fmt: skip
    assert call.args[6:] == ["a", "b", b"{}", b"{}", 5, 5, "digest", "digest", 0, 0]


def test_the_locals_of_a_script_say_where_everything_is(declarations):
    (complete,) = [script for script in declarations if script.name == "complete"]

    assert "local group, minute, dirty, n, width = ARGV[1], tonumber(ARGV[2])," in complete.bindings
    assert (
        "local at_stream_id, at_id, at_lock = 5 + 0 * n, 5 + 1 * n, 5 + 2 * n" in complete.bindings
    )
    assert "local FIRST = 6 + width * n" in complete.bindings
    assert "local RUN_KIND, RUN_NUMBER = 0, 1" in complete.bindings


def test_no_script_builds_a_key(scripts_by_name):
    # A key that a script makes up may lie in another slot of a cluster.
    built = [
        f"{name}: {line.strip()}"
        for name, text in scripts_by_name.items()
        for line in text.splitlines()
        if KEY_BUILT.search(line) and not NO_KEY_COMMANDS.search(line)
    ]

    assert built == []


def test_scripts_are_shipped_with_the_engine(scripts_by_name, declarations):
    for script in declarations:
        assert script.text.endswith(scripts_by_name[script.name])


def test_functions_are_put_before_a_script_once_each(scripts_by_name, declarations, functions):
    for script in declarations:
        own = scripts_by_name[script.name]
        before = re.findall(r"^local function (\w+)", script.text.removesuffix(own), re.MULTILINE)
        needed = set(used(own))
        needed |= {inner for function in needed for inner in used(functions[function])}
        assert sorted(before) == sorted(needed)
        for function in before:
            assert set(used(functions[function])) <= set(before[: before.index(function)])


READS = {
    "EXISTS", "GET", "HEXISTS", "HGET", "HGETALL", "HLEN", "HMGET", "HSCAN", "HSTRLEN", "TIME",
    "TYPE", "XINFO", "XLEN", "XPENDING", "XRANGE", "ZCARD", "ZCOUNT", "ZLEXCOUNT", "ZRANGE",
    "ZRANGEBYLEX", "ZRANGEBYSCORE", "ZREVRANGE", "ZSCORE",
}  # fmt: skip


def test_a_script_asks_first_whether_it_may_write(declarations):
    unasked = {}
    for script in declarations:
        asked = set(re.findall(r"acl_check_cmd\('(\w+)'", script.text))
        called = set(re.findall(r"redis\.call\('(\w+)'", script.text)) - READS
        if called != asked - {"HDEL"} | (called & {"HDEL"}):
            unasked[script.name] = called ^ asked

    assert unasked == {}
