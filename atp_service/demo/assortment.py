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


class _Family(Struct, frozen=True):
    code: str
    name: str
    variants: tuple[str, ...]
    bulky: bool = False


_COLOURS = (
    "chalk white",
    "warm linen",
    "sage",
    "slate blue",
    "terracotta",
    "moss",
    "graphite",
    "butter",
)
_MILLIMETRES = ("3 mm", "4 mm", "5 mm", "6 mm", "7 mm", "8 mm", "10 mm", "12 mm")
_SCREWS = ("3×20", "3.5×30", "4×30", "4×40", "4.5×50", "5×60", "5×80", "6×100")
_WOODS = ("oak", "walnut", "ash", "beech", "pine", "maple", "cherry", "larch")
_SIZES = ("60×40", "80×40", "80×60", "100×60", "120×60", "120×80", "140×80", "160×90")
_LIGHTS = ("2 W", "4 W", "5 W", "7 W", "9 W", "11 W", "14 W", "18 W")
_SEEDS = ("basil", "parsley", "chive", "coriander", "mint", "thyme", "oregano", "dill")
_VEGETABLES = ("tomato", "courgette", "carrot", "beetroot", "lettuce", "radish", "pea", "bean")
_POTS = ("12 cm", "15 cm", "18 cm", "22 cm", "26 cm", "30 cm", "36 cm", "42 cm")
_LENGTHS = ("1 m", "2 m", "3 m", "5 m", "8 m", "10 m", "15 m", "25 m")
_HANDS = ("size 6", "size 7", "size 8", "size 9", "size 10", "size 11", "size 12", "size 13")
_GRITS = (
    "grit 40",
    "grit 60",
    "grit 80",
    "grit 100",
    "grit 120",
    "grit 180",
    "grit 240",
    "grit 400",
)
_LITRES = ("5 l", "10 l", "15 l", "20 l", "30 l", "45 l", "60 l", "80 l")
_BITS = ("PH1", "PH2", "PZ1", "PZ2", "TX15", "TX20", "TX25", "TX30")
_ROOMS = ("bath", "kitchen", "hall", "bedroom", "study", "cellar", "porch", "attic")
_SCENTS = ("fig", "cedar", "lavender", "citrus", "vanilla", "rose", "pine", "linen")

_FAMILIES = (
    _Family("BULB", "LED bulb E27", _LIGHTS),
    _Family("SCRW", "Wood screws, box of 200", _SCREWS),
    _Family("EMUL", "Matt wall paint 2.5 l", _COLOURS),
    _Family("HERB", "Herb seeds", _SEEDS),
    _Family("GLOV", "Work gloves", _HANDS),
    _Family("SAND", "Sanding sheets, pack of 10", _GRITS),
    _Family("BITS", "Screwdriver bit", _BITS),
    _Family("DRIL", "Masonry drill bit", _MILLIMETRES),
    _Family("CNDL", "Scented candle", _SCENTS),
    _Family("VEGE", "Vegetable seeds", _VEGETABLES),
    _Family("TPOT", "Clay pot", _POTS),
    _Family("CORD", "Extension lead", _LENGTHS),
    _Family("GLOS", "Wood gloss 0.75 l", _COLOURS),
    _Family("BOXS", "Storage box", _LITRES),
    _Family("ROPE", "Braided rope", _LENGTHS),
    _Family("TOWL", "Bath towel", _COLOURS),
    _Family("CUSH", "Cushion cover", _COLOURS),
    _Family("SHLF", "Wall shelf 80 cm", _WOODS),
    _Family("HOOK", "Coat hook rail", _WOODS),
    _Family("LAMP", "Ceiling lamp", _ROOMS),
    _Family("SOIL", "Potting soil", _LITRES, bulky=True),
    _Family("RUGS", "Woven rug", _SIZES, bulky=True),
    _Family("DESK", "Trestle table top", _SIZES, bulky=True),
    _Family("DOOR", "Interior door", _WOODS, bulky=True),
    _Family("FLOR", "Parquet, pack of 2 m²", _WOODS, bulky=True),
)

# Families, and the variants of each, are in the order of their sales: the pace falls with the rank,
# as in most shops.
ARTICLES = tuple(
    Article(
        sku=f"{family.code}-{number:02}",
        name=f"{family.name}, {variant}",
        pace=round(1 / (1 + 0.15 * rank + 0.4 * number), 4),
        bulky=family.bulky,
    )
    for rank, family in enumerate(_FAMILIES)
    for number, variant in enumerate(family.variants)
)
