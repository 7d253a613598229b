"""One device, from what it is to what it should be: rounds of asking, planning, doing (docs/spec/update.md, 3)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from pki.errors import FormatError, StrongroomError, VerificationError
from rpc.client import DeviceClient
from rpc.errors import DeviceRefused, LinkError
from rpc.message import Group
from rpc.objects.signed_status import APPLICATION_CONFIRMED, RUNS_APPLICATION, RUNS_BOOTLOADER, SignedStatus
from rpc.update.identity import read_status
from rpc.update.job import Job
from rpc.update.package_facts import PackageType
from rpc.update.planner import Action, Step, plan
from rpc.update.presence import UPDATE_REQUESTED, Material, is_there
from rpc.update.report import DeviceReport, Fault, Result
from rpc.update.rules import Refusal, Refused
from rpc.update.sources import Deadline, Stopped

_BUSY: Final = "BUSY"
_NOT_IN_UPDATE_MODE: Final = "NOT_IN_UPDATE_MODE"
_RESETS_IN_A_ROW_MAX: Final = 3


class DeviceRun:
    """One device at one address, in one thread."""

    def __init__(self, via: str, client: DeviceClient, job: Job) -> None:
        self._client = client
        self._job = job
        self._report = DeviceReport(via)
        self._sent = False
        self._was_reset = False
        self._resets_in_a_row = 0
        self._refusals = 0
        self._fruitless = 0
        self._farthest_bytes = 0

    def run(self) -> DeviceReport:
        """Do all of it. Never raises for what device or link do; the report says it."""
        begun = time.monotonic()
        report = self._report
        try:
            self._work()
        except Stopped:
            report.result, report.reason = Result.STOPPED, "stopped; running the command again goes on from here"
        except Refused as refused:
            self._end(Result.REFUSED, refused.refusal, _fault_of(refused.rule_id))
            if report.steps:
                self._leave_update_mode()
        except VerificationError as error:
            self._end_with(error, Fault.VERIFICATION)
        except LinkError as error:
            self._end_with(error, Fault.LINK)
        except DeviceRefused as error:
            self._end(Result.FAILED, Refusal("UP-42", str(error)), Fault.DEVICE)
            self._leave_update_mode()
        except StrongroomError as error:
            self._end_with(error, Fault.MATERIAL)
            self._leave_update_mode()
        finally:
            report.seconds = time.monotonic() - begun
            report.count(self._client.link.counters)
            self._client.close()
        self._job.observer.finished(report.via, report.result.value, report.reason)
        return report

    # --- rounds ---

    def _work(self) -> None:
        """Rounds until nothing is left to do."""
        while True:
            self._job.stop.check()
            self._report.rounds += 1
            try:
                if self._round():
                    return
            except LinkError as error:
                self._count_fruitless(error)
                self._wait_for_link()
            except (FormatError, VerificationError) as error:
                # On a link without a checksum a byte may have changed; a device that lies goes on lying.
                self._count_refusal(error)
            except DeviceRefused as error:
                if _is_of_the_moment(error):
                    self._count_fruitless(error)
                else:
                    self._count_refusal(error)

    def _round(self) -> bool:
        """One round; whether all is done."""
        status = self._status()
        steps = plan(status, self._job.package.facts, self._material(status))
        if isinstance(steps, Refusal):
            raise Refused(steps.rule_id, steps.reason)
        if self._job.is_dry_run:
            self._report.steps = [str(step) for step in steps]
            self._report.result = Result.PLANNED if steps else Result.CURRENT
            return True
        if not steps:
            self._report.result = Result.UPDATED if self._report.steps else Result.CURRENT
            return True
        steps = self._without_a_second_upload(steps)
        self._require_resets_to_help(steps)
        for step in steps:
            self._job.stop.check()
            self._job.observer.step(self._report.via, step)
            self._do(step, status)
            self._report.steps.append(str(step))
            if step.action in {Action.ENTER_UPDATE_MODE, Action.RESET}:
                break
        return False

    def _status(self) -> SignedStatus:
        job, report = self._job, self._report
        status = read_status(self._client, job.keys, job.random_bytes)
        uid = status.uid.hex()
        if report.uid not in {None, uid}:
            raise Refused(
                "UP-47", f"device {uid} answers now where {report.uid} did: look at the wiring, and start again"
            )
        if report.found is None:
            if not job.claim(uid, report.via):
                raise Refused("UP-45", f"device {uid} is reached by another address too, and updated through that one")
            job.observer.found(report.via, uid)
        report.read(status)
        return status

    def _material(self, status: SignedStatus) -> Material:
        job, facts = self._job, self._job.package.facts
        grant = job.grants.grant_for(status.uid) if job.grants is not None else None
        is_bootloader = facts.package_type is PackageType.BOOTLOADER
        linked_for = job.copy_of(status.board, facts.load_address) if is_bootloader else None
        return Material(job.bundles, grant, linked_for, sent=self._sent, reinstall=job.reinstalls)

    def _without_a_second_upload(self, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        """What was sent whole is not sent again. The reset that followed may not have reached the device."""
        if not self._sent or all(step.action is not Action.UPLOAD for step in steps):
            return steps
        if not self._was_reset:
            return (Step(Action.RESET),)
        raise Refused("UP-44", "the package was installed and did not stay: it failed its boot check or its starts")

    def _require_resets_to_help(self, steps: tuple[Step, ...]) -> None:
        self._resets_in_a_row = self._resets_in_a_row + 1 if steps[0].action is Action.RESET else 0
        if self._resets_in_a_row > _RESETS_IN_A_ROW_MAX:
            raise Refused("UP-46", "the device stays in update mode after resets: look at its entry pin")

    # --- what ends it, and what does not ---

    def _count_fruitless(self, error: StrongroomError) -> None:
        self._fruitless += 1
        if self._fruitless >= self._job.patience.rounds_without_progress:
            raise Refused("UP-40", f"given up after {self._fruitless} rounds without progress: {error}")

    def _count_refusal(self, error: StrongroomError) -> None:
        """A refusal stands if it is repeated: a link without a checksum may have changed what was sent."""
        self._refusals += 1
        if self._refusals >= self._job.patience.refusals:
            raise error
        self._job.stop.wait(self._job.patience.restart_poll_seconds)

    def _wait_for_link(self) -> None:
        deadline = Deadline(self._job.patience.link_seconds)
        while True:
            self._job.stop.check()
            try:
                return self._client.wait_until_up(min(deadline.left_seconds, 1.0))
            except LinkError:
                if deadline.is_over:
                    raise

    def _end_with(self, error: StrongroomError, fault: Fault) -> None:
        text = str(error)
        rule, _, reason = text.removeprefix("[").partition("] ") if text.startswith("[") else ("", "", text)
        self._report.result, self._report.fault = Result.FAILED, fault
        self._report.rule, self._report.reason = rule or None, reason

    def _end(self, result: Result, refusal: Refusal, fault: Fault) -> None:
        report = self._report
        report.result, report.rule, report.reason, report.fault = result, refusal.rule_id, refusal.reason, fault

    def _leave_update_mode(self) -> None:
        """A device that was brought to update mode for what it refused starts its application again, if it can."""
        try:
            status = self._status()
            if status.runs == RUNS_BOOTLOADER and status.installed_type and _was_asked(status):
                self._client.reset()
                self._report.steps.append(str(Step(Action.RESET)))
                self._await_runs(RUNS_APPLICATION)
        except StrongroomError:
            return  # the report says what it said last

    # --- steps ---

    def _do(self, step: Step, status: SignedStatus) -> None:
        if step.action is Action.ENTER_UPDATE_MODE:
            self._enter_update_mode()
        elif step.action is Action.SEND_TRUST_BUNDLE:
            self._client.send_trust_bundle(step.data)
            self._progress()
        elif step.action is Action.SEND_GRANT:
            self._client.send_grant(step.data)
            self._progress()
        elif step.action is Action.UPLOAD:
            self._upload()
        elif step.action is Action.RESET:
            self._reset(status)
        else:
            self._await_confirmation()

    def _progress(self) -> None:
        self._fruitless = 0

    def _enter_update_mode(self) -> None:
        patience = self._job.patience
        deadline = Deadline(patience.safe_seconds)
        waits = Step(Action.ENTER_UPDATE_MODE, "waits for the application's safe state")
        while True:
            try:
                self._client.enter_update_mode()
                break
            except DeviceRefused as refusal:
                if not _is_busy(refusal):
                    raise
                if deadline.is_over:
                    waited = f"after {patience.safe_seconds:g} s"
                    raise Refused(
                        "UP-41", f"the application is not in its safe state {waited}: try again later"
                    ) from None
                self._job.observer.step(self._report.via, waits)
                self._job.stop.wait(min(patience.again_seconds, deadline.left_seconds))
        self._await_runs(RUNS_BOOTLOADER)
        self._progress()

    def _upload(self) -> None:
        package = self._job.package

        def tell(done_bytes: int, size_bytes: int) -> None:
            if done_bytes > self._farthest_bytes:
                self._farthest_bytes = done_bytes
                self._progress()
            self._job.observer.sent(self._report.via, done_bytes, size_bytes)
            self._job.stop.check()

        with package.open() as stream:
            self._client.upload(stream, package.size_bytes, tell)
        self._sent = True

    def _reset(self, before: SignedStatus) -> None:
        """Reset, and ask until it is another start that answers, where one can be told from the other."""
        facts = self._job.package.facts
        self._client.reset()
        if facts.package_type is PackageType.BOOTLOADER and not is_there(before, facts, self._material(before)):
            self._await(lambda status: status.running_copy != before.running_copy)
        elif before.installed_type or facts.package_type is not PackageType.BOOTLOADER:
            self._await_runs(RUNS_APPLICATION)
        self._was_reset = True

    def _await_runs(self, runs: int) -> SignedStatus:
        return self._await(lambda status: status.runs == runs)

    def _await(self, is_right: Callable[[SignedStatus], bool]) -> SignedStatus:
        """The first status that is right, or the last one within the time that a restart may take.

        Raises LinkError if nothing answered.
        """
        patience = self._job.patience
        deadline = Deadline(patience.restart_seconds)
        self._job.stop.wait(patience.restart_poll_seconds)
        while True:
            self._client.wait_until_up(max(deadline.left_seconds, patience.again_seconds))
            status = self._status()
            if is_right(status) or deadline.is_over:
                return status
            self._job.stop.wait(patience.restart_poll_seconds)

    def _await_confirmation(self) -> None:
        patience = self._job.patience
        deadline = Deadline(patience.confirmed_seconds)
        while True:
            status = self._status()
            if status.application_state == APPLICATION_CONFIRMED or status.runs == RUNS_BOOTLOADER:
                return self._progress()
            if deadline.is_over:
                waited = f"within {patience.confirmed_seconds:g} s"
                raise Refused("UP-43", f"the image runs on trial and did not confirm itself {waited}")
            self._job.stop.wait(min(patience.again_seconds, deadline.left_seconds))


def _is_busy(refusal: DeviceRefused) -> bool:
    return refusal.group == Group.STRONGROOM and refusal.name == _BUSY


def _is_of_the_moment(refusal: DeviceRefused) -> bool:
    """The device was reset meanwhile, or did not understand: both are worth another round."""
    return refusal.name == _NOT_IN_UPDATE_MODE or refusal.group != Group.STRONGROOM


def _was_asked(status: SignedStatus) -> bool:
    return status.update_mode_code == UPDATE_REQUESTED


def _fault_of(rule_id: str) -> Fault:
    if rule_id == "UP-10":
        return Fault.VERIFICATION
    if rule_id == "UP-40":
        return Fault.LINK
    return Fault.DEVICE if rule_id in {"UP-41", "UP-42", "UP-43", "UP-44", "UP-46"} else Fault.POLICY
