"""The words of the textbook."""


def _words(text: str) -> list[str]:
    return text.split()


CATEGORIES = {
    "animal": _words("horse cow dog cat sheep goat lion tiger bear wolf fox rabbit mouse duck hen"),
    "fruit": _words("apple pear plum peach grape lemon orange banana cherry melon mango fig"),
    "vegetable": _words("carrot potato onion bean pea cabbage spinach leek radish turnip"),
    "tool": _words("hammer saw drill wrench shovel rake axe chisel pliers file"),
    "vehicle": _words("car bus train truck boat ship plane tram van wagon"),
    "garment": _words("shirt coat hat sock shoe glove scarf skirt dress belt"),
    "metal": _words("iron gold silver copper tin lead zinc nickel steel brass"),
    "instrument": _words("piano violin drum flute guitar trumpet harp organ horn cello"),
}

OPPOSITES = [
    tuple(pair.split("-"))
    for pair in _words(
        """
        hot-cold big-small fast-slow wet-dry high-low old-new firm-soft dark-light early-late
        full-empty happy-sad rich-poor strong-weak thick-thin wide-narrow loud-quiet clean-dirty
        open-closed near-far day-night up-down left-right inside-outside begin-end buy-sell
        push-pull win-lose give-take brave-afraid sharp-blunt sweet-sour rough-smooth deep-shallow
        hard-easy safe-dangerous asleep-awake friend-enemy question-answer summer-winter north-south
        """
    )
]

NOUNS = _words(
    """
    garden table river window bridge forest market pencil letter mirror bottle candle basket pillow
    ladder needle button blanket kitchen doctor teacher farmer sailor painter island valley desert
    mountain village castle tower church school library museum station engine wheel rocket planet
    cloud storm thunder shadow feather flower leaf root branch stone sand water fire smoke bread
    butter cheese honey sugar pepper soup cake knife fork spoon plate glass chair lamp clock radio
    paper book map key coin ring crown sword shield rope net tent flag bell
    """
)

NAMES = _words(
    """
    Tom Ann Sam Mia Ben Eva Max Lily Paul Rosa Jack Nina Leo Clara Hugo Ida Oscar Vera Felix Emma
    """
)
THINGS = _words(
    """
    ball kite cup box bag hat bike doll drum pen chair book coat ring lamp clock
    """
)
PLACES = _words(
    """
    shed hall kitchen garden car tower castle school library museum basket bottle forest church
    """
)


def article(noun: str) -> str:
    """Return the noun with its indefinite article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
