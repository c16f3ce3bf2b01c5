"""Part `pki`: which certificates the OPC UA server lets in, with clients of asyncua and certificates of cryptography."""

import json
import logging
import socket

import tool
import ua as opcua
from asyncua import Client, ua
from certificates import DAY, revocation_list, rsa_certificate
from check import equal, listens, ok, section, until
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from gateway import Gateway
from plant import PASSWORD, free_port


class Codes(logging.Handler):
    """asyncua says the code of an ERR message in its log only."""

    def __init__(self):
        super().__init__()
        self.last = None

    def emit(self, record):
        """Called by logging."""
        for argument in record.args if isinstance(record.args, tuple) else ():
            if isinstance(argument, ua.ErrorMessage):
                self.last = argument.Error.name


def config(folder, port):
    """A gateway with an OPC UA server and nothing else."""
    (folder / "password").write_text(PASSWORD + "\n")
    return f"""\
[node]
group = "interop"
name = "pki"

[store]
path = "{folder}/store"

[publish.opcua]
listen = "127.0.0.1:{port}"
host = "gateway.interop.example"

[[publish.opcua.user]]
name = "operator"
password = {{ file = "{folder}/password" }}
"""


async def run(folder):
    """Refusals with their codes, trust while it runs, authorities, renewal."""
    folder.mkdir(parents=True)
    port = free_port()
    gateway = Gateway(folder, config(folder, port))
    url = f"opc.tcp://127.0.0.1:{port}/"
    pki = folder / "store/publishers/opcua/pki"
    codes = Codes()
    log = logging.getLogger("asyncua")
    log.addHandler(codes)

    async def command(what, *more):
        code, said, why = await tool.run("pki", what, gateway.file, *more)
        ok(f"fieldgate pki {what} works", code == 0, said + why)
        return said

    async def connects(name):
        """`Good`, or the code with which it is refused."""
        codes.last = None
        try:
            reader = await opcua.secure(url, folder, "operator", PASSWORD, name)
            await reader.client.disconnect()
            return "Good"
        except ua.UaStatusCodeError as error:
            return codes.last or ua.StatusCode(error.code).name
        except Exception as why:  # the connection is gone; the log has the code
            return codes.last or repr(why)

    try:
        gateway.start()
        ok("the OPC UA server listens", await until(lambda: listens(port), 60), gateway.tail())
        section("the server's own certificate")
        await own_certificate(url, folder, command)

        section("who is refused, and how")
        rsa_certificate(folder, "known", opcua.APPLICATION)
        rsa_certificate(folder, "expired", opcua.APPLICATION, times=(-2 * DAY, -DAY))
        rsa_certificate(folder, "early", opcua.APPLICATION, times=(DAY, 2 * DAY))
        rsa_certificate(folder, "short", opcua.APPLICATION, bits=1024)
        rsa_certificate(folder, "other", "urn:interop:other")
        equal("an unknown certificate", await connects("known"), "BadCertificateUntrusted")
        listed = json.loads(await command("list", "--json"))["certificates"]
        rejected = [c for c in listed if c["is"] == "rejected"]
        equal("it is kept with its URI", [c["application_uris"] for c in rejected], [[opcua.APPLICATION]])
        await command("trust", rejected[0]["thumbprint"][:8])
        equal("trusted while the gateway runs", await connects("known"), "Good")
        for name, wanted in (("expired", "BadCertificateTimeInvalid"), ("early", "BadCertificateTimeInvalid"),
                             ("short", "BadCertificatePolicyCheckFailed"), ("other", "BadCertificateUriInvalid")):
            await command("trust", folder / f"{name}.der")
            equal(f"trusted, but {name}", await connects(name), wanted)

        section("authorities")
        root = rsa_certificate(folder, "root", None, authority=True)
        sub = rsa_certificate(folder, "sub", None, issuer=root, authority=True)
        child, _ = rsa_certificate(folder, "child", opcua.APPLICATION, issuer=sub)
        equal("nothing is known of its issuers", await connects("child"), "BadCertificateChainIncomplete")
        await command("trust", folder / "sub.der", "--issuer")
        await command("trust", folder / "root.der")
        equal("no list of the issuer", await connects("child"), "BadCertificateRevocationUnknown")
        revocation_list(pki / "crl/sub.crl", sub)
        equal("no list of the issuer's issuer", await connects("child"), "BadCertificateIssuerRevocationUnknown")
        revocation_list(pki / "crl/root.crl", root)
        equal("a chain of three with lists", await connects("child"), "Good")
        revocation_list(pki / "crl/root.crl", root, [sub[0]])
        equal("its issuer is revoked", await connects("child"), "BadCertificateIssuerRevoked")
        revocation_list(pki / "crl/root.crl", root)
        revocation_list(pki / "crl/sub.crl", sub, [child])
        equal("it is revoked", await connects("child"), "BadCertificateRevoked")

        section("renewal")
        old = await opcua.secure(url, folder, "operator", PASSWORD, "known")
        before = await served(url)
        await command("renew", "--keep-key")
        renewed = (pki / "own/cert.der").read_bytes()
        ok("the file is new", renewed != before)

        async def is_served():
            return await served(url) == renewed

        ok("new connections get it without a restart", await until(is_served, 20), gateway.tail())
        equal("with it a client connects", await connects("known"), "Good")
        value = await old.client.nodes.server_state.read_value()
        equal("the old session goes on", value, ua.ServerState.Running)
        await old.client.disconnect()
        await command("reject", rejected[0]["thumbprint"])
        equal("trusted no longer", await connects("known"), "BadCertificateUntrusted")
    finally:
        log.removeHandler(codes)
        gateway.cleanup()


async def served(url):
    """The certificate in the endpoints."""
    endpoints = await Client(url, timeout=10).connect_and_get_server_endpoints()
    return endpoints[0].ServerCertificate


async def own_certificate(url, folder, command):
    """What it says; and that the command writes the one that is served."""
    endpoints = await Client(url, timeout=10).connect_and_get_server_endpoints()
    der = endpoints[0].ServerCertificate
    certificate = x509.load_der_x509_certificate(der)
    extension = certificate.extensions.get_extension_for_class
    names = extension(x509.SubjectAlternativeName).value
    equal("its URI is that of the endpoints", names.get_values_for_type(x509.UniformResourceIdentifier),
          [endpoints[0].Server.ApplicationUri])
    hosts = names.get_values_for_type(x509.DNSName)
    ok("it names host, machine and localhost",
       {"gateway.interop.example", socket.gethostname(), "localhost"} <= set(hosts), hosts)
    addresses = {str(a) for a in names.get_values_for_type(x509.IPAddress)}
    equal("and loopback", addresses, {"127.0.0.1", "::1"})
    usage = extension(x509.KeyUsage).value
    ok("it may sign and encipher", usage.digital_signature and usage.content_commitment and usage.key_encipherment
       and usage.data_encipherment and not usage.crl_sign)
    equal("for servers and clients", set(extension(x509.ExtendedKeyUsage).value),
          {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH})
    ok("it is no authority", not extension(x509.BasicConstraints).value.ca)
    equal("its key", certificate.public_key().key_size, 2048)
    equal("its signature", certificate.signature_hash_algorithm.name, "sha256")
    certificate.verify_directly_issued_by(certificate)
    pem = await command("export")
    ok("fieldgate pki export gives it", x509.load_pem_x509_certificate(pem.encode()) == certificate)
