"""Certificates: an authority that persists, the leaves it signs, and the files they live in.

A headend needs a server certificate before anybody has given it one, and tests need client certificates that
a headend can check. `open_server_identity` is the way in for `asa-emu serve`: it reads the authority and the
server leaf from the state directory, makes what is missing, and signs the leaf again *with the same key* when
it expires or must name another address, so that a pin once noted stays good. `load_identity` and
`load_certificates` read what people bring themselves; every complaint names the file and what to do about it,
because it is shown to somebody who has just typed a path.

Keys are PKCS#8 PEM, unencrypted, mode 0600, written beside the target and renamed, so a reader never sees
half a key. Nothing here decides whom to trust: chains are verified by OpenSSL in the TLS handshake.
"""

import base64
import contextlib
import enum
import fcntl
import hashlib
import ipaddress
import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

AUTHORITY_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=397)  # the most that browsers and Apple's TLS stack accept of a server certificate
RENEW_BEFORE = timedelta(days=30)
BACKDATED = timedelta(days=1)  # a client whose clock lags behind ours must not refuse a fresh certificate

MAX_COMMON_NAME = 64  # RFC 5280, upper bound ub-common-name
MAX_NAMES = 100  # of a leaf that headends share; the newest


class CertificateError(Exception):
    """A certificate or key cannot be read, made or used; the message names the file and the remedy."""


class KeyType(enum.Enum):
    """The keys this module makes. P-256 signs ten times as many handshakes per second as RSA-2048."""

    P256 = "p256"
    RSA2048 = "rsa2048"


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate with its private key, and the intermediates to send after it."""

    certificate: x509.Certificate
    key: PrivateKey
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def pin(self) -> str:
        """The `pin-sha256:…` of the public key, as `openconnect --servercert` takes it."""
        return pin_sha256(self.certificate)

    def save(self, certificate_file: Path, key_file: Path) -> None:
        """Write both files, the key first: a certificate on disk is the sign that its key is there too.

        :raises CertificateError: a file cannot be written.
        """
        certificates = [self.certificate, *self.chain]
        _write(key_file, _key_pem(self.key), mode=0o600)
        _write(
            certificate_file,
            b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates),
            mode=0o644,
        )


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority: signs server and client leaves, never another authority."""

    identity: Identity

    @classmethod
    def create(cls, common_name: str = "asa-emu test CA", *, now: datetime | None = None) -> "Authority":
        """Make a new authority with a P-256 key, valid for ten years."""
        now = now or datetime.now(UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(common_name)
        usage = _key_usage(key_cert_sign=True, crl_sign=True)
        certificate = (
            _builder(name, name, key.public_key(), now, AUTHORITY_LIFE, issuer_key=key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(Identity(certificate, key))

    def issue_server(
        self,
        names: Sequence[str],
        *,
        key: PrivateKey | None = None,
        key_type: KeyType = KeyType.P256,
        now: datetime | None = None,
    ) -> Identity:
        """Sign a server leaf for host names and IP addresses, which all become subject alternative names.

        A given `key` is used again, so that the pin stays; otherwise a new one of `key_type` is made.

        :raises CertificateError: no name was given, or one is neither an address nor an ASCII host name.
        """
        if not names:
            raise CertificateError("a server certificate needs at least one host name or address")
        key = key or _new_key(key_type)
        alternative = x509.SubjectAlternativeName([_general_name(name) for name in names])
        # With RSA, TLS 1.2 suites without forward secrecy encrypt the premaster secret to this key.
        usage = _key_usage(digital_signature=True, key_encipherment=isinstance(key, rsa.RSAPrivateKey))
        return self._issue(
            _name(names[0][:MAX_COMMON_NAME]), key, usage, ExtendedKeyUsageOID.SERVER_AUTH, alternative, now
        )

    def issue_client(
        self,
        common_name: str,
        *,
        user_id: str | None = None,
        key_type: KeyType = KeyType.P256,
        now: datetime | None = None,
    ) -> Identity:
        """Sign a client leaf whose subject has this CN and, when given, this UID.

        `username-from-certificate UID CN` takes the user name from the UID when there is one, else the CN.

        :raises CertificateError: a name is empty or longer than 64 characters.
        """
        # Verifiers that follow the Web PKI look at alternative names alone and refuse a leaf without any.
        alternative = x509.SubjectAlternativeName([x509.DirectoryName(_name(common_name, user_id))])
        usage = _key_usage(digital_signature=True)
        subject = _name(common_name, user_id)
        return self._issue(
            subject, _new_key(key_type), usage, ExtendedKeyUsageOID.CLIENT_AUTH, alternative, now
        )

    def _issue(
        self,
        subject: x509.Name,
        key: PrivateKey,
        usage: x509.KeyUsage,
        purpose: x509.ObjectIdentifier,
        alternative: x509.SubjectAlternativeName,
        now: datetime | None,
    ) -> Identity:
        issuer = self.identity.certificate
        now = now or datetime.now(UTC)
        certificate = (
            _builder(
                subject,
                issuer.subject,
                key.public_key(),
                now,
                LEAF_LIFE,
                issuer_key=self.identity.key.public_key(),
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(alternative, critical=False)
            .sign(self.identity.key, hashes.SHA256())
        )
        return Identity(certificate, key)


def pin_sha256(certificate: x509.Certificate) -> str:
    """Return `pin-sha256:` and the base64 of the SHA-256 of the certificate's public key (its DER SPKI)."""
    spki = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return "pin-sha256:" + base64.b64encode(hashlib.sha256(spki).digest()).decode("ascii")


def server_names(listen_host: str) -> tuple[str, ...]:
    """Return the names a server certificate should carry when listening on this host.

    Loopback is always among them; for a wildcard address, which no client can dial, stands the machine's own
    name.
    """
    names = [listen_host, "localhost", "127.0.0.1", "::1"]
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(listen_host).is_unspecified:
            names[0] = socket.gethostname()
    return tuple(dict.fromkeys(name for name in names if name))


def open_authority(directory: Path) -> Authority:
    """Load `ca.pem` and `ca.key` from the directory, or make them on first use.

    :raises CertificateError: the files are damaged, do not belong together, or cannot be written.
    """
    with _locked(directory):
        return _open_authority(directory)


def open_server_identity(
    directory: Path, names: Sequence[str], *, key_type: KeyType = KeyType.P256, now: datetime | None = None
) -> Identity:
    """Load `server.pem` and `server.key` from the directory; make or renew them as needed.

    The leaf is signed again, keeping its key and so its pin, when it has less than 30 days left, lacks one of
    `names`, or was signed by another authority. It keeps the names that it had, for other headends may serve
    with it. Only another `key_type` brings a new key. Several processes may start on one directory at the
    same time.

    :raises CertificateError: the files are damaged, do not belong together, or cannot be written.
    """
    now = now or datetime.now(UTC)
    certificate_file, key_file = directory / "server.pem", directory / "server.key"
    with _locked(directory):
        authority = _open_authority(directory)
        key = None
        if certificate_file.exists():
            identity = load_identity(certificate_file, key_file)
            if isinstance(identity.key, _KEY_CLASSES[key_type]):
                if _serves(identity.certificate, authority, names, now):
                    return identity
                key = identity.key
                names = tuple(dict.fromkeys([*names, *_names_of(identity.certificate)]))[:MAX_NAMES]
        identity = authority.issue_server(names, key=key, key_type=key_type, now=now)
        identity.save(certificate_file, key_file)
        return identity


def load_identity(certificate_file: Path, key_file: Path) -> Identity:
    """Read a PEM certificate (leaf first, intermediates after it) and its unencrypted PEM private key.

    :raises CertificateError: a file is missing, unreadable or no PEM, the key is encrypted or neither EC nor
        RSA, or the two do not belong together.
    """
    leaf, *chain = load_certificates(certificate_file)
    data = _read(key_file)
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except TypeError:
        raise CertificateError(
            f"{key_file}: the private key is encrypted; decrypt it first, "
            f"for example with: openssl pkey -in {key_file} -out plain.key"
        ) from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"{key_file}: not a private key in PEM form ({error})") from None
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise CertificateError(f"{key_file}: neither an EC nor an RSA key; make one of these kinds")
    if key.public_key() != leaf.public_key():
        raise CertificateError(
            f"{key_file}: this key does not belong to the first certificate in {certificate_file}; "
            "name the pair that was made together, the leaf certificate first"
        )
    return Identity(leaf, key, tuple(chain))


def load_certificates(file: Path) -> tuple[x509.Certificate, ...]:
    """Read every certificate of a PEM file, at least one.

    :raises CertificateError: the file is missing, unreadable, or holds no readable certificate.
    """
    try:
        certificates = x509.load_pem_x509_certificates(_read(file))
        for certificate in certificates:
            certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError(
            f"{file}: no certificate in PEM form ({error}); convert DER with: openssl x509 -inform der"
        ) from None
    return tuple(certificates)


_KEY_CLASSES: dict[KeyType, type[PrivateKey]] = {
    KeyType.P256: ec.EllipticCurvePrivateKey,
    KeyType.RSA2048: rsa.RSAPrivateKey,
}


def _open_authority(directory: Path) -> Authority:
    certificate_file, key_file = directory / "ca.pem", directory / "ca.key"
    if certificate_file.exists():
        return Authority(load_identity(certificate_file, key_file))
    authority = Authority.create()
    authority.identity.save(certificate_file, key_file)
    return authority


def _serves(leaf: x509.Certificate, authority: Authority, names: Sequence[str], now: datetime) -> bool:
    if not leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc - RENEW_BEFORE:
        return False
    try:
        leaf.verify_directly_issued_by(authority.identity.certificate)
        alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return set(alternative) >= {_general_name(name) for name in names}


def _names_of(leaf: x509.Certificate) -> list[str]:
    try:
        alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return []
    addresses = alternative.get_values_for_type(x509.IPAddress)
    return [*map(str, addresses), *alternative.get_values_for_type(x509.DNSName)]


def _new_key(key_type: KeyType) -> PrivateKey:
    if key_type is KeyType.RSA2048:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: PublicKey,
    now: datetime,
    life: timedelta,
    *,
    issuer_key: PublicKey,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _key_usage(
    *,
    digital_signature: bool = False,
    key_encipherment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_encipherment=key_encipherment,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str, user_id: str | None = None) -> x509.Name:
    try:
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
        if user_id is not None:
            attributes.append(x509.NameAttribute(NameOID.USER_ID, user_id))
        return x509.Name(attributes)
    except ValueError as error:
        raise CertificateError(f"{common_name!r} cannot be the name of a certificate: {error}") from None


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError:
        raise CertificateError(f"{name!r} is neither an IP address nor an ASCII host name") from None


def _key_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CertificateError(f"{file}: {error.strerror}; check the path and its permissions") from None


def _write(file: Path, data: bytes, *, mode: int) -> None:
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                os.fchmod(stream.fileno(), mode)
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).replace(file)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CertificateError(
            f"{file}: cannot be written: {error.strerror}; name a directory you may write"
        ) from None


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the directory, made when missing, against other processes that would make the same files."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise CertificateError(
            f"{directory}: cannot be used: {error.strerror}; name a directory you may write"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
