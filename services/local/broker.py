"""A real single-node Apache Kafka (KRaft: broker and controller in one process) on loopback ports."""

import base64
import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from services.local.class_cache import class_cache_options
from services.local.java import Progress, find_java, resolve_jars
from services.local.process import ChildProcess, ProcessDied

KAFKA_VERSION = "4.3.0"
ENDPOINT = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"
HEAP = "512m"
RECORD_LIMIT_BYTES = 6 * 1024 * 1024  # a 5 MB value with its headers passes, so that it can be dead-lettered whole
READY_TIMEOUT_S = 120.0  # a cold JVM on a busy two-core machine; usually 5
CLASSES_TIMEOUT_S = 120.0  # for a JVM to write what it has loaded, as it ends; usually 10
PORT_ATTEMPTS = 5
POLL_S = 0.1
ANSWER_TIMEOUT_MS = 2_000  # for one question while starting
USUAL_PORT = 9092  # where everybody expects Kafka
PORT_TAKEN = ("Address already in use", "BindException")

PickPorts = Callable[[], tuple[int, int]]

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{broker_port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
message.max.bytes={record_limit_bytes}
replica.fetch.max.bytes={record_limit_bytes}
log.cleaner.dedupe.buffer.size=16777216
"""


def pick_free_ports() -> tuple[int, int]:
    """Return two loopback ports that nobody listens on just now: for the broker and for its controller."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def pick_usual_ports() -> tuple[int, int]:
    """Return Kafka's usual port if it is free, else another, with a free one for the controller."""
    broker_port, controller_port = pick_free_ports()
    with socket.socket() as usual:
        usual.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as Kafka does: connections that linger do not matter
        with contextlib.suppress(OSError):
            usual.bind(("127.0.0.1", USUAL_PORT))
            return USUAL_PORT, controller_port
    return broker_port, controller_port


def new_cluster_id() -> str:
    """Return 22 characters of URL-safe base64 that do not begin with a dash, which the format tool takes for an option."""
    raw = uuid.uuid4().bytes
    return base64.urlsafe_b64encode(bytes([raw[0] & 0x7F]) + raw[1:]).decode().rstrip("=")


class Broker:
    """Apache Kafka as a child process.

    Attributes:
        process: The running broker.
        bootstrap: Its address, `host:port`.
        cluster_id: The id its data was formatted with.
    """

    def __init__(
        self,
        home: Path,
        *,
        cache: Path,
        progress: Progress,
        keep_open: Sequence[int] = (),
        pick_ports: PickPorts = pick_free_ports,
        more_properties: str = "",
        java_options: Sequence[str] | None = None,
    ) -> None:
        """Format the data folder if it is new, start Kafka, and return once it answers.

        Args:
            home: Holds `data/`, `server.properties` and `kafka.log`; what is there is kept and used.
            cache: Where downloaded jars are kept.
            progress: Told what is being done.
            keep_open: File descriptors held as long as Kafka lives.
            pick_ports: Chooses the two ports; asked again when one is taken meanwhile.
            more_properties: Lines for `server.properties` after ours, of which the last one of a name counts; may name
                `{broker_port}` and `{controller_port}`.
            java_options: Of the broker's JVM; if `None`, those that find Kafka's classes loaded, which is seen to once.

        Raises:
            MissingPart: If there is no Java, or Kafka cannot be downloaded.
            ProcessDied: If it stops while starting.
        """
        self._home = home
        self._keep_open = keep_open
        self._properties = PROPERTIES + more_properties
        jars, java = resolve_jars(ENDPOINT, cache, progress), find_java()
        prepared: tuple[str, ...] = ()
        if java_options is None:
            prepared = class_cache_options(java, jars[0].parent, progress, lambda option: _load_classes(option, cache))
        kafka = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", ":".join(map(str, jars))]
        home.mkdir(parents=True, exist_ok=True)
        self.cluster_id = self._format([str(java), *prepared, *kafka], progress)
        progress(f"starting Kafka {KAFKA_VERSION}")
        self.process, self.bootstrap = self._start(
            [str(java), *prepared, *(java_options or ()), *kafka], progress, pick_ports
        )

    def _configure(self, broker_port: int, controller_port: int) -> Path:
        path = self._home / "server.properties"
        path.write_text(
            self._properties.format(
                broker_port=broker_port,
                controller_port=controller_port,
                data=self._home / "data",
                record_limit_bytes=RECORD_LIMIT_BYTES,
            )
        )
        return path

    def _format(self, java: list[str], progress: Progress) -> str:
        """Write the data folder's identity, once, and return the cluster id."""
        id_file = self._home / "cluster-id"
        if id_file.exists():  # written last, so its presence means a finished format
            return id_file.read_text()
        progress(f"formatting Kafka's data folder in {self._home}")
        cluster_id = new_cluster_id()
        properties = self._configure(9092, 9093)  # the ports play no part in formatting
        log = self._home / "format.log"
        tool = [*java[:1], "-XX:TieredStopAtLevel=1", *java[1:], "kafka.tools.StorageTool", "format"]
        with log.open("wb") as output:
            done = subprocess.run(
                [*tool, "--ignore-formatted", "-t", cluster_id, "-c", str(properties)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
            )
        if done.returncode != 0:
            raise ProcessDied("kafka's format tool", done.returncode, log, log.read_text(errors="replace"))
        id_file.write_text(cluster_id)
        return cluster_id

    def _start(self, java: list[str], progress: Progress, pick_ports: PickPorts) -> tuple[ChildProcess, str]:
        for attempt in range(1, PORT_ATTEMPTS + 1):
            broker_port, controller_port = pick_ports()
            properties = self._configure(broker_port, controller_port)
            process = ChildProcess(
                "kafka",
                [java[0], f"-Xmx{HEAP}", *java[1:], "kafka.Kafka", properties],
                log=self._home / "kafka.log",
                keep_open=self._keep_open,
            )
            bootstrap = f"127.0.0.1:{broker_port}"
            try:
                self._wait_until_ready(process, bootstrap)
            except ProcessDied as death:
                process.stop()
                taken = any(sign in death.tail for sign in PORT_TAKEN)
                if not taken or attempt == PORT_ATTEMPTS:
                    raise
                progress(f"port {broker_port} or {controller_port} was taken meanwhile: trying others")
            except BaseException:  # Ctrl-C included
                process.stop()
                raise
            else:
                return process, bootstrap
        message = "unreachable: the last attempt returns or raises"
        raise AssertionError(message)

    def _wait_until_ready(self, process: ChildProcess, bootstrap: str) -> None:
        give_up_s = time.monotonic() + READY_TIMEOUT_S
        while not answers(bootstrap, self.cluster_id):
            process.check()
            if time.monotonic() > give_up_s:
                message = f"kafka does not answer after {READY_TIMEOUT_S:.0f} s:\n{process.tail()}"
                raise TimeoutError(message)
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Stop it."""
        self.process.stop()


def _load_classes(option: str, cache: Path) -> None:
    """Run a broker on nothing with one more option of its JVM, and end it: what it has loaded is what others will want."""
    with tempfile.TemporaryDirectory(prefix="stratagem-kafka-") as home:
        broker = Broker(Path(home), cache=cache, progress=lambda _message: None, java_options=[option])
        try:
            os.kill(broker.process.pid, signal.SIGTERM)  # by itself: `stop` would not wait until everything is written
            broker.process.wait(CLASSES_TIMEOUT_S)
        finally:
            broker.stop()


def answers(bootstrap: str, cluster_id: str) -> bool:
    """Tell whether a broker of *our* cluster answers a metadata request there (a taken port may have another's)."""
    host, _, port = bootstrap.rpartition(":")
    with socket.socket() as probe:  # cheaper than a client, and silent while nobody listens
        if probe.connect_ex((host, int(port))) != 0:
            return False
    try:
        admin = KafkaAdminClient(
            bootstrap_servers=bootstrap,
            request_timeout_ms=ANSWER_TIMEOUT_MS,
            bootstrap_timeout_ms=ANSWER_TIMEOUT_MS,
        )
    except KafkaError:
        return False
    try:
        cluster = admin.describe_cluster()
    except KafkaError:
        return False
    finally:
        admin.close()
    return cluster.get("cluster_id") == cluster_id and bool(cluster.get("brokers"))
