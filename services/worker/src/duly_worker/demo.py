"""The demo's data: customers, products, and random orders."""

from dataclasses import dataclass
from decimal import Decimal
from random import Random

DOMAIN = "example.com"
"""Reserved for examples: no mail is delivered there, and nobody has an address there."""

USERNAMES = (
    *("amelie.duval", "bjorn.aas", "carla_rossi", "d.okafor", "elif.yilmaz", "finn.oreilly"),
    *("grace.kim", "henrik_lund", "ines.carvalho", "jakub.nowak", "kavya.rao", "liam.walsh"),
    *("maria.jose", "noor.haddad", "oskar.virtanen", "priya_nair", "quentin.roux", "rosa.diaz"),
    *("sven.becker", "tomoko.ito", "uma.shankar", "viktor.horvat", "wendy.clarke", "xin.zhao"),
    *("yara.mendes", "zoltan.kiss", "anna-lena.vogt", "ben.osei", "chloe.martin", "dmitri.volkov"),
)
PRODUCTS = (
    ("Espresso machine", Decimal("249.00")),
    ("Coffee beans, 1 kg", Decimal("18.90")),
    ("Baker's oven glove", Decimal("12.50")),
    ('Monitor 27"', Decimal("329.00")),
    ('Desk lamp "Aurora"', Decimal("59.95")),
    ("Mechanical keyboard", Decimal("119.00")),
    ("Wireless mouse", Decimal("29.99")),
    ("USB-C cable, 2 m", Decimal("9.99")),
    ("Notebook A5, dotted", Decimal("7.45")),
    ("Fountain pen", Decimal("34.00")),
    ("Trail running shoes", Decimal("139.95")),
    ("Rain jacket", Decimal("89.00")),
    ("Wool socks (3 pairs)", Decimal("24.00")),
    ("Water bottle 750 ml", Decimal("16.95")),
    ("Camping stove", Decimal("64.50")),
    ("Cast-iron pan", Decimal("45.00")),
    ("Chef's knife", Decimal("79.90")),
    ("Board game: Harbour", Decimal("38.49")),
    ("Plant pot Ø 20 cm", Decimal("14.25")),
    ("Wood screw 4x40", Decimal("0.035")),
)
"""Name and unit price."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An order that is not stored yet, as positions in `USERNAMES` and `PRODUCTS`, from 0."""

    customer: int
    lines: tuple[tuple[int, int], ...]
    """Product and quantity."""


def email(username: str) -> str:
    """Return the address of a demo customer."""
    return f"{username}@{DOMAIN}"


def draft(dice: Random) -> Draft:
    """Return an order of one to four products."""
    products = dice.sample(range(len(PRODUCTS)), dice.randint(1, 4))
    lines = tuple((product, dice.randint(1, 5)) for product in products)
    return Draft(dice.randrange(len(USERNAMES)), lines)
