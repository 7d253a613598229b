"""kill -9 at every step of signing a work order: the same call again ends in the one right state."""

from __future__ import annotations

import hashlib
from typing import Any

from signer.device_objects.work_order import parse_work_order
from signer.log.audit_log import open_audit_log
from signer.service.objects import ObjectOrder
from tests.unit.log.logs import fast_folder
from tests.unit.packages.builders import PRODUCTION_KEY
from tests.unit.service.kill_rig import CountedKey, KilledWorld, Killer
from tests.unit.service.object_world import ObjectWorld, work_order

NEVER = 1_000_000
STEPS_AT_LEAST = 15


class KilledObjectWorld(KilledWorld, ObjectWorld):
    """An object world whose log is on disk and whose calls are killed."""

    def sign_counted(self, order: Any, killer: Killer) -> Any:
        with open_audit_log(self.folder / "log", self.log_key) as log:
            for keys in self.keys.release.values():
                keys[:] = [CountedKey(key, self.tally, killer) for key in keys]  # type: ignore[misc]
            return self.object_service(log=self.log_type(log, killer)).sign(order)


def _require_one_right_state(world: KilledObjectWorld, order: ObjectOrder) -> None:
    digest = hashlib.sha256(order.request.statement).digest()
    data = world.objects.released(digest).read_bytes()
    parse_work_order(data).verify(PRODUCTION_KEY.public_key)
    with open_audit_log(world.folder / "log", world.log_key) as log:
        entries = [entry.event for entry in log.entries(1)]
    results = [event for event in entries if event.kind.value == "sign-result"]
    assert [event.details["package_digest"] for event in results] == [hashlib.sha256(data).hexdigest()]
    intents = [event for event in entries if event.kind.value == "sign-intent"]
    assert world.signature_count <= len(intents)
    names = {path.name for path in (world.folder / "signed").iterdir()}
    assert names == {"lock", f"{digest.hex()}.object", f"{digest.hex()}.json"}


def test_killed_at_any_step_the_same_call_again_ends_in_the_one_right_state() -> None:
    for step in range(1, NEVER):
        with fast_folder() as folder:
            world = KilledObjectWorld(folder)
            world.begin()
            order = world.object_order(work_order())
            if not world.sign_killed_at(order, step):  # type: ignore[arg-type]
                break
            count = world.signature_count
            digest = hashlib.sha256(order.request.statement).digest()
            if world.objects.released(digest).exists():
                with open_audit_log(world.folder / "log", world.log_key) as log:
                    assert "sign-result" in [entry.event.kind.value for entry in log.entries(1)]
            had_record = world.objects.record(digest).exists()
            world.sign_counted(order, Killer(NEVER))
            _require_one_right_state(world, order)
            if had_record:
                assert world.signature_count == count, "the HSM was asked again for what it had signed"
    print(f"{step - 1} kill points")
    assert step > STEPS_AT_LEAST
