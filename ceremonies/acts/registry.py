"""Every act by the name that plans call it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from ceremonies.acts.base import Act
from ceremonies.acts.bundles import MakeGenesisBundle, SignBundle
from ceremonies.acts.certificates import CertifyLotCa
from ceremonies.acts.custody import GenerateBackedUpKey, RestoreKey, SignCheck
from ceremonies.acts.destruction import DestroyKey
from ceremonies.acts.keys import ChangeKeyState, ExportPublicKey, GenerateKey
from ceremonies.acts.packages import SignPackage
from ceremonies.acts.successors import MakeSuccessorBundle
from ceremonies.acts.tokens import CheckToken
from ceremonies.rules import STEPS_DO_NOT_FIT
from pki.errors import ConfigurationError

__all__ = ["ACTS", "Act", "act_of"]

ACTS: Mapping[str, type[Act]] = MappingProxyType(
    {
        act.NAME: act
        for act in (
            CheckToken,
            GenerateKey,
            ChangeKeyState,
            ExportPublicKey,
            MakeGenesisBundle,
            MakeSuccessorBundle,
            SignBundle,
            SignPackage,
            GenerateBackedUpKey,
            RestoreKey,
            SignCheck,
            DestroyKey,
            CertifyLotCa,
        )
    }
)


def act_of(name: str, parameters: Mapping[str, Any], where: str) -> Act:
    """An act with its parameters, checked. Raises ConfigurationError CE-07 that names the step."""
    if name not in ACTS:
        raise ConfigurationError(f"[{STEPS_DO_NOT_FIT}] {where}: there is no act {name!r} (there: {', '.join(ACTS)})")
    try:
        return msgspec.convert(parameters, ACTS[name], strict=True)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"[{STEPS_DO_NOT_FIT}] {where}: {error}") from None
