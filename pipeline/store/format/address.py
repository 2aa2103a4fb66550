"""Addresses of stores that are read in place: s3://, gs://, https:// and http://."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from pipeline.core.errors import DecantError

SCHEMES = ("s3", "gs", "https", "http")
PINNED = "remote_stores"  # the section of params.yaml: address by the store's name


class Address(str):
    """The address of a store or of something in it; `/`, `name` and `stem` are those of a Path.

    No part of it is secret: messages and params.yaml may show it.
    """

    @classmethod
    def parse(cls, text: str) -> Self:
        """Check an address. Raises DecantError, which repeats nothing that may be secret."""
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise DecantError(f"no address of a store; {_EXPECTED}") from None
        if "@" in parts.netloc or parts.query or parts.fragment or "?" in text or "#" in text:
            raise DecantError(
                "an address must hold no user name, password, signature or query, which params.yaml and "
                "messages would tell everybody: give credentials in environment variables"
            )
        plain = text.isascii() and text.isprintable() and " " not in text and "\\" not in text
        host = parts.hostname if parts.scheme in SCHEMES else None
        names = parts.path.strip("/").split("/")
        if not plain or not host or not all(names) or {".", ".."} & set(names) or port == 0:
            raise DecantError(f"no address of a store: {text[:200]!a}; {_EXPECTED}")
        return cls(parts.scheme + text[len(parts.scheme) :].rstrip("/"))

    def __truediv__(self, inside: str) -> "Address":
        return Address(f"{self}/{inside}") if inside else self

    @property
    def scheme(self) -> str:
        """One of SCHEMES."""
        return self.partition(":")[0]

    @property
    def name(self) -> str:
        """What stands after the last slash."""
        return self.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return self.name.rpartition(".")[0] or self.name


_EXPECTED = "expected s3://BUCKET/NAME.zarr, or the same with gs://, https:// or http://"
# Where a store lies.
Place = Path | Address


def pinned_address(content: Mapping[str, Any], name: str) -> Address | None:
    """Where a store that the parameter file pins is read; None where it pins none of that name.

    Raises DecantError for what is no address.
    """
    stores = content.get(PINNED)
    address = stores.get(name) if isinstance(stores, Mapping) else None
    try:
        return None if address is None else Address.parse(str(address))
    except DecantError as error:
        raise DecantError(f"{PINNED}.{name}: {error}") from None
