"""What every section of the configuration is made of."""

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from duly.runtime.durations import parse_duration

Duration = Annotated[timedelta, BeforeValidator(parse_duration), Field(gt=timedelta(0))]
"""A timedelta above zero that a person writes as `5s`; bare numbers are seconds."""


class Section(BaseModel):
    """A part of the configuration: frozen, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
