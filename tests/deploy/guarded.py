"""A Kafka with SCRAM over TLS and ACLs, and a Redis with TLS and ACL users; certificates of an authority made here."""

import ipaddress
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec import Struct

from services.access import ACCESS, kafka_acls, redis_rules, user_of
from services.local.broker import Broker
from services.local.database import server_from_jar, server_version
from services.local.process import ChildProcess
from services.settings import Common
from tests.services.gateway_bench import free_port

HOST = "127.0.0.1"
PATIENCE_S = 120.0
SEVEN = (7, 0)
BROKER = """
listeners=PLAINTEXT://127.0.0.1:{{broker_port}},CONTROLLER://127.0.0.1:{{controller_port}},GUARDED://127.0.0.1:{port}
advertised.listeners=PLAINTEXT://127.0.0.1:{{broker_port}},GUARDED://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SASL_SSL
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.guarded.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.guarded.ssl.keystore.type=PEM
listener.name.guarded.ssl.keystore.location={pem}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""
"""Whoever comes by plain text is the broker itself, and these tests' administrator."""


class Guarded(Struct):
    """Where they are, and what each service shows itself by.

    Args:
        plain: the broker's own listener.
        passwords: service → its password, at both.
        before_7: this Redis knows no permission to read alone.
    """

    kafka: str
    plain: str
    redis_port: int
    authority: Path
    passwords: dict[str, str]
    before_7: bool

    def environ(self, service: str, prefix: str) -> dict[str, str]:
        """The settings of a service's own."""
        user, password = user_of(service), self.passwords[service]
        return {
            "STRATAGEM_KAFKA_BOOTSTRAP": self.kafka,
            "STRATAGEM_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "STRATAGEM_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "STRATAGEM_KAFKA_SASL_USERNAME": user,
            "STRATAGEM_KAFKA_SASL_PASSWORD": password,
            "STRATAGEM_KAFKA_SSL_CAFILE": str(self.authority),
            "STRATAGEM_KAFKA_TIMEOUT_S": "30",  # a first handshake takes long on a busy machine
            "STRATAGEM_REDIS_URL": f"rediss://{HOST}:{self.redis_port}/0",
            "STRATAGEM_REDIS_USERNAME": user,
            "STRATAGEM_REDIS_PASSWORD": password,
            "STRATAGEM_REDIS_SSL_CAFILE": str(self.authority),
            "STRATAGEM_TOPIC_PREFIX": prefix,
            "STRATAGEM_GROUP_PREFIX": f"{prefix}stratagem-",
        }

    def settings(self, prefix: str) -> Common:
        """The installation's names."""
        return Common(topic_prefix=prefix, group_prefix=f"{prefix}stratagem-")

    def allow_kafka(self, prefix: str) -> None:
        """Give every service of an installation what the table says, and nothing else."""
        settings, admin = self.settings(prefix), AdminClient({"bootstrap.servers": self.plain})
        bindings = [
            AclBinding(
                ResourceType[acl.resource], acl.name, ResourcePatternType[acl.pattern], acl.principal, "*",
                AclOperation[acl.operation], AclPermissionType.ALLOW,
            )
            for service in ACCESS
            for acl in sorted(set(kafka_acls(service, settings)))
        ]  # fmt: skip
        for done in admin.create_acls(bindings, request_timeout=PATIENCE_S).values():
            done.result()

    def allow_redis(self, prefix: str) -> None:
        """The same in Redis, in place of what they had."""
        settings = self.settings(prefix)
        with redis.Redis(
            host=HOST,
            port=self.redis_port,
            password=self.passwords["redis"],
            ssl=True,
            ssl_ca_certs=str(self.authority),
        ) as client:
            for service in ACCESS:
                rules = redis_rules(service, settings, before_7=self.before_7).split()
                client.execute_command(
                    "ACL", "SETUSER", user_of(service), "on", f">{self.passwords[service]}", *(rules or ["-@all"])
                )


def newest_redis(home: Path) -> Path | None:
    """A Redis of 7 or later, which can be told that a user reads a key and does not write it; in CI there must be one.

    Debian's `redis-tools` brings the server under another of its names, and none that the other tests would take for theirs.
    """
    if (on_path := shutil.which("redis-server")) and (server_version(Path(on_path)) or (0, 0)) >= SEVEN:
        return Path(on_path)
    if debians := shutil.which("redis-check-rdb"):
        linked = home / "redis-server"
        linked.symlink_to(debians)
        if (server_version(linked) or (0, 0)) >= SEVEN:
            return linked
    if os.environ.get("CI"):
        pytest.fail("no Redis of 7 or later: .ci/run installs Debian's redis-tools")
    return None


@contextmanager
def guarded(home: Path, cache: Path) -> Iterator[Guarded]:
    """Both, until the end of the block."""
    authority, pem = certificates(home)
    passwords = {name: secrets.token_urlsafe(18) for name in (*ACCESS, "redis")}
    port, redis_port = free_port(), free_port()
    broker = Broker(
        home / "kafka", cache=cache, progress=lambda _: None, more_properties=BROKER.format(port=port, pem=pem)
    )
    try:
        lines = f"port 0\ntls-port {redis_port}\ntls-auth-clients no\ntls-ca-cert-file {authority}\n"
        lines += f'tls-cert-file {pem}\ntls-key-file {pem}\nrequirepass "{passwords["redis"]}"\nbind {HOST}\n'
        config = home / "redis.conf"
        config.write_text(f'{lines}save ""\ndir {home}\n')
        program = newest_redis(home) or server_from_jar(cache, lambda _: None)
        server = ChildProcess("redis", [str(program), str(config)], log=home / "redis.log")
        try:
            before_7 = (server_version(program) or (0, 0)) < SEVEN
            found = Guarded(f"{HOST}:{port}", broker.bootstrap, redis_port, authority, passwords, before_7)
            make_users(found)
            yield found
        finally:
            server.stop()
    finally:
        broker.stop()


def make_users(found: Guarded) -> None:
    """A SCRAM user per service; once Redis answers."""
    admin = AdminClient({"bootstrap.servers": found.plain})
    asked = [
        UserScramCredentialUpsertion(
            user_of(service),
            ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096),
            found.passwords[service].encode(),
        )
        for service in ACCESS
    ]
    for done in admin.alter_user_scram_credentials(asked, request_timeout=PATIENCE_S).values():
        done.result()
    give_up_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_s:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, found.redis_port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError("redis does not answer")


def certificates(home: Path) -> tuple[Path, Path]:
    """An authority's certificate, and a file with a server's key and certificate for loopback."""
    root, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority of this test")])
    authority = home / "ca.pem"
    usage = x509.BasicConstraints(ca=True, path_length=0)
    own = _certificate(issuer, root, issuer, root).add_extension(usage, critical=True)
    may_sign = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    own = own.add_extension(may_sign, critical=True)
    signed_own = own.sign(root, hashes.SHA256())
    authority.write_bytes(signed_own.public_bytes(serialization.Encoding.PEM))
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    signed = _certificate(subject, key, issuer, root).add_extension(names, critical=False).sign(root, hashes.SHA256())
    pem = home / "server.pem"
    pem.touch(mode=0o600)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return authority, pem


def _certificate(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, root: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False)
    )
