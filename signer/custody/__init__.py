"""Custody of private keys: backups, copies on further tokens, restoring, destruction (docs/spec/key-backup.md).

Import its modules by name. What acts of ceremonies call, each of them safe to call again after a kill at any moment
(`intents` is `intents.CustodyIntents(repository.key_intents_path)`, `now_change` gives a `signer.store.values.Change`):

`generation.generate_with_backup(intents, store, source, request, plan, now_change) -> KeyWithBackup`
    Generates a key on the token of the writable `source` session so that it has copies on other tokens (HSM to HSM:
    wrapped by one token, unwrapped by the other), or a backup file, or both. This is the only moment at which a key can
    be backed up: afterwards no token lets it out. So there is no transfer of a key that exists; a copy is asked for
    when it is generated, or restored from a backup file. `request` is `signer.authority.key_generation.KeyRequest`,
    `plan` is `plan.BackupPlan(copies_on=(session, …), file=plan.FileBackup(path, kek), ceremony_digest=…)`; `kek` is
    called only when a key must be made (not when an interrupted run had made it), and gives a `Kek` that was brought
    into the token of `source`. After a kill the KEK is gone from the token: `kek` then recombines it, or splits a new
    one (nothing was recorded under the old).

`kek.split_kek(sessions, scheme, sink) -> Kek` and `kek.combine_kek(sessions, identity, source) -> Kek`
    A key-encryption key as session objects in the given sessions, drawn and handed out as SLIP-39 shares, or recombined
    from them. `scheme` is `shares.ShareScheme.of(2, ("ann", "bob", "cleo"))`, or of several groups. `sink.hand_out`,
    `sink.read_back` and `source.next_share`, `source.refused` (protocols in `shares.py`) are called back with one
    custodian at a time. `Kek.identity` (`KekIdentity`: key check value and share set) is public, and stands in every
    backup file made under it (`backup_file.decode_backup(data).kek`); `Kek` is a context manager.

`restore.restore_key(intents, store, target, backup, kek, now_change) -> RestoredKey`
    Restores a recorded key from the bytes of a backup file into the token of the writable `target` session; it proves
    itself by a signature under the recorded public key before anything is made on the token, and again afterwards.
    `kek` is a function here too.

`restore.sign_check(session, record) -> SignCheck`
    One signature, verified under the recorded public key, by the instance of a key on this token.

`destruction.destroy_everywhere(store, label, sessions, change, *, lost=(), backups_destroyed=()) -> Destroyed`
    Records the destruction, then destroys every instance that the given sessions reach. `Destroyed` says which tokens
    and backups remain; calling again with more sessions ends it.

Secrets (key-encryption keys, shares) are in no file, log, representation or error. What they did is in the results,
ready to be logged: `result.events(actor)`.
"""
