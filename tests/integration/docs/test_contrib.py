"""The files to copy: their commands, settings and times are those of the product."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import trustme
import yaml

from api.server import GRACE_SECONDS
from sendoff import __version__
from sendoff.observability.metrics import INSTALLATION, REGISTRY, WORKER
from sendoff.settings import Settings, load
from tests.support.ports import free_port
from tests.support.processes import ROOT

CONTRIB = ROOT / "contrib"
UNITS = sorted((CONTRIB / "systemd").glob("*.service"))
CHART = CONTRIB / "helm" / "sendoff"
COMPOSE_VARIABLES = {"image", "consumer_image", "listen"}
"""What compose.yaml takes from .env that no process reads."""
KUBERNETES = "1.31.0"
METRIC = re.compile(r"\b((?:sendoff|process)_[a-z_]+?)(?:_bucket)?(?=[\[{() ]|$)")
FILES = sorted(path for path in CONTRIB.rglob("*") if path.is_file())


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONTRIB)))
def test_every_setting_named_exists(file: Path) -> None:
    named = {name.removeprefix("SENDOFF_").lower() for name in re.findall(r"SENDOFF_[A-Z_]+", file.read_text())}
    assert named - COMPOSE_VARIABLES <= set(Settings.model_fields)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_is_valid_and_gives_its_process_time_to_stop(unit: Path, tmp_path: Path) -> None:
    text = unit.read_text()
    [seconds] = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.M)
    assert int(seconds) >= Settings.model_fields["shutdown_grace_seconds"].default + 10
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed here")
    # The user and the program are the machine's that it is copied to.
    name = unit.name.replace("@.", "@1.")
    (tmp_path / name).write_text(text.replace("/opt/sendoff/bin/sendoff", shutil.which("true") or "/bin/true"))
    done = subprocess.run([program, "verify", "--man=no", tmp_path / name], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if name in line]
    assert complaints == []


def test_the_unit_of_the_api_gives_it_time_to_drain_and_then_to_stop() -> None:
    text = (CONTRIB / "systemd" / "sendoff-web.service").read_text()
    [drain] = re.findall(r"SENDOFF_DRAIN_SECONDS=(\d+)$", text, re.M)
    [seconds] = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.M)
    assert 0 < int(drain) <= int(seconds) - GRACE_SECONDS - 5


def test_the_steps_for_systemd_install_this_version_by_hash() -> None:
    page = (CONTRIB / "README.md").read_text()
    assert set(re.findall(r"sendoff-(\d[\d.]*\d)", page)) == {__version__}
    [file] = re.findall(r"--require-hashes --only-binary :all: -r (\S+)$", page, re.M)
    assert (ROOT / file).exists()


def test_an_upgrade_with_systemd_moves_the_link_after_the_migration() -> None:
    page = (ROOT / "docs" / "how-to" / "upgrade.md").read_text()
    section = page.partition("## With systemd\n")[2].partition("\n## ")[0]
    commands = "".join(re.findall(r"^```sh\n(.*?)^```", section, re.DOTALL | re.M))
    subprocess.run(["bash", "-n"], input=commands, text=True, check=True)
    order = ["-m venv $NEW", "new migrate --plan\n", "new migrate\n", "ln -sfn $NEW", "systemctl restart"]
    assert [commands.index(one) for one in order] == sorted(commands.index(one) for one in order)
    assert commands.count("ln -sfn") == 2  # forth, and back


def test_prometheus_has_the_jobs_that_the_alert_rules_name() -> None:
    rules = (CONTRIB / "prometheus" / "alerts.yml").read_text()
    for file in (CONTRIB / "prometheus" / "prometheus.yml", CONTRIB / "compose" / "prometheus.yml"):
        written = yaml.safe_load(file.read_text())
        assert set(re.findall(r'job="([^"]+)"', rules)) <= {job["job_name"] for job in written["scrape_configs"]}
        assert written["alerting"]["alertmanagers"]


def test_proxies_close_idle_connections_before_the_api_does() -> None:
    keep_alive = Settings.model_fields["keep_alive_seconds"].default
    for file, pattern in (("nginx.conf", r"keepalive_timeout (\d+)s"), ("Caddyfile", r"keepalive (\d+)s")):
        [seconds] = re.findall(pattern, (CONTRIB / "proxy" / file).read_text())
        assert int(seconds) < keep_alive


@pytest.mark.parametrize("operators", ["open", "closed"])
@pytest.mark.parametrize("behind", ["clients", "a balancer"])
def test_nginx_takes_its_configuration(behind: str, operators: str, tmp_path: Path) -> None:
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed here")
    trustme.CA().issue_cert("webhooks.example.com").private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    block = (CONTRIB / "proxy" / "nginx.conf").read_text().replace("listen 443", f"listen 127.0.0.1:{free_port()}")
    if operators == "closed":
        [lines] = re.findall(r"^    # location .*?^    # }$", block, re.DOTALL | re.MULTILINE)
        block = block.replace(lines, re.sub(r"^    # ", "    ", lines, flags=re.MULTILINE))
    if behind == "a balancer":
        [lines] = re.findall(r"^```nginx\n(.*?)^```", (CONTRIB / "README.md").read_text(), re.DOTALL | re.MULTILINE)
        block = block.replace("    location / {", f"{lines}\n    location / {{")
    block = re.sub(r"/etc/ssl/\S+\.(pem|key);", f"{tmp_path}/both.pem;", block)
    (tmp_path / "nginx.conf").write_text(f"pid {tmp_path}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{block}}}\n")
    command: list[str | Path] = [program, "-t", "-p", tmp_path, "-c", "nginx.conf", "-e", "stderr"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


def test_caddy_takes_its_configuration() -> None:
    program = shutil.which("caddy", path=f"{os.environ['PATH']}:{ROOT}/.tools/bin")
    if program is None:
        pytest.skip("caddy is not installed here; `make client-tools` builds it with Go")
    command: list[str | Path] = [program, "adapt", "--config", CONTRIB / "proxy" / "Caddyfile", "--validate"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_compose_file_is_one_by_the_compose_specification() -> None:
    written = yaml.safe_load((CONTRIB / "compose" / "compose.yaml").read_text())
    specification = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
    jsonschema.Draft201909Validator(specification).validate({k: v for k, v in written.items() if k != "name"})
    services = written["services"].values()
    used = {volume for service in services for volume in _sources(service)}
    assert set(written["volumes"]) >= {name for name in used if not name.startswith(".")}
    for service in services:
        assert set(service.get("depends_on", {})) <= set(written["services"])
        for volume in _sources(service):
            file = CONTRIB / "compose" / volume
            assert not volume.startswith(".") or file.exists() or file.with_suffix(f".sample{file.suffix}").exists()


def test_a_database_is_healthy_in_compose_only_when_it_takes_connections() -> None:
    """The image's server answers on its socket alone while it makes the database, and the migration is not repeated."""
    services = _compose()
    assert "--host=127.0.0.1" in services["postgres"]["healthcheck"]["test"]


def test_the_variables_of_the_compose_file_stand_in_its_sample() -> None:
    text = (CONTRIB / "compose" / "compose.yaml").read_text()
    needed = set(re.findall(r"\$\{(\w+):\?", text))
    given = set(_sample())
    settings = {f"SENDOFF_{name.upper()}" for name in Settings.model_fields}
    assert needed <= given <= {*re.findall(r"\$\{(\w+):", text), *settings}


@pytest.mark.parametrize("name", ["migrate", "web", "worker", "consume"])
def test_every_setting_in_env_reaches_each_process_of_compose(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process gets the lines of `.env`, and over them what stands under `environment`."""
    file = _sample() | {
        "POSTGRES_PASSWORD": "postgres-password",
        "GRAFANA_PASSWORD": "grafana-password",
        "SENDOFF_SECRET_KEYS": "k" * 32,
        "SENDOFF_IMAGE": "registry.example/sendoff:1",
        "SENDOFF_CONSUMER_IMAGE": "registry.example/consumer:1",
        "SENDOFF_LISTEN": "0.0.0.0:8000",
        "SENDOFF_LOG_ATTEMPTS": "all",
        "SENDOFF_DRAIN_SECONDS": "7",
    }
    service = _compose()[name]
    assert service["env_file"] == [".env"]
    given = file | {key: _interpolate(value, file) for key, value in service["environment"].items()}
    for variable in [key for key in os.environ if key.startswith("SENDOFF_")]:
        monkeypatch.delenv(variable)
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    settings = load()
    assert (settings.log_attempts, settings.drain_seconds, settings.disable_after_seconds) == ("all", 7, 3600)
    assert "postgres-password" in settings.database_url
    assert not given["POSTGRES_PASSWORD"] + given["GRAFANA_PASSWORD"]


def test_files_that_operators_fill_in_are_copies_that_git_ignores() -> None:
    """A change of a tracked file is in the way of `git pull`."""
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"/contrib/compose/alertmanager.yml", ".env"} <= set(ignored)
    [mount] = [
        volume
        for volume in _compose()["alertmanager"]["volumes"]
        if isinstance(volume, dict) and volume["source"] == "./alertmanager.yml"
    ]
    assert mount["bind"] == {"create_host_path": False}  # or Docker makes a folder of that name


def test_a_version_in_compose_has_images_of_its_own() -> None:
    """An upgrade that built over the image of the version before would leave no way back."""
    sample = _sample()
    assert sample["SENDOFF_IMAGE"] == f"sendoff:{__version__}"
    assert sample["SENDOFF_CONSUMER_IMAGE"] == f"sendoff-consumer:{__version__}"
    consume = _compose()["consume"]
    assert _interpolate(consume["image"], sample) == sample["SENDOFF_CONSUMER_IMAGE"]
    assert _interpolate(consume["build"]["args"]["SENDOFF_IMAGE"], sample) == sample["SENDOFF_IMAGE"]
    assert {_interpolate(_compose()[name]["image"], sample) for name in ("migrate", "web", "worker")} == {
        sample["SENDOFF_IMAGE"]
    }


@pytest.mark.parametrize(
    "page", sorted([*(ROOT / "docs").rglob("*.md"), *CONTRIB.rglob("*.md")]), ids=lambda page: page.name
)
def test_a_command_in_compose_does_not_migrate_before_it(page: Path) -> None:
    """`web` depends on the migration, which `docker compose run` would start first."""
    assert _compose()["web"]["depends_on"]["migrate"]
    for options in re.findall(r"docker compose run ([^`\n]*?) (?:web|worker)\b", page.read_text()):
        assert "--no-deps" in options.split()


def test_a_proxy_on_the_machine_is_the_one_that_the_compose_sample_trusts() -> None:
    compose = yaml.safe_load((CONTRIB / "compose" / "compose.yaml").read_text())
    sample = _sample()
    [config] = compose["networks"]["default"]["ipam"]["config"]
    subnet = _interpolate(config["subnet"], {})
    assert sample["SUBNET"] == subnet
    assert sample["SENDOFF_TRUSTED_PROXIES"] == str(next(ip_network(subnet).hosts()))


def test_alerts_of_compose_reach_an_alertmanager_that_can_tell_people() -> None:
    folder = CONTRIB / "compose"
    services = _compose()
    prometheus = yaml.safe_load((folder / "prometheus.yml").read_text())
    [target] = prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    assert target.partition(":")[0] in services
    text = (folder / "alertmanager.sample.yml").read_text()
    assert yaml.safe_load(text)["receivers"] == [{"name": "operators"}]
    [filled_in] = yaml.safe_load(re.sub(r"^    # ", "    ", text, flags=re.M))["receivers"]
    assert {"slack_configs", "email_configs", "webhook_configs"} < set(filled_in)


@pytest.mark.parametrize("autoscaling", ["none", "hpa", "keda"])
def test_the_chart_renders_what_kubernetes_takes(autoscaling: str, tmp_path: Path) -> None:
    rendered = _render(
        f"worker.autoscaling.kind={autoscaling}",
        "serviceMonitor.enabled=true",
        "uploads.persistence.enabled=true",
        "uploads.persistence.existingClaim=uploads",
        "consume.replicas=2",
    )
    documents = [document for document in yaml.safe_load_all(rendered) if document]
    kinds = Counter(document["kind"] for document in documents)
    scaler = {"hpa": {"HorizontalPodAutoscaler": 1}, "keda": {"ScaledObject": 1}}.get(autoscaling, {})
    assert kinds == {
        "ConfigMap": 1,
        "Deployment": 3,
        "Job": 1,
        "NetworkPolicy": 2,
        "PodDisruptionBudget": 2,
        "PodMonitor": 2,
        "Service": 1,
        "ServiceMonitor": 1,
        **scaler,
    }
    for document in documents:
        _check_pod(document)
    validator = shutil.which("kubernetes-validate")
    if validator is None:
        pytest.skip("kubernetes-validate is not installed here, so the schemas were not checked")
    file = tmp_path / "rendered.yaml"
    file.write_text(rendered)
    command: list[str | Path] = [
        validator,
        "--kubernetes-version",
        KUBERNETES.rpartition(".")[0],
        "--strict",
        "--quiet",
        file,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_chart_gives_pods_the_time_that_their_processes_take_to_stop() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    by_name = {
        document["metadata"]["name"]: document["spec"]["template"]["spec"]
        for document in yaml.safe_load_all(_render())
        if document and document["kind"] == "Deployment"
    }
    web, worker = by_name["release-web"], by_name["release-worker"]
    assert web["terminationGracePeriodSeconds"] >= values["web"]["drainSeconds"] + GRACE_SECONDS + 5
    assert worker["terminationGracePeriodSeconds"] >= values["worker"]["shutdownGraceSeconds"] + 10


def test_the_chart_consumes_nothing_unless_asked_to() -> None:
    assert "consume" not in {
        document["metadata"]["labels"].get("app.kubernetes.io/component")
        for document in yaml.safe_load_all(_render())
        if document
    }


@pytest.mark.parametrize("replicas", [0, 1])
def test_the_chart_opens_brokers_ports_to_the_pods_that_consume_alone(replicas: int) -> None:
    brokers = set(yaml.safe_load((CHART / "values.yaml").read_text())["networkPolicy"]["brokerPorts"])
    opened = {
        (document["spec"]["podSelector"]["matchLabels"].get("app.kubernetes.io/component"), port["port"])
        for document in yaml.safe_load_all(_render(f"consume.replicas={replicas}"))
        if document and document["kind"] == "NetworkPolicy"
        for rule in document["spec"]["egress"]
        for port in rule["ports"]
    }
    expected = {("consume", port) for port in brokers} if replicas else set()
    assert {(component, port) for component, port in opened if port in brokers} == expected


def test_the_chart_is_of_this_version() -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == __version__


def test_rules_and_dashboard_name_metrics_that_there_are() -> None:
    rules = yaml.safe_load((CONTRIB / "prometheus" / "alerts.yml").read_text())
    dashboard = json.loads((CONTRIB / "grafana" / "sendoff.json").read_text())
    asked = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    asked += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    families = [family for registry in (REGISTRY, INSTALLATION, WORKER) for family in registry.collect()]
    known = {sample.name for family in families for sample in family.samples}
    known |= {family.name for family in families}
    # A counter's or histogram's samples appear with its first label.
    known |= {f"{family.name}{ending}" for family in families for ending in ("_total", "_count", "_info")}
    named = {name for expression in asked for name in METRIC.findall(expression)}
    assert len(named) > 8
    assert named <= known


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed here")
def test_prometheus_takes_its_configuration_and_that_behind_tls(tmp_path: Path) -> None:
    given = (CONTRIB / "prometheus" / "prometheus.yml").read_text()
    [by_tls] = re.findall(r"^```yaml\n(scrape_configs:.*?)^```", (CONTRIB / "README.md").read_text(), re.DOTALL | re.M)
    shutil.copy(CONTRIB / "prometheus" / "alerts.yml", tmp_path)
    for name, text in (("plain.yml", given), ("tls.yml", given.partition("scrape_configs:")[0] + by_tls)):
        (tmp_path / name).write_text(text)
        done = subprocess.run(["promtool", "check", "config", name], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed here")
def test_the_alert_rules_fire_when_they_should() -> None:
    folder = CONTRIB / "prometheus"
    for arguments in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]):
        done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def _compose() -> dict[str, Any]:
    """The services of the Compose file."""
    services: dict[str, Any] = yaml.safe_load((CONTRIB / "compose" / "compose.yaml").read_text())["services"]
    return services


def _sample() -> dict[str, str]:
    """The variables of the sample for Compose's `.env`."""
    return dict(re.findall(r"^(\w+)=(.*)$", (CONTRIB / "compose" / ".env.sample").read_text(), re.M))


def _interpolate(value: str, variables: Mapping[str, str]) -> str:
    """A value of a Compose file with its variables: `${NAME:-default}` and `${NAME:?error}`."""
    return re.sub(r"\$\{(\w+):[-?]([^}]*)\}", lambda found: variables.get(found[1]) or found[2], value)


def _sources(service: dict[str, Any]) -> set[str]:
    """The volumes, files and folders that a service of a Compose file mounts."""
    volumes = service.get("volumes", [])
    return {volume["source"] if isinstance(volume, dict) else volume.partition(":")[0] for volume in volumes}


def _render(*settings: str) -> str:
    """The chart's manifests with these settings; skips the test where helm is missing."""
    helm = shutil.which("helm")
    if helm is None:
        pytest.skip("helm is not installed here")
    given = [part for setting in settings for part in ("--set", setting)]
    command: list[str | Path] = [helm, "template", "release", CHART, "--kube-version", KUBERNETES, *given]
    done: subprocess.CompletedProcess[str] = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _check_pod(document: dict[str, Any]) -> None:
    """Pods run without rights, with settings that exist."""
    if document["kind"] not in ("Deployment", "Job"):
        return
    pod = document["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    [container] = pod["containers"]
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert {mount["name"] for mount in container["volumeMounts"]} <= {volume["name"] for volume in pod["volumes"]}
