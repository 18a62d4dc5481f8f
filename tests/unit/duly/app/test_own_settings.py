import pytest
from pydantic import BaseModel

import duly
from duly.errors import ConfigError


class Payment(BaseModel):
    url: str = "https://pay"


class ShopSettings(BaseModel):
    currency: str = "EUR"
    payment: Payment = Payment()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_code_that_no_worker_runs_reads_the_same_section(folder, monkeypatch):
    (folder / "duly.yaml").write_text("settings: {currency: CHF}\nlog: {level: DEBUG}\n")
    monkeypatch.setenv("DULY_SETTINGS__PAYMENT__URL", "https://pay.example.com")

    settings = duly.load_settings(ShopSettings)

    assert isinstance(settings, ShopSettings)
    assert settings.model_dump() == {
        "currency": "CHF",
        "payment": {"url": "https://pay.example.com"},
    }


def test_without_any_configuration_the_defaults_of_the_model_hold():
    assert duly.load_settings(ShopSettings).model_dump() == ShopSettings().model_dump()


def test_the_file_can_be_named(folder):
    (folder / "other.yaml").write_text("settings: {currency: CHF}\n")

    assert duly.load_settings(ShopSettings, folder / "other.yaml").currency == "CHF"


def test_a_mistake_names_the_key_and_the_remedy(folder):
    (folder / "duly.yaml").write_text("settings: {curency: CHF}\n")

    with pytest.raises(ConfigError, match=r"did you mean settings\.currency"):
        duly.load_settings(ShopSettings)


def test_a_mistake_in_another_section_is_found_too(folder):
    (folder / "duly.yaml").write_text("redis: {prt: 1}\n")

    with pytest.raises(ConfigError, match=r"did you mean redis\.port"):
        duly.load_settings(ShopSettings)
