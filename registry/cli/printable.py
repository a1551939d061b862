"""Text that others wrote, as a terminal shows it."""


def show_text(text: str) -> str:
    """Without anything that a terminal would obey: it is shown, not done."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
