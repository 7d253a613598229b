"""The registry as everybody uses it: opened by its address, in a `with` statement.

Importing this costs as much as SQLAlchemy does. Errors are RegistryError, PolicyViolation (BR-…, RG-…), NotAuthentic,
or FormatError; whatever failed, nothing was changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from types import TracebackType
from typing import Any, BinaryIO, Self

from pki.values import PublicKey
from provisioning.registry import (
    births_taking,
    freezes,
    grants,
    life,
    orders,
    queries,
    reconciliation,
    reports,
    services,
    statuses,
)
from provisioning.registry.address import parse_address
from provisioning.registry.births_taking import BirthsTaken
from provisioning.registry.database import Database
from provisioning.registry.freezes import FrozenDevice
from provisioning.registry.grants import GrantsTaken
from provisioning.registry.imports import record_import
from provisioning.registry.life import Life
from provisioning.registry.queries import DeviceQuery
from provisioning.registry.reconciliation import Reconciliation
from provisioning.registry.reports import ReportTaken
from provisioning.registry.statuses import StatusTaken
from provisioning.registry.trust import Trust
from signer.device_objects.work_order import parse_work_order
from signer.grants.file import GrantFile
from signer.store.stored_times import time_to_text

_EVERY = DeviceQuery()
_NOBODY = Trust()


def open_registry(url: str) -> Registry:
    """Open the registry at `sqlite:///PATH` or `postgresql://…`.

    Raises ConfigurationError RG-01, RG-02; RegistryError if it is missing, foreign, of another revision, unsafe, or not
    reached.
    """
    database = Database(parse_address(url))
    try:
        database.require_current()
    except BaseException:
        database.dispose()
        raise
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
        trust: Trust = _NOBODY,
        until: int | None = None,
        advance: Callable[[int], None] = lambda _: None,
    ) -> BirthsTaken:
        """Verify a file of birth records and take what is new in it, all or nothing (`births_taking.take_births`)."""
        return births_taking.take_births(self._database, stream, trust, now, who, until=until, advance=advance)

    def take_order(self, data: bytes, now: datetime, *, who: str, trust: Trust) -> bool:
        """Record a signed work order before its first births arrive; False if it is known.

        Raises FormatError, NotAuthentic BR-11, RG-03, PolicyViolation RG-09.
        """
        order, at = parse_work_order(data), time_to_text(now)
        with self._database.writing() as connection:
            is_new = orders.take_order(connection, order, trust, at)
            if is_new:
                record_import(connection, "order", order.digest.value, at, who, 1)
        return is_new

    def take_status(self, data: bytes, nonce: bytes, now: datetime, *, who: str) -> StatusTaken:
        """Take a signed status, asked for with `nonce` (`statuses.take_status`)."""
        return statuses.take_status(self._database, data, nonce, now, who)

    def take_report(self, data: bytes, now: datetime, *, who: str) -> ReportTaken:
        """Take the last signed status of each device in the report of an update run (`reports.take_report`)."""
        return reports.take_report(self._database, data, now, who)

    def take_service(self, order: bytes, receipt: bytes | None, now: datetime, *, who: str, trust: Trust) -> bool:
        """Take a service order that was carried out, and the device's receipt (`services.take_service`)."""
        return services.take_service(self._database, order, receipt, trust, now, who)

    def take_grants(
        self,
        file: GrantFile,
        now: datetime,
        *,
        who: str,
        trust: Trust,
        advance: Callable[[int], None] = lambda _: None,
    ) -> GrantsTaken:
        """Record a batch of grants and its devices (`grants.take_grants`)."""
        return grants.take_grants(self._database, file, trust, now, who, advance)

    # Asking

    def devices(self, query: DeviceQuery, *, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """Rows of `devices`, ascending by UID, as a stream."""
        with self._database.reading() as connection:
            yield from queries.device_rows(connection, query, limit=limit)

    def life_of(self, uid: bytes, product_id: bytes | None = None) -> Life:
        """A device's whole life, in order. Raises DeviceUnknown RG-23, RG-31."""
        with self._database.reading() as connection:
            return life.life_of(connection, uid, product_id)

    def orders(self) -> list[dict[str, Any]]:
        """Every order, newest first, without its signed bytes."""
        with self._database.reading() as connection:
            return queries.order_rows(connection)

    def reconcile(self, order_id: bytes) -> Reconciliation:
        """What became of every device of an order. Raises DeviceUnknown RG-30."""
        with self._database.reading() as connection:
            return reconciliation.reconcile(connection, order_id)

    def frozen(self, bundle_version: int, query: DeviceQuery = _EVERY) -> Iterator[FrozenDevice]:
        """Operational devices that have not moved to a trust bundle, as a stream."""
        with self._database.reading() as connection:
            yield from freezes.frozen_devices(connection, bundle_version, query)

    def bundle_counts(self, query: DeviceQuery = _EVERY) -> list[tuple[int, int]]:
        """Trust-bundle version and number of operational devices that have it, ascending."""
        with self._database.reading() as connection:
            return freezes.bundle_counts(connection, query)

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
