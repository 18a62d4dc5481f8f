from datetime import timedelta
from typing import Annotated

import pytest
from pydantic import BaseModel, BeforeValidator, Field, field_validator

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


class Limits(BaseModel):
    most: timedelta | None = None
    steps: list[timedelta] = []


class Reminders(BaseModel):
    every: timedelta = timedelta(minutes=10)
    positive: Annotated[timedelta, Field(gt=timedelta(0), alias="at-least")] = timedelta(1)
    limits: Limits = Limits()
    by_name: dict[str, Annotated[timedelta, Field(gt=timedelta(0))]] = {}
    either: timedelta | str = ""
    own: Annotated[timedelta, BeforeValidator(lambda text: timedelta(weeks=int(text[0])))] = (
        timedelta(0)
    )
    own_too: timedelta = timedelta(0)

    @field_validator("own_too", mode="before")
    @classmethod
    def _weeks(cls, text):
        return timedelta(weeks=int(text[0]))


def test_durations_are_written_as_everywhere_in_the_configuration(folder, monkeypatch):
    (folder / "duly.yaml").write_text(
        "settings:\n  every: 250ms\n  at-least: 2h\n  limits: {steps: [1m, 90, PT2M]}\n"
        "  by_name: {north: 7d}\n  either: 5s\n  own: 2w\n  own_too: 3w\n"
    )
    monkeypatch.setenv("DULY_SETTINGS__LIMITS__MOST", "60")

    settings = duly.load_settings(Reminders)

    assert settings.every == timedelta(milliseconds=250)
    assert settings.positive == timedelta(hours=2)
    assert settings.limits.most == timedelta(seconds=60)
    assert settings.limits.steps == [timedelta(seconds=60 + 30 * n) for n in range(3)]
    assert settings.by_name == {"north": timedelta(days=7)}
    assert settings.either == "5s"
    assert (settings.own, settings.own_too) == (timedelta(weeks=2), timedelta(weeks=3))


@pytest.mark.parametrize("text", ["5 parsecs", "-5s", "[1]"])
def test_what_is_no_duration_is_refused_as_everywhere(monkeypatch, text):
    monkeypatch.setenv("DULY_SETTINGS__EVERY", text)

    with pytest.raises(ConfigError, match=r"not a duration \(write it as 250ms, 5s, 2m, 1h or 7d"):
        duly.load_settings(Reminders)
