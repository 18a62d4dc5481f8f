"""The shop's own settings."""

from pydantic import BaseModel, SecretStr


class ShopSettings(BaseModel):
    """The section `settings` of duly.yaml; `DULY_SETTINGS__DATABASE_URL` overrides its key."""

    database_url: SecretStr = SecretStr("sqlite+aiosqlite:///shop.db")
    sender: str = "shop@example.com"
