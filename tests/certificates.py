"""Certificates that tests make: an authority, and what it signs."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """A certificate authority of a test's own, with its files below a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(f"authority {folder.name}")
        certificate = (
            _begun(self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_signs_certificates(), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = certificate.public_bytes(serialization.Encoding.PEM).decode()

    def texts(self, name: str, hosts: tuple[str, ...] = ()) -> dict[str, str]:
        """A new certificate for those host names or addresses: `cert` and `key`, in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        # Without it Python's own default takes no certificate, RFC 5280 being strict there.
        issued_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = _begun(_named(name), self._name, key).add_extension(issued_by, critical=False)
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False
            )
        certificate = builder.sign(self._key, hashes.SHA256())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {"cert": certificate.public_bytes(serialization.Encoding.PEM).decode(), "key": private.decode()}

    def files(self, name: str, hosts: tuple[str, ...] = ()) -> tuple[Path, Path]:
        """The same as files: the certificate's and the key's."""
        texts = self.texts(name, hosts)
        paths = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        for path, text in zip(paths, (texts["cert"], texts["key"]), strict=True):
            path.write_text(text)
        return paths


def _signs_certificates() -> x509.KeyUsage:
    others = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    return x509.KeyUsage(
        **dict.fromkeys((*others, "encipher_only", "decipher_only"), False), key_cert_sign=True, crl_sign=True
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _begun(name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )
