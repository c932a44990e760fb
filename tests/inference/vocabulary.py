"""A vocabulary for random models: token n decodes to the character n + 192, and no token ends a text."""


class Letters:
    def __init__(self, size: int = 211, eos_id: int = -1) -> None:
        self.size, self.eos_ids = size, (eos_id,)

    def decode(self, ids: list[int]) -> str:
        return "".join(chr(192 + i) for i in ids)
