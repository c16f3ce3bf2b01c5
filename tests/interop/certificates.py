"""An authority of our own with a certificate for the device and one for the gateway, by the cryptography package."""

import datetime
import ipaddress
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DEVICE = "plc.interop.example"
DAY = datetime.timedelta(days=1)


def rsa_certificate(folder, name, uri, bits=2048, times=(-DAY, 30 * DAY), issuer=None, authority=False):
    """`NAME.der` and `NAME.pem` (its key) of an OPC UA application or an RSA authority; gives certificate and key.

    `times` are from now; `issuer` is what this gave for an authority, None signs itself.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"interop {name}")])
    now = datetime.datetime.now(datetime.timezone.utc)
    usage = x509.KeyUsage(digital_signature=True, content_commitment=True, key_encipherment=True,
                          data_encipherment=True, key_agreement=False, key_cert_sign=True, crl_sign=authority,
                          encipher_only=False, decipher_only=False)
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now + times[0]).not_valid_after(now + times[1])
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), True).add_extension(usage, True))
    if not authority:
        names = [x509.UniformResourceIdentifier(uri), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False) \
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
    certificate = builder.sign(issuer[1] if issuer else key, hashes.SHA256())
    (folder / f"{name}.der").write_bytes(certificate.public_bytes(serialization.Encoding.DER))
    (folder / f"{name}.pem").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return certificate, key


def revocation_list(path, issuer, revoked=()):
    """Of an authority that `rsa_certificate` made; `revoked` are certificates."""
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer[0].subject) \
        .last_update(now - DAY).next_update(now + DAY)
    for certificate in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number).revocation_date(now - DAY)
        builder = builder.add_revoked_certificate(entry.build())
    path.write_bytes(builder.sign(issuer[1], hashes.SHA256()).public_bytes(serialization.Encoding.DER))


class Authority:
    """Writes all as PEM files into a folder."""

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "interop authority")])
        self.ca = folder / "ca.pem"
        self._write(self.ca, self._certificate(self.name, self.key, None))
        self.sign("device", DEVICE, ExtendedKeyUsageOID.SERVER_AUTH)
        self.sign("gateway", "gateway.interop.example", ExtendedKeyUsageOID.CLIENT_AUTH)

    def path(self, name):
        """One of its files."""
        return self.folder / name

    def sign(self, file, name, usage):
        """`FILE.pem` and `FILE.key` for a name."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._write(self.path(f"{file}.pem"), self._certificate(subject, key, usage, name))
        self.path(f"{file}.key").write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))

    def _certificate(self, subject, key, usage, name=None):
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=usage is None, path_length=None), True))
        if usage is not None:
            names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), False) \
                .add_extension(x509.ExtendedKeyUsage([usage]), False)
        return builder.sign(self.key, hashes.SHA256())

    @staticmethod
    def _write(path, certificate):
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server_context(self):
        """For a device that demands a certificate of this authority from whoever connects."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path("device.pem"), self.path("device.key"))
        context.load_verify_locations(self.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def keys(self, own=True):
        """The `tls` key of the gateway's link, with or without a certificate of its own."""
        parts = [f'ca = "{self.ca}"', f'server-name = "{DEVICE}"']
        if own:
            parts += [f'certificate = "{self.path("gateway.pem")}"', f'key = "{self.path("gateway.key")}"']
        return f"tls = {{ {', '.join(parts)} }}\n"
