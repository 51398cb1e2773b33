"""What handles of attachments have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

A = TypeVar("A", bound="Attachment")


class Attachment(ABC):
    """Ends with its `with` block. A mapping compares by content; of these each is its own."""

    @abstractmethod
    def close(self) -> None:
        """End this attachment. Closing twice does nothing."""

    def __enter__(self: A) -> A:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)
