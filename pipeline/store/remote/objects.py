"""Objects of a bucket or a web server, fetched in bounded time; the one module that needs obstore."""

import asyncio
import re
from datetime import timedelta
from typing import Any

from pipeline.core.errors import DecantError
from pipeline.store.format.address import Address
from pipeline.store.format.errors import (
    ForbiddenError,
    MissingFileError,
    StoreError,
    UnreachableError,
    WrongSizeError,
)

try:
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
    from obstore.store import GCSStore, HTTPStore, S3Store
except ImportError as missing:
    raise DecantError(
        "reading a store from a bucket or a web server needs obstore: `pip install -e '.[remote]'`"
    ) from missing

ATTEMPTS = 4
FIRST_PAUSE = 0.5  # seconds before the second attempt, twice as many before each further one
CONNECTING = timedelta(seconds=5)
SILENCE = timedelta(seconds=20)  # no byte for so long: the connection has stalled
WHOLE = timedelta(minutes=15)  # at most 64 MiB, so less than 75 kB/s is taken for a stall too
PIECE = 2**20  # bytes that are received at a time, at least
_KINDS: dict[str, Any] = {"s3": S3Store, "gs": GCSStore, "https": HTTPStore, "http": HTTPStore}
_STATUS = re.compile(r"status(?: code)?: (\d{3})")
_TRANSPORT = {
    "Timeout": "it stopped answering",
    "Connect": "no connection",
    "Interrupted": "the answer broke off",
}


def connect(address: Address) -> Any:
    """A client of obstore for what lies below an address; nothing is sent yet.

    Credentials are those of the environment. Raises DecantError where it cannot be made of them.
    """
    # A bucket's server is one over http only where the environment names such a one.
    options = {
        "allow_http": address.scheme != "https",
        "connect_timeout": CONNECTING,
        "read_timeout": SILENCE,
        "timeout": WHOLE,
    }
    try:
        return _KINDS[address.scheme].from_url(
            str(address), client_options=options, retry_config={"max_retries": 0}
        )
    except (BaseError, ValueError):  # whose text may tell the environment's values
        what = (
            "no client can be made for it: check the environment variables of the bucket's provider"
        )
        raise DecantError(f"{address}: {what}") from None


async def fetch(client: Any, address: Address, path: str, most: int) -> bytes:
    """The bytes of an object, at most so many; `address` is what the client was made for.

    An attempt that fails in transport or with a server's error (5xx, 429) is repeated, ATTEMPTS in all.
    Raises MissingFileError, WrongSizeError, ForbiddenError or UnreachableError.
    """
    for attempt in range(ATTEMPTS):
        if attempt:
            await asyncio.sleep(FIRST_PAUSE * 2 ** (attempt - 1))
        try:
            return await _body(await client.get_async(path), address, path, most)
        except FileNotFoundError:
            raise MissingFileError(address, path, "missing") from None
        except (PermissionDeniedError, UnauthenticatedError):
            raise ForbiddenError(address, path, "the server forbids to read it") from None
        except BaseError as error:
            failed, again = _reason(address, path, str(error))
            if not again:
                break
    raise failed from None


async def _body(answer: Any, address: Address, path: str, most: int) -> bytes:
    """What is sent, and not a piece more than is announced: the two may differ."""
    size = answer.meta["size"]
    if size > most:
        raise WrongSizeError(address, path, f"{size:,} bytes, at most {most:,} expected")
    pieces, count = [], 0
    async for piece in answer.stream(min_chunk_size=PIECE):
        pieces.append(piece)
        count += len(piece)
        if count > size:
            raise WrongSizeError(
                address, path, f"the server announces {size:,} bytes and sends more"
            )
    if count < size:
        raise WrongSizeError(
            address, path, f"the server announces {size:,} bytes and sends {count:,}"
        )
    return b"".join(pieces)


def _reason(address: Address, path: str, text: str) -> tuple[StoreError, bool]:
    """What a failure was, in words of ours (obstore's may tell too much), and whether to try again."""
    status = _STATUS.search(text)
    if status is None:
        kind = next((words for kind, words in _TRANSPORT.items() if f"kind: {kind}" in text), None)
        what = f"{kind or 'no usable answer'} ({ATTEMPTS} attempts)"
        return UnreachableError(address, path, what), True
    again = status[1].startswith("5") or status[1] == "429"
    attempts = f" ({ATTEMPTS} attempts)" if again else ""
    return UnreachableError(address, path, f"the server says {status[1]}{attempts}"), again
