import sys

import pytest

from duly.app.loading import load_app
from duly.errors import ConfigError


@pytest.fixture(autouse=True)
def shop(tmp_path, monkeypatch):
    """A package `shop` in the current directory, forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "jobs.py").write_text("from duly import App\napp = App('shop')\nnumber = 7\n")
    yield package
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in {"shop", "broken"}:
            del sys.modules[name]


def test_an_app_is_found_in_the_current_directory():
    assert load_app("shop.jobs:app").name == "shop"


def test_an_app_may_be_an_attribute_of_an_object(shop):
    (shop / "jobs.py").write_text("from duly import App\nclass Shop:\n    app = App('inner')\n")

    assert load_app("shop.jobs:Shop.app").name == "inner"


def test_a_taskiq_broker_of_dulys_is_an_application(shop):
    text = "from duly import DulyBroker\nbroker = DulyBroker('redis://127.0.0.1')\n"
    (shop / "jobs.py").write_text(text)

    app = load_app("shop.jobs:broker")

    assert (app.name, app.taskiq.queue_name, app.kinds) == ("shop", "default", {})


WRITE = "names no object in a module (write it as module:name, such as shop.jobs:app)"
START = "(start in the directory that holds elsewhere, or install its package)"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("shop.jobs", f"app: 'shop.jobs' {WRITE}"),
        (":app", "such as shop.jobs:app"),
        ("shop.jobz:app", "there is no module 'shop.jobz' (did you mean shop.jobs?)"),
        ("shopp:app", "there is no module 'shopp' (did you mean shop?)"),
        ("elsewhere:app", f"there is no module 'elsewhere' {START}"),
        ("shop.jobs:ap", "shop.jobs has no 'ap' (did you mean shop.jobs:app?)"),
        ("shop.jobs:number", "is a int, not a duly.App (did you mean shop.jobs:app?)"),
        ("shop:app", "shop has no 'app' (declare one there: app = duly.App(\"name\"))"),
    ],
)
def test_a_name_that_leads_nowhere_is_explained(name, expected):
    with pytest.raises(ConfigError) as caught:
        load_app(name)

    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 / 0", "importing shop.broken raised ZeroDivisionError: division by zero"),
        ("import nowhere", "importing shop.broken raised ModuleNotFoundError"),
        ("raise SystemExit(3)", "importing shop.broken raised SystemExit: 3"),
        ("def (", "importing shop.broken raised SyntaxError"),
        ("class E(Exception):\n    def __str__(self): raise self\nraise E", "raised E"),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_line_with_its_place(shop, text, expected):
    (shop / "broken.py").write_text(f"\n\n{text}\n")

    with pytest.raises(ConfigError) as caught:
        load_app("shop.broken:app")

    line = str(caught.value)
    assert expected in line
    assert "\n" not in line
    assert "python -c 'import shop.broken'" in line
    if "Syntax" not in line:
        assert "shop/broken.py:" in line


def test_a_wrong_declaration_says_itself_what_is_wrong(shop):
    (shop / "broken.py").write_text("from duly import App\napp = App('No Name')\n")

    with pytest.raises(ConfigError, match="'No Name' is no name"):
        load_app("shop.broken:app")
