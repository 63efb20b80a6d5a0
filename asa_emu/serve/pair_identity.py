"""One certificate for both units of a pair: a client that comes back must meet the headend that it knows.

Units that share a state directory, or are given the same certificate, have it already. Otherwise the first
one to start puts its own into the store, the key encrypted under the key of the pair, and the other one takes
it from there and keeps it in its state directory for the next start.
"""

from __future__ import annotations

import hmac
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog
import trio
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from asa_emu.serve.redis_store import RedisStore
from asa_emu.serve.store import StoreDown, StoreSilent
from asa_emu.transport.certificates import CertificateError, load_identity

_MAGIC: Final = b"asa-emu/1 identity "
_NONCE: Final = 12  # bytes
RETRY: Final = 0.5  # seconds of run time

log = structlog.get_logger(__name__)


async def agree(
    store: RedisStore, key: bytes, mine: tuple[Path, Path], kept: tuple[Path, Path]
) -> tuple[Path, Path]:
    """The files of certificate and key that both units use: `mine`, or what the mate has, now in `kept`.

    Waits until the store answers.
    """
    own = kept if all(file.exists() for file in kept) else mine
    sealed, void = _seal(key, own), b""
    waits = False
    while True:
        try:
            found = await store.share("identity", sealed, void)
        except (StoreDown, StoreSilent) as error:
            if not waits:
                log.warning("failover.waiting_for_store", reason=str(error))
            waits = True
            await trio.sleep(RETRY)
            continue
        if found == sealed:
            return own
        if _keep(key, found, kept):
            return kept
        void = found


def _seal(key: bytes, files: tuple[Path, Path]) -> bytes:
    nonce = os.urandom(_NONCE)
    text = json.dumps([file.read_text("ascii") for file in files]).encode()
    return _MAGIC + nonce + AESGCM(_cipher_key(key)).encrypt(nonce, text, _MAGIC)


def _keep(key: bytes, sealed: bytes, files: tuple[Path, Path]) -> bool:
    """Write what somebody has sealed to files; False when it is not of this pair, or not good any more."""
    nonce, text = sealed[len(_MAGIC) :][:_NONCE], sealed[len(_MAGIC) + _NONCE :]
    try:
        contents = json.loads(AESGCM(_cipher_key(key)).decrypt(nonce, text, _MAGIC))
        for file, content in zip(files, contents, strict=True):
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as opened:
                opened.write(content)
        identity = load_identity(*files)
        return identity.certificate.not_valid_after_utc > datetime.now(UTC)
    except (InvalidTag, ValueError, TypeError, CertificateError) as error:
        log.warning("failover.identity_refused", reason=str(error) or type(error).__name__)
        return False


def _cipher_key(key: bytes) -> bytes:
    return hmac.digest(key, _MAGIC, "sha256")
