"""The certificates a headend makes for itself, and what it says about those that people bring."""

import base64
import hashlib
import ipaddress
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store

from asa_emu.transport.certificates import (
    LEAF_LIFE,
    MAX_NAMES,
    RENEW_BEFORE,
    Authority,
    CertificateError,
    KeyType,
    load_certificates,
    load_identity,
    open_authority,
    open_server_identity,
    pin_sha256,
    server_names,
)

NAMES = ("vpn.example.test", "192.0.2.1", "::1")


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_server_leaf_is_valid_for_each_of_its_names() -> None:
    authority = Authority.create()
    leaf = authority.issue_server(NAMES).certificate
    policy = PolicyBuilder().store(Store([authority.identity.certificate]))
    for subject in (
        x509.DNSName("vpn.example.test"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ):
        policy.build_server_verifier(subject).verify(leaf, [])


def test_server_leaf_is_no_client_leaf_and_the_other_way_round() -> None:
    authority = Authority.create()
    server = authority.issue_server(NAMES).certificate
    client = authority.issue_client("Walter White", user_id="walter").certificate
    verifier = PolicyBuilder().store(Store([authority.identity.certificate])).build_client_verifier()
    verifier.verify(client, [])
    with pytest.raises(x509.verification.VerificationError):
        verifier.verify(server, [])
    usage = client.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_client_leaf_carries_cn_and_uid() -> None:
    subject = Authority.create().issue_client("Walter White", user_id="walter").certificate.subject
    assert [each.value for each in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["Walter White"]
    assert [each.value for each in subject.get_attributes_for_oid(NameOID.USER_ID)] == ["walter"]


def test_client_leaf_without_uid_has_none() -> None:
    subject = Authority.create().issue_client("wälter").certificate.subject
    assert subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "wälter"
    assert subject.get_attributes_for_oid(NameOID.USER_ID) == []


def test_key_types() -> None:
    authority = Authority.create()
    p256 = authority.issue_server(NAMES).key
    assert isinstance(p256, ec.EllipticCurvePrivateKey)
    assert p256.curve.name == "secp256r1"
    rsa_leaf = authority.issue_server(NAMES, key_type=KeyType.RSA2048)
    assert isinstance(rsa_leaf.key, rsa.RSAPrivateKey)
    assert rsa_leaf.key.key_size == 2048
    assert rsa_leaf.certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_encipherment


def test_pin_is_the_digest_of_the_public_key() -> None:
    identity = Authority.create().issue_server(NAMES)
    spki = identity.key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    expected = "pin-sha256:" + base64.b64encode(hashlib.sha256(spki).digest()).decode()
    assert identity.pin == pin_sha256(identity.certificate) == expected


def test_bad_names_are_refused() -> None:
    authority = Authority.create()
    with pytest.raises(CertificateError, match="at least one host name"):
        authority.issue_server([])
    with pytest.raises(CertificateError, match="neither an IP address nor an ASCII host name"):
        authority.issue_server(["vpn.exämple"])
    with pytest.raises(CertificateError, match="cannot be the name of a certificate"):
        authority.issue_client("x" * 65)


def test_server_names_have_loopback_and_no_wildcard() -> None:
    assert server_names("127.0.0.1") == ("127.0.0.1", "localhost", "::1")
    assert server_names("192.0.2.1") == ("192.0.2.1", "localhost", "127.0.0.1", "::1")
    assert "0.0.0.0" not in server_names("0.0.0.0")
    assert "::" not in server_names("::")


def test_state_directory_persists_authority_and_pin(tmp_path: Path) -> None:
    state = tmp_path / "new" / "state"
    first = open_server_identity(state, NAMES)
    assert open_server_identity(state, NAMES).certificate == first.certificate
    assert open_authority(state).identity.pin == open_authority(state).identity.pin
    first.certificate.verify_directly_issued_by(open_authority(state).identity.certificate)
    assert sorted(file.name for file in state.iterdir()) == ["ca.key", "ca.pem", "server.key", "server.pem"]
    assert mode(state) == 0o700
    assert mode(state / "server.key") == mode(state / "ca.key") == 0o600
    assert b"BEGIN PRIVATE KEY" in (state / "server.key").read_bytes()


def test_a_new_name_brings_a_new_certificate_with_the_old_pin(tmp_path: Path) -> None:
    first = open_server_identity(tmp_path, ["127.0.0.1"])
    second = open_server_identity(tmp_path, ["127.0.0.1", "192.0.2.7"])
    assert second.certificate != first.certificate
    assert second.pin == first.pin
    assert open_server_identity(tmp_path, ["127.0.0.1"]).certificate == second.certificate


def test_headends_that_share_a_directory_share_a_certificate(tmp_path: Path) -> None:
    first = ["127.0.0.2", "127.0.0.1", "::1", "localhost", "vpn.example.test"]
    open_server_identity(tmp_path, first)
    open_server_identity(tmp_path, ["127.0.0.3", "127.0.0.1"])
    shared = load_identity(tmp_path / "server.pem", tmp_path / "server.key")
    assert open_server_identity(tmp_path, first).certificate == shared.certificate
    assert open_server_identity(tmp_path, ["127.0.0.3"]).certificate == shared.certificate
    for number in range(2 * MAX_NAMES):
        open_server_identity(tmp_path, [f"192.0.2.{number}"])
    last = open_server_identity(tmp_path, ["localhost"])
    names = last.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert len(list(names)) == MAX_NAMES


def test_renewal_before_expiry_keeps_the_pin(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    first = open_server_identity(tmp_path, NAMES, now=now)
    almost = now + LEAF_LIFE - RENEW_BEFORE - timedelta(seconds=1)
    assert open_server_identity(tmp_path, NAMES, now=almost).certificate == first.certificate
    renewed = open_server_identity(tmp_path, NAMES, now=almost + timedelta(seconds=1))
    assert renewed.certificate != first.certificate
    assert renewed.pin == first.pin


def test_a_leaf_of_another_authority_is_signed_again(tmp_path: Path) -> None:
    first = open_server_identity(tmp_path, NAMES)
    (tmp_path / "ca.pem").unlink()
    second = open_server_identity(tmp_path, NAMES)
    assert second.pin == first.pin
    second.certificate.verify_directly_issued_by(open_authority(tmp_path).identity.certificate)


def test_another_key_type_brings_another_pin(tmp_path: Path) -> None:
    first = open_server_identity(tmp_path, NAMES)
    second = open_server_identity(tmp_path, NAMES, key_type=KeyType.RSA2048)
    assert isinstance(second.key, rsa.RSAPrivateKey)
    assert second.pin != first.pin


def test_many_starts_at_once_agree_on_one_certificate(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        identities = list(pool.map(lambda _: open_server_identity(tmp_path, NAMES), range(8)))
    assert len({each.certificate for each in identities}) == 1


def test_chain_is_saved_and_loaded_leaf_first(tmp_path: Path) -> None:
    authority = Authority.create()
    leaf = authority.issue_server(NAMES)
    certificate_file, key_file = tmp_path / "cert.pem", tmp_path / "key.pem"
    key_file.write_text("old")
    key_file.chmod(0o644)
    type(leaf)(leaf.certificate, leaf.key, (authority.identity.certificate,)).save(certificate_file, key_file)
    loaded = load_identity(certificate_file, key_file)
    assert loaded.certificate == leaf.certificate
    assert loaded.chain == (authority.identity.certificate,)
    assert mode(key_file) == 0o600


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match=r"absent\.pem: No such file or directory; check the path"):
        load_certificates(tmp_path / "absent.pem")


def test_garbage_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x.pem"
    Authority.create().issue_server(NAMES).save(tmp_path / "cert.pem", tmp_path / "key.pem")
    for content in (b"", b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        file.write_bytes(content)
        with pytest.raises(CertificateError, match=r"x\.pem: no certificate in PEM form"):
            load_certificates(file)
        with pytest.raises(CertificateError, match=r"x\.pem: not a private key in PEM form"):
            load_identity(tmp_path / "cert.pem", file)


def test_foreign_key_is_refused(tmp_path: Path) -> None:
    authority = Authority.create()
    authority.issue_server(NAMES).save(tmp_path / "a.pem", tmp_path / "a.key")
    authority.issue_server(NAMES).save(tmp_path / "b.pem", tmp_path / "b.key")
    with pytest.raises(CertificateError, match=r"b\.key: this key does not belong to .*a\.pem"):
        load_identity(tmp_path / "a.pem", tmp_path / "b.key")


def test_encrypted_key_is_refused_with_the_remedy(tmp_path: Path) -> None:
    leaf = Authority.create().issue_server(NAMES)
    leaf.save(tmp_path / "a.pem", tmp_path / "a.key")
    encrypted = leaf.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"x"),
    )
    (tmp_path / "a.key").write_bytes(encrypted)
    with pytest.raises(CertificateError, match=r"a\.key: the private key is encrypted; .*openssl pkey"):
        load_identity(tmp_path / "a.pem", tmp_path / "a.key")


def test_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    Authority.create().issue_server(NAMES).save(tmp_path / "a.pem", tmp_path / "a.key")
    other = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "a.key").write_bytes(other)
    with pytest.raises(CertificateError, match="neither an EC nor an RSA key"):
        load_identity(tmp_path / "a.pem", tmp_path / "a.key")


def test_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CertificateError, match="file/state: cannot be used: "):
        open_authority(tmp_path / "file" / "state")


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    leaf = Authority.create().issue_server(NAMES)
    (tmp_path / "key.pem").mkdir()
    with pytest.raises(CertificateError, match=r"key\.pem: cannot be written: "):
        leaf.save(tmp_path / "cert.pem", tmp_path / "key.pem")
    assert [file.name for file in tmp_path.iterdir()] == ["key.pem"]
