"""People and products for the demonstration's two companies, as plain records.

The names are invented; prices and places are such as a Brazilian supermarket has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from beira.apps.voice.records import Person, Product, StockMovement
from beira.sdk import Fact, State, site_partition

_PEOPLE = {
    "Angeloni": (
        ("João Silva", "caixa"), ("João Souza", "padeiro"), ("Maria Clara Nunes", "gerente"),
        ("Antônia Ferreira", "caixa"), ("Rafael Lima", "repositor"), ("Beatriz Rocha", "açougue"),
        ("Wesley Santos", "estoque"), ("Fernanda Alves", "hortifrúti"),
    ),
    "Bistek": (
        ("João Pereira", "caixa"), ("João Batista Moraes", "estoque"), ("Camila Duarte", "gerente"),
        ("Gustavo Ramos", "repositor"), ("Patrícia Gomes", "caixa"), ("Sérgio Barbosa", "açougue"),
        ("Luiza Martins", "padaria"), ("Valdir Costa", "entregas"),
    ),
}  # fmt: skip
_NICKNAMES = {"João Batista Moraes": ["Batista"], "Maria Clara Nunes": ["Clarinha"],
              "Wesley Santos": ["Uéslei"]}  # fmt: skip

# name, cents, unit, place, also said
_SOLD: tuple[tuple[str, int, str, str, list[str]], ...] = (
    ("Arroz branco 5 kg", 2_799, "un", "corredor 3", ["arroz branco"]),
    ("Arroz integral 1 kg", 899, "un", "corredor 3", ["arroz integral"]),
    ("Feijão preto 1 kg", 849, "un", "corredor 3", ["feijão preto"]),
    ("Feijão carioca 1 kg", 799, "un", "corredor 3", ["feijão carioca", "feijão carioquinha"]),
    ("Leite integral 1 L", 549, "un", "corredor 5", ["leite", "leite integral"]),
    ("Leite desnatado 1 L", 559, "un", "corredor 5", ["leite desnatado"]),
    ("Café em pó 500 g", 1_890, "un", "corredor 4", ["café", "café em pó"]),
    ("Açúcar refinado 1 kg", 479, "un", "corredor 4", ["açúcar"]),
    ("Óleo de soja 900 ml", 729, "un", "corredor 3", ["óleo", "óleo de soja"]),
    ("Macarrão espaguete 500 g", 459, "un", "corredor 3", ["macarrão", "espaguete"]),
    ("Farinha de trigo 1 kg", 519, "un", "corredor 4", ["farinha", "farinha de trigo"]),
    ("Coca-Cola 2 L", 999, "un", "corredor 6", ["coca", "coca cola"]),
    ("Guaraná 2 L", 749, "un", "corredor 6", ["guaraná"]),
    ("Cerveja lata 350 ml", 389, "un", "corredor 6", ["cerveja"]),
    ("Pão francês", 1_590, "kg", "padaria", ["pão", "pãozinho", "cacetinho"]),
    ("Banana prata", 599, "kg", "hortifrúti", ["banana"]),
    ("Tomate", 899, "kg", "hortifrúti", []),
    ("Cebola", 499, "kg", "hortifrúti", []),
    ("Frango congelado", 1_290, "kg", "açougue", ["frango"]),
    ("Carne moída", 3_490, "kg", "açougue", []),
    ("Queijo minas", 4_290, "kg", "frios", ["queijo"]),
    ("Ovos brancos", 99, "un", "corredor 5", ["ovo"]),
    ("Sabão em pó 800 g", 1_149, "un", "corredor 8", ["sabão", "sabão em pó"]),
    ("Detergente 500 ml", 279, "un", "corredor 8", ["detergente"]),
    ("Papel higiênico 12 rolos", 2_190, "un", "corredor 8", ["papel higiênico"]),
)
_DEARER_PERCENT = {"Angeloni": 100, "Bistek": 97}


def records(tenant: str) -> list[State]:
    """The people and products of a company by its name; those of Angeloni for any other."""
    name = tenant if tenant in _PEOPLE else "Angeloni"
    key = name.lower()
    people: list[State] = [
        Person(id=f"{key}-person-{n:02d}", name=who, role=role, also_said=_NICKNAMES.get(who, []))
        for n, (who, role) in enumerate(_PEOPLE[name], 1)
    ]
    products: list[State] = [
        Product(
            id=f"{key}-product-{n:02d}",
            name=what,
            also_said=also,
            price_cents=cents * _DEARER_PERCENT[name] // 100,
            unit=unit,
            place=place,
        )
        for n, (what, cents, unit, place, also) in enumerate(_SOLD, 1)
    ]
    return people + products


def sample(
    tenant: str, sites: Iterable[str], now: datetime
) -> Iterator[tuple[State | Fact, str | None]]:
    """All of a company's sample records, each with its partition: its people and products, and what
    each of its shops has in stock to begin with."""
    made = records(tenant)
    for record in made:
        yield record, None
    for site in sites:
        for number, product in enumerate(p for p in made if isinstance(p, Product)):
            movement = StockMovement(
                product=product.id,
                name=product.name,
                quantity_milli=(12 + 7 * number % 41) * 1_000,
                unit=product.unit,
                reason="in",
                at=now,
            )
            yield movement, site_partition(site)
