"""The assortment: 200 articles for house and garden, 25 families of 8."""

from msgspec import Struct

BEST_SELLER = 0.5  # the lowest pace of a best seller


class Article(Struct, frozen=True):
    """One SKU. `pace` is how fast it sells, relative to the fastest (1.0); the 3PL keeps `bulky`
    goods, the stores the others."""

    sku: str
    name: str
    pace: float
    bulky: bool


_COLOURS = "chalk white, warm linen, sage, slate blue, terracotta, moss, graphite, butter"
_GRITS = "grit 40, grit 60, grit 80, grit 100, grit 120, grit 180, grit 240, grit 400"
_LENGTHS = "1 m, 2 m, 3 m, 5 m, 8 m, 10 m, 15 m, 25 m"
_LITRES = "5 l, 10 l, 15 l, 20 l, 30 l, 45 l, 60 l, 80 l"
_SIZES = "60×40, 80×40, 80×60, 100×60, 120×60, 120×80, 140×80, 160×90"
_WOODS = "oak, walnut, ash, beech, pine, maple, cherry, larch"

# Families, and the variants of each, are in the order of their sales: the pace falls with the rank,
# as in most shops.
_FAMILIES = (
    ("BULB", "LED bulb E27", "2 W, 4 W, 5 W, 7 W, 9 W, 11 W, 14 W, 18 W"),
    ("SCRW", "Wood screws, box of 200", "3×20, 3.5×30, 4×30, 4×40, 4.5×50, 5×60, 5×80, 6×100"),
    ("EMUL", "Matt wall paint 2.5 l", _COLOURS),
    ("HERB", "Herb seeds", "basil, parsley, chive, coriander, mint, thyme, oregano, dill"),
    ("GLOV", "Work gloves", "size 6, size 7, size 8, size 9, size 10, size 11, size 12, size 13"),
    ("SAND", "Sanding sheets, pack of 10", _GRITS),
    ("BITS", "Screwdriver bit", "PH1, PH2, PZ1, PZ2, TX15, TX20, TX25, TX30"),
    ("DRIL", "Masonry drill bit", "3 mm, 4 mm, 5 mm, 6 mm, 7 mm, 8 mm, 10 mm, 12 mm"),
    ("CNDL", "Scented candle", "fig, cedar, lavender, citrus, vanilla, rose, pine, linen"),
    ("VEGE", "Vegetable seeds", "tomato, courgette, carrot, beetroot, lettuce, radish, pea, bean"),
    ("TPOT", "Clay pot", "12 cm, 15 cm, 18 cm, 22 cm, 26 cm, 30 cm, 36 cm, 42 cm"),
    ("CORD", "Extension lead", _LENGTHS),
    ("GLOS", "Wood gloss 0.75 l", _COLOURS),
    ("BOXS", "Storage box", _LITRES),
    ("ROPE", "Braided rope", _LENGTHS),
    ("TOWL", "Bath towel", _COLOURS),
    ("CUSH", "Cushion cover", _COLOURS),
    ("SHLF", "Wall shelf 80 cm", _WOODS),
    ("HOOK", "Coat hook rail", _WOODS),
    ("LAMP", "Ceiling lamp", "bath, kitchen, hall, bedroom, study, cellar, porch, attic"),
    ("SOIL", "Potting soil", _LITRES),
    ("RUGS", "Woven rug", _SIZES),
    ("DESK", "Trestle table top", _SIZES),
    ("DOOR", "Interior door", _WOODS),
    ("FLOR", "Parquet, pack of 2 m²", _WOODS),
)
_BULKY = frozenset({"SOIL", "RUGS", "DESK", "DOOR", "FLOR"})

ARTICLES = tuple(
    Article(
        sku=f"{code}-{number:02}",
        name=f"{name}, {variant}",
        pace=round(1 / (1 + 0.15 * rank + 0.4 * number), 4),
        bulky=code in _BULKY,
    )
    for rank, (code, name, variants) in enumerate(_FAMILIES)
    for number, variant in enumerate(variants.split(", "))
)
