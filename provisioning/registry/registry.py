"""The registry as everybody uses it: opened by its address, in a `with` statement.

Importing this costs as much as SQLAlchemy does. Errors are RegistryError, PolicyViolation (BR-…, RG-…), NotAuthentic,
or FormatError; whatever failed, nothing was changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from types import TracebackType
from typing import BinaryIO, Self

from pki.values import PublicKey
from provisioning.registry import births_taking, queries
from provisioning.registry.address import parse_address
from provisioning.registry.births_taking import BirthsTaken
from provisioning.registry.database import Database
from provisioning.registry.queries import DeviceQuery
from provisioning.registry.trust import Trust


def open_registry(url: str) -> Registry:
    """Open the registry at `sqlite:///PATH` or `postgresql://…`.

    Raises ConfigurationError RG-01, RG-02; RegistryError if it is missing, foreign, of another revision, unsafe, or not
    reached.
    """
    database = Database(parse_address(url))
    database.require_current()
    return Registry(database)


class Registry:
    """An open registry. Times are UTC with their zone; UIDs are bytes, padded or not."""

    def __init__(self, database: Database) -> None:
        """For `open_registry`, which checks the database first."""
        self._database = database

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self._database.dispose()

    # Taking

    def take_births(
        self,
        stream: BinaryIO,
        now: datetime,
        *,
        who: str,
        trust: Trust = Trust(),  # noqa: B008 (frozen: a known order needs no keys)
        until: int | None = None,
        advance: Callable[[int], None] = lambda _: None,
    ) -> BirthsTaken:
        """Verify a file of birth records and take what is new in it, all or nothing (`births_taking.take_births`)."""
        return births_taking.take_births(self._database, stream, trust, now, who, until=until, advance=advance)

    # Asking

    def identity_key(self, uid: bytes, product_id: bytes | None = None) -> PublicKey | None:
        """The identity key in force of a device; None if the device is unknown, or has no keys now.

        Raises DeviceUnknown RG-31 where two products have this UID and none is named.
        """
        with self._database.reading() as connection:
            return queries.identity_key(connection, uid, product_id)

    def agreement_keys(self, query: DeviceQuery) -> Iterator[tuple[bytes, PublicKey]]:
        """UID (padded) and agreement key of each operational device of a query, ascending by UID, as a stream."""
        with self._database.reading() as connection:
            yield from queries.agreement_keys(connection, query)
