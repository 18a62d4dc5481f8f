import sys

import pytest

from duly.app.configuration import configured
from duly.app.own_settings import load_settings
from duly.errors import ConfigError
from duly.runtime.loading import load
from duly.runtime.settings import Settings

MODULE = """
from pydantic import BaseModel, SecretStr
from duly import App

class Payment(BaseModel):
    url: str
    retries: int = 3

class ShopSettings(BaseModel):
    currency: str = "EUR"
    key: SecretStr | None = None
    payment: Payment

app = App("shop", settings=ShopSettings)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_shop.py").write_text(MODULE)
    yield tmp_path
    sys.modules.pop("own_shop", None)


def test_the_own_section_is_read_by_its_model(folder, monkeypatch):
    (folder / "duly.yaml").write_text(
        "app: own_shop:app\nsettings:\n  payment: {url: https://pay, retries: 5}\n"
    )
    monkeypatch.setenv("DULY_SETTINGS__PAYMENT__RETRIES", "7")
    monkeypatch.setenv("DULY_SETTINGS__KEY", "secret")

    settings, app = configured(load(Settings))

    own = settings.settings
    assert isinstance(own, app.settings_model)
    assert (own.currency, own.payment.url, own.payment.retries) == ("EUR", "https://pay", 7)
    assert own.key.get_secret_value() == "secret"


def test_the_application_reads_the_file_that_its_service_was_given(folder):
    (folder / "other.yaml").write_text("settings: {currency: CHF, payment: {url: x}}\n")

    _, app = configured(load(Settings), folder / "other.yaml", app="own_shop:app")

    assert load_settings(app.settings_model).currency == "CHF"


def test_what_a_flag_names_wins(folder):
    (folder / "duly.yaml").write_text("app: nowhere:app\nsettings: {payment: {url: x}}\n")

    _, app = configured(load(Settings), app="own_shop:app")

    assert app.name == "shop"


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("{}", "settings.payment: is required"),
        ("{payment: {url: x}, curency: USD}", "did you mean settings.currency?"),
        ("{payment: {url: x, retries: many}}", "settings.payment.retries: the value should be"),
    ],
)
def test_a_mistake_in_the_own_section_is_told_like_any_other(folder, section, expected):
    (folder / "duly.yaml").write_text(f"app: own_shop:app\nsettings: {section}\n")

    with pytest.raises(ConfigError) as caught:
        configured(load(Settings))

    assert expected in str(caught.value)
    assert "many" not in str(caught.value)


def test_services_that_do_not_know_the_application_leave_its_section_alone(folder, monkeypatch):
    (folder / "duly.yaml").write_text("settings: {anything: [1, {deep: null}]}\n")
    monkeypatch.setenv("DULY_SETTINGS__PAYMENT__URL", "https://pay")

    settings = load(Settings)

    expected = {"anything": [1, {"deep": None}], "payment": {"url": "https://pay"}}
    assert settings.settings == expected


def test_a_task_whose_queue_is_not_declared_is_refused(folder):
    (folder / "own_shop.py").write_text(
        "from duly import App\napp = App('shop')\n@app.task(queue='defualt')\ndef send(): ...\n"
    )

    with pytest.raises(ConfigError) as caught:
        configured(load(Settings), app="own_shop:app")

    assert str(caught.value) == (
        "app shop: the task send wants the queue 'defualt', which is not declared (did you mean "
        "default? Or declare it as queues.defualt)"
    )
