"""The section `monitor` of the configuration."""

from datetime import timedelta
from ipaddress import ip_network
from string import Formatter
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator

from duly.job import NAME_PATTERN
from duly.runtime.section import Duration, Section

RoleName = Literal["viewer", "operator", "admin"]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]
UserName = Annotated[str, Field(pattern=NAME_PATTERN)]


def _is_network(value: str) -> str:
    ip_network(value, strict=False)
    return value


Network = Annotated[str, AfterValidator(_is_network)]
"""An address, or a network such as 10.0.0.0/8."""


class UserSettings(Section):
    """`monitor.users.<name>`: somebody who may log in, with access: basic."""

    password: SecretStr = Field(
        SecretStr(""), description="password of the user, required with access: basic"
    )
    password_file: str | None = Field(
        None, description="file with that password, read again for each log-in"
    )
    role: RoleName = Field("viewer", description="what the user may do")


class TokenSettings(Section):
    """`monitor.tokens.<name>`: a token of a program, of which only the digest is known."""

    sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = Field(
        "", description="SHA-256 of the token, in hexadecimal; required"
    )
    scopes: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        ("viewer",), description="roles and permissions that the token has"
    )


class ProxySettings(Section):
    """`monitor.proxy`: what is believed of a proxy, from the networks named only."""

    networks: tuple[Network, ...] = Field(
        (), description="addresses or networks whose X-Forwarded-… headers are believed"
    )
    user_header: HeaderName = Field(
        "X-Forwarded-User", description="names the user, with access: proxy"
    )
    groups_header: HeaderName = Field(
        "X-Forwarded-Groups", description="names the user's groups, separated by commas"
    )


class OidcSettings(Section):
    """`monitor.oidc`: the identity provider where people log in, with access: oidc."""

    issuer: str = Field("", description="address of the provider, exactly as it names itself")
    client_id: str = Field("", description="name of the monitor at the provider")
    client_secret: SecretStr | None = Field(
        None, description="secret of that client; neither it nor its file: a public client"
    )
    client_secret_file: str | None = Field(
        None, description="file with that secret, read again for each log-in"
    )
    scopes: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        ("openid", "profile", "email"), description="what is asked for at the provider"
    )
    user_claim: str = Field(
        "preferred_username", description="claim that names the user; where it is missing: sub"
    )
    groups_claim: str = Field(
        "groups",
        description="claim with the user's groups; dots lead into objects: realm_access.roles",
    )
    email_verified_claim: str = Field(
        "email_verified",
        description="claim by which the provider says that it has verified the address (Entra: "
        "xms_edov); empty: all its addresses are believed, for an issuer where nobody chooses "
        "their own",
    )
    redirect_url: str = Field(
        "",
        description="where the provider sends browsers back to, ending in /login/callback; empty: "
        "made of the address that the browser asked for",
    )
    ca_file: str | None = Field(
        None, description="file with the certificates that sign the provider's, in PEM"
    )
    timeout: Duration = Field(
        timedelta(seconds=5), description="how long one answer of the provider may take"
    )


class SessionSettings(Section):
    """`monitor.session`: cookies of people who are logged in."""

    keys: SecretStr | None = Field(
        None,
        description="keys that sign cookies, separated by spaces, the newest first; empty: one "
        "made of the password or of the client's secret",
    )
    keys_file: str | None = Field(
        None, description="file with those keys, read again for each request"
    )
    age: Duration = Field(
        timedelta(hours=12), description="how long a log-in lasts, whatever is done meanwhile"
    )


class AuditSettings(Section):
    """`monitor.audit`: how much is kept of who did what."""

    length: Annotated[int, Field(ge=1)] = Field(
        100_000, description="records of the audit that are kept, about; the oldest go first"
    )
    age: Duration = Field(
        timedelta(days=365), description="how long a record of the audit is kept at most, about"
    )


_PLACES = {
    "trace": {"trace_id"},
    "logs": {"task_id", "queue", "kind", "server", "trace_id", "from_ms", "to_ms"},
}


class LinkSettings(Section):
    """`monitor.links`: addresses of traces and logs, as templates; empty: no link."""

    trace: str = Field("", description="address of a trace, with {trace_id}")
    logs: str = Field(
        "",
        description=(
            "address of an attempt's logs, with {task_id}, {queue}, {kind}, {server}, {trace_id}, "
            "{from_ms} and {to_ms}"
        ),
    )

    @field_validator("trace", "logs")
    @classmethod
    def _fits(cls, template: str, info: ValidationInfo) -> str:
        known = _PLACES[str(info.field_name)]
        if not template:
            return template
        if not template.startswith(("https://", "http://")):
            raise ValueError("must begin with https:// or http://")
        try:
            named = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
        except ValueError as error:
            raise ValueError(f"is no template: {error}; write {{{{ for a brace") from None
        if strange := sorted(named - known):
            names = ", ".join(f"{{{name}}}" for name in sorted(known))
            raise ValueError(f"has no value for {{{strange[0]}}}: use {names}")
        return template


class MonitorSettings(Section):
    """`monitor`: who may see it, and where."""

    host: str = Field("127.0.0.1", description="address to listen on")
    prefix: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9_.-]+)*$")] = Field(
        "/monitoring", description="path under which the pages are served"
    )
    ui: bool = Field(
        default=True, description="serve pages and API; false: /metrics and the probes only"
    )
    access: Literal["closed", "local", "basic", "token", "proxy", "oidc"] = Field(
        "closed",
        description="closed: nobody; local: loopback, no login; basic: user name and password; "
        "token: programs with a token; proxy: whom a proxy names; oidc: whom an identity provider "
        "names",
    )
    username: str = Field("duly", description="user name for access: basic")
    password: SecretStr | None = Field(
        None, description="password of that user, required unless there are monitor.users"
    )
    password_file: str | None = Field(
        None, description="file with that password, read again for each log-in"
    )
    role: RoleName | None = Field(
        None,
        description="role of those who have no other; empty: admin with access: local and for "
        "monitor.username, else none, which is refused",
    )
    read_only: bool = Field(default=False, description="nobody may change anything")
    users: dict[UserName, UserSettings] = Field(default_factory=dict)
    tokens: dict[UserName, TokenSettings] = Field(default_factory=dict)
    roles: dict[RoleName, tuple[str, ...]] = Field(
        default_factory=dict, description="groups whose members have the role"
    )
    proxy: ProxySettings = ProxySettings()
    oidc: OidcSettings = OidcSettings()
    session: SessionSettings = SessionSettings()
    environment: str = Field("", description="badge on every page, for example production")
    audit: AuditSettings = AuditSettings()
    links: LinkSettings = LinkSettings()
