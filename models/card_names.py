"""Names of cards that are made from paths and repositories."""

from __future__ import annotations


def card_name(scheme: str, text: str) -> str:
    """Turn what follows a scheme into a valid name of a card.

    Example:
        >>> card_name("hf-hub", "My_Lab/ViT.v2")
        'hf-hub-my-lab-vit.v2'
    """
    kept = (letter if letter == "." or (letter.isascii() and letter.isalnum()) else "-" for letter in text.lower())
    return f"{scheme}-{''.join(kept)}"
