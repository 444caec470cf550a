"""Deployments fit the code: settings that exist, probes that mean something, an order, nothing that asks for trouble."""

import re
from typing import Any

import msgspec
import promql_parser as promql
import pytest
import yaml

from services.cli import main
from services.health import HEALTHY, READY
from services.metrics import DEFAULT_PORTS
from services.readme import SERVICES
from services.settings import PREFIX, Common, UpdaterSettings, load
from tests.deploy.manifests import (
    DEPLOY,
    KNOWN,
    KUBERNETES,
    ORDER,
    ROOT,
    VARIABLE,
    WORKLOADS,
    compose,
    container,
    documents,
    kinds,
    settings_of,
    texts,
)
from tests.services.promql import below, missing, sample_names

ONE_SHOT = {"topics", "replay"}
OURS = {"agents", "worker", "updater", "gateway"}
COMPOSE = compose()["services"]
BASE = kinds("base", *WORKLOADS)
SECRET = {PREFIX + field.name.upper() for field in msgspec.structs.fields(Common) if "PASSWORD" in field.name.upper()}


def test_every_variable_is_a_typed_setting() -> None:
    """A misspelt one would be ignored in silence: none is, in any file of the deployment or on its page."""
    unknown = {
        f"{path.name}: {name}"
        for path in texts()
        for name in VARIABLE.findall(path.read_text())
        if name not in KNOWN and not name.endswith("_")
    }
    assert unknown == set()


@pytest.mark.parametrize("folders", [("base", "overlays/local"), ("base", "overlays/managed")])
def test_an_overlays_settings_can_be_used(folders: tuple[str, ...]) -> None:
    """They parse, for every service, with the secrets that they refer to."""
    secrets = {"STRATAGEM_KAFKA_SASL_USERNAME": "worker", "STRATAGEM_KAFKA_SASL_PASSWORD": "p"}
    environ = settings_of(*folders)
    for _, kind in SERVICES:
        if issubclass(kind, Common):
            made = load(kind, environ | secrets if "STRATAGEM_KAFKA_SASL_MECHANISM" in environ else environ)
            assert made.kafka_bootstrap
            assert made.redis_url


def test_no_file_holds_a_secret() -> None:
    """Passwords come from secrets and from Compose's environment: nothing but a reference stands here."""
    for folder in ("base", "overlays/local", "overlays/managed", "overlays/gpu"):
        assert not [each for each in documents(folder) if each["kind"] == "Secret"]
        if folder != "overlays/gpu":
            assert not SECRET & settings_of(folder).keys()
    for service in COMPOSE.values():
        for name, value in (service.get("environment") or {}).items():
            assert "PASSWORD" not in name or value.startswith("${"), name


def test_every_command_exists() -> None:
    """What containers are told to run are commands of `stratagem`."""
    said = [COMPOSE[name]["command"][0] for name in OURS | ONE_SHOT]
    said += [container(workload)["args"][0] for workload in BASE.values()]
    assert set(said) <= set(main.commands)


def test_compose_starts_in_order() -> None:
    """Topics once Kafka answers, services once topics are made, the replay once they are ready."""
    assert COMPOSE["topics"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}
    for name in OURS:
        assert COMPOSE[name]["depends_on"]["topics"]["condition"] == "service_completed_successfully"
    assert {each["condition"] for each in COMPOSE["replay"]["depends_on"].values()} == {"service_healthy"}
    assert COMPOSE["replay"]["profiles"] == ["replay"]


def test_compose_asks_each_service_how_it_is() -> None:
    """On the port that it serves; what runs once has no such question, and is not started again."""
    for name, service in COMPOSE.items():
        if name in ONE_SHOT:
            assert service["restart"] == "no"
            assert "healthcheck" not in service
            continue
        assert service["restart"] == "unless-stopped"
        if name in OURS:
            assert service["healthcheck"]["test"] == ["CMD", "python", "-m", "services.probe", str(DEFAULT_PORTS[name])]
        else:
            assert service["healthcheck"]["test"]


def test_compose_is_closed() -> None:
    """Loopback only, no privileges, a root that nobody writes to (Kafka's script does), versions that stay."""
    for name, service in COMPOSE.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"] is (name != "kafka")
        assert ":" in service["image"]
        assert not service["image"].endswith(":latest")


def test_compose_scrapes_every_service() -> None:
    """By the name and the port that it has, under the labels of rules and dashboards."""
    config = yaml.safe_load((DEPLOY / "compose" / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "stratagem"
    found = {each["names"][0]: each["port"] for each in job["dns_sd_configs"]}
    assert found == {name: DEFAULT_PORTS[name] for name in OURS}


@pytest.mark.parametrize("name", sorted(OURS))
def test_pods_are_probed_where_they_answer(name: str) -> None:
    """Live means the loop turns, ready means ready for work; a start may take minutes, and is not taken for a death."""
    found = container(BASE[name])
    assert {"name": "metrics", "containerPort": DEFAULT_PORTS[name]} in found["ports"]
    probes = {probe: found[probe]["httpGet"] for probe in ("livenessProbe", "readinessProbe", "startupProbe")}
    assert {each["port"] for each in probes.values()} == {"metrics"}
    assert (probes["livenessProbe"]["path"], probes["readinessProbe"]["path"]) == (HEALTHY, READY)
    start = found["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] >= 120


@pytest.mark.parametrize("name", sorted(BASE))
def test_pods_are_closed(name: str) -> None:
    """No root, no privileges, no token, a read-only root; memory is asked for and bounded; an identity of its own."""
    pod, found = BASE[name]["spec"]["template"]["spec"], container(BASE[name])
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == name
    assert found["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert found["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "memory" in found["resources"]["limits"]
    assert {"secretRef": {"name": f"stratagem-{name}"}} in found["envFrom"]


def measured() -> dict[str, list[str]]:
    """Pod → cores and memory that were measured, what it asks for of each, its limit: the table of docs/measured.md."""
    text = (ROOT / "docs" / "measured.md").read_text(encoding="utf-8").partition("## What a service takes")[2]
    rows = re.findall(r"^\| `([a-z-]+)` \|(.*)\|$", text, re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in rows}


def quantity(text: str) -> float:
    """Of Kubernetes or of the table: cores, or bytes."""
    number, unit = re.fullmatch(r"([\d.]+) ?(\w*)", text).groups()  # type: ignore[union-attr]  # else it is none
    return float(number) * {"": 1.0, "m": 1e-3, "MB": 1e6, "Mi": 2.0**20, "Gi": 2.0**30}[unit]


def test_pods_ask_for_what_was_measured() -> None:
    """Each row of the table is what a manifest says, and no less than was measured; every pod has one."""
    pods = BASE | kinds("overlays/local", *WORKLOADS)
    pods |= {"worker-gpu": yaml.safe_load((KUBERNETES / "overlays" / "gpu" / "worker.yaml").read_text())}
    table = measured()
    assert table.keys() == pods.keys()
    for name, (cores, memory, cpu, asked, limit) in table.items():
        found = container(pods[name])["resources"]
        assert (found["requests"]["cpu"], found["requests"]["memory"], found["limits"]["memory"]) == (cpu, asked, limit)
        assert cores in ("–", "not measured") or quantity(cores) <= quantity(cpu), name
        assert memory == "not measured" or quantity(memory) <= quantity(asked) < quantity(limit), name


def test_the_rollout_goes_from_readers_to_writers() -> None:
    """Topics, then updater (rewards), worker (requests), agents (events), gateway; `rollout` applies exactly these."""
    orders = {name: int(each["metadata"]["labels"][ORDER]) for name, each in BASE.items()}
    assert sorted(orders, key=orders.__getitem__) == ["topics", "updater", "worker", "agents", "gateway"]
    said = (DEPLOY / "rollout").read_text()
    for name, order in orders.items():
        kind = BASE[name]["kind"].lower()
        assert f"{order}:{kind}/{name}" in said or kind == "job"


def test_disruptions_take_one_at_a_time() -> None:
    """Every service has a budget that chooses its pods."""
    budgets = kinds("base", "PodDisruptionBudget")
    assert budgets.keys() == OURS
    for name, budget in budgets.items():
        assert budget["spec"]["maxUnavailable"] == 1
        assert budget["spec"]["selector"]["matchLabels"] == {"app.kubernetes.io/name": name}


def test_one_updater_works_and_one_stands_by() -> None:
    """Each with a home of its own, on another node where there is one; a lease shorter than Kubernetes' own patience."""
    spec = BASE["updater"]["spec"]
    assert spec["replicas"] == 2
    assert spec["volumeClaimTemplates"][0]["metadata"]["name"] == "home"
    assert UpdaterSettings().lease_s < spec["template"]["spec"]["terminationGracePeriodSeconds"]


def test_nothing_is_reachable_that_is_not_named() -> None:
    """The first policy closes every pod both ways."""
    spec = kinds("base", "NetworkPolicy")["nothing"]["spec"]
    assert spec == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def scalers() -> dict[str, dict[str, Any]]:
    """What KEDA is told."""
    return kinds("components/scaling", "ScaledObject")


def test_scalers_ask_for_metrics_that_exist() -> None:
    """Each query parses, of names and labels that services expose, and its threshold is a number above 0."""
    for name, scaler in scalers().items():
        (trigger,) = scaler["spec"]["triggers"]
        query = trigger["metadata"]["query"]
        assert trigger["metricType"] == "Value"
        assert float(trigger["metadata"]["threshold"]) > 0
        asked = [node for node in below(promql.parse(query)) if isinstance(node, promql.VectorSelector)]
        assert asked, name
        assert missing(query, sample_names()) == []


def test_scalers_scale_what_has_no_number_of_its_own() -> None:
    """A number in the manifest would undo theirs at each rollout; with more replicas than partitions a new one is never ready."""
    partitions = int(settings_of("base")["STRATAGEM_PARTITIONS"])
    for scaler in scalers().values():
        target = BASE[scaler["spec"]["scaleTargetRef"]["name"]]
        assert target["kind"] == scaler["spec"]["scaleTargetRef"]["kind"]
        assert "replicas" not in target["spec"]
        assert scaler["spec"]["maxReplicaCount"] + target["spec"]["strategy"]["rollingUpdate"]["maxSurge"] <= partitions


def test_images_are_the_same_everywhere() -> None:
    """One name and one version, with the CUDA one beside it."""
    kustomization = yaml.safe_load((KUBERNETES / "base" / "kustomization.yaml").read_text())
    (image,) = kustomization["images"]
    assert COMPOSE["agents"]["image"] == f"{image['name']}:{image['newTag']}"
    gpu = yaml.safe_load((KUBERNETES / "overlays" / "gpu" / "worker.yaml").read_text())
    assert container(gpu)["image"] == f"{image['name']}:{image['newTag']}-cuda"


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.cuda"])
def test_images_bring_what_a_setting_may_ask_for(name: str) -> None:
    """A registry in an object store, and spans for a collector: both are extras of the package."""
    text = (DEPLOY / "docker" / name).read_text(encoding="utf-8")
    assert set(re.findall(r"--extra (\w+)", text)) == {"s3", "tracing"}
