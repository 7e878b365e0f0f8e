"""Certificates for a LAN that has no certificate authority, and trusting one of them."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from beira.identity.private_files import PrivateFiles
from beira.kernel.errors import Misconfigured

DAYS = 825
CERTIFICATE_FILE = "tls-cert.pem"
KEY_FILE = "tls-key.pem"


def self_signed(folder: Path, files: PrivateFiles | None = None) -> tuple[Path, Path]:
    """A certificate and key in `folder` for this machine's names, made at the first call; the key is
    kept through `files`.

    Others must be told to trust the certificate's file (`--ca`), or accept it in the browser.
    """
    certificate, key = folder / CERTIFICATE_FILE, folder / KEY_FILE
    try:
        if not (certificate.exists() and key.exists()):
            _make(folder, certificate, key, files or PrivateFiles())
    except OSError as error:
        raise Misconfigured(
            f"A certificate cannot be made in {folder}: {error.strerror}.",
            code="tls.certificate",
            hint="Give this user the right to write there, or give --tls-cert and --tls-key.",
        ) from None
    return certificate, key


def _make(folder: Path, certificate: Path, key: Path, files: PrivateFiles) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o711)
    private = ec.generate_private_key(ec.SECP256R1())
    content = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    files.write(key, content)
    certificate.write_bytes(_signed(private).public_bytes(serialization.Encoding.PEM))


def trusting(
    ca: Path | None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext | bool:
    """What aiohttp takes for `ssl`: the system's authorities, or the one in `ca`, from TLS 1.3 on.

    `certificate` with its `key` (or both in one file) is shown to a proxy that asks for one.
    Raises Misconfigured.
    """
    if ca is None and certificate is None:
        return True
    try:
        context = ssl.create_default_context(cafile=str(ca) if ca else None)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(
            f"{ca} is no certificate to trust: {error}.", hint="Give --ca a file in PEM form."
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if certificate is not None:
        _show(context, certificate, key)
    return context


def _show(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(
            f"{certificate} cannot be shown as a certificate: {error}.",
            code="tls.certificate",
            hint="Give --client-cert and --client-key in PEM form, as this user may read them.",
        ) from None


def _signed(private: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, socket.gethostname()[:64])])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName(_names()), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )


def _names() -> list[x509.GeneralName]:
    """This machine's names and addresses, as the LAN may call it."""
    host = socket.gethostname()
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.DNSName(host)]
    names.append(x509.DNSName(f"{host}.local"))
    addresses = {"127.0.0.1", "::1"}
    with contextlib.suppress(OSError):
        addresses |= {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    names += [x509.IPAddress(ipaddress.ip_address(a.split("%")[0])) for a in sorted(addresses)]
    return names
