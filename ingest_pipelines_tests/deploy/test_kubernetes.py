"""The Kubernetes manifests, and the job that a run becomes: held to Kubernetes' schemas, oldest and newest we know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import DagsterRun

from ingest_pipelines_tests.deploy.places import DEPLOY

ROOTS = (DEPLOY / "kubernetes", DEPLOY / "proxy")
VERSIONS = ("1.33", "1.37")
SECRETS = {"ingest", "ingest-proxy"}
"""Made by hand, as docs/deploy.md says."""


def _kustomizations() -> Iterator[tuple[Path, dict[str, Any]]]:
    for root in ROOTS:
        yield root, yaml.safe_load((root / "kustomization.yaml").read_text())


def _manifests() -> list[dict[str, Any]]:
    return [
        manifest
        for root, kustomization in _kustomizations()
        for name in kustomization["resources"]
        if (root / name).is_file()
        for manifest in yaml.safe_load_all((root / name).read_text())
    ]


def _validate(manifest: dict[str, Any], version: str) -> None:
    """Fails where Kubernetes would; the package of its schemas is imported late, for it takes seconds."""
    import kubernetes_validate

    kubernetes_validate.validate(manifest, version, strict=True)


def _of(kind: str) -> list[dict[str, Any]]:
    return [manifest for manifest in _manifests() if manifest["kind"] == kind]


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_manifest(version: str) -> None:
    manifests = _manifests()
    assert len(manifests) == 26
    for manifest in manifests:
        _validate(manifest, version)


def test_every_file_is_listed_and_every_listed_file_is_there() -> None:
    for root, kustomization in _kustomizations():
        generated = [name for each in kustomization["configMapGenerator"] for name in each["files"]]
        assert all((root / name).exists() for name in (*kustomization["resources"], *generated))
        not_ours = {"kustomization.yaml", "helm-values.yaml", *generated}
        assert {path.name for path in root.glob("*.yaml")} - not_ours == {
            name for name in kustomization["resources"] if name.endswith(".yaml")
        }


def test_every_name_that_a_pod_asks_for_exists() -> None:
    maps = {found["metadata"]["name"] for found in _of("ConfigMap")}
    maps |= {each["name"] for _, kustomization in _kustomizations() for each in kustomization["configMapGenerator"]}
    accounts = {found["metadata"]["name"] for found in _of("ServiceAccount")}
    for pod in (deployment["spec"]["template"]["spec"] for deployment in _of("Deployment")):
        assert pod.get("serviceAccountName", "ingest-run") in accounts
        [container] = pod["containers"]
        for volume in pod["volumes"]:
            assert volume.get("configMap", {}).get("name", "ingest-dagster") in maps
            assert volume.get("secret", {}).get("secretName", "ingest") in SECRETS
        for source in container.get("envFrom", ()):
            assert source.get("configMapRef", {}).get("name", "ingest-settings") in maps
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_services_and_policies_select_the_pods_that_are_there() -> None:
    pods = {
        deployment["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"]
        for deployment in _of("Deployment")
    }
    for service in _of("Service"):
        assert service["spec"]["selector"]["app.kubernetes.io/name"] in pods
    named = yaml.safe_dump(_of("NetworkPolicy"))
    assert {pod for pod in pods if pod in named} == pods


def test_no_pod_runs_as_root_gains_rights_or_writes_its_image() -> None:
    for pod in (deployment["spec"]["template"]["spec"] for deployment in _of("Deployment")):
        _is_restricted(pod)


def test_only_the_launcher_may_do_anything_in_the_cluster_and_only_with_jobs() -> None:
    [role], [binding] = _of("Role"), _of("RoleBinding")
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "ingest-launcher"}]
    writes = [rule["resources"] for rule in role["rules"] if set(rule["verbs"]) - {"get", "list", "watch"}]
    assert writes == [["jobs", "jobs/status"]]
    assert not _of("ClusterRole")


def test_only_the_code_the_watcher_the_studio_and_the_runs_get_the_targets_address() -> None:
    holders = {
        deployment["metadata"]["name"]
        for deployment in _of("Deployment")
        if any(
            "secretRef" in source
            for source in deployment["spec"]["template"]["spec"]["containers"][0].get("envFrom", ())
        )
    }
    assert holders == {"ingest-code", "ingest-watcher", "ingest-studio"}


def test_only_the_proxy_reaches_the_studio_and_both_have_the_same_secret() -> None:
    [policy] = [found for found in _of("NetworkPolicy") if found["metadata"]["name"] == "ingest-studio"]
    [rule] = policy["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "ingest-proxy"}}}]
    [pod] = [found for found in _of("Deployment") if found["metadata"]["name"] == "ingest-studio"]
    secrets = [volume["secret"] for volume in pod["spec"]["template"]["spec"]["volumes"] if "secret" in volume]
    assert secrets == [{"secretName": "ingest-proxy", "items": [{"key": "studio_secret", "path": "studio_secret"}]}]
    [container] = pod["spec"]["template"]["spec"]["containers"]
    assert {"name": "INGEST_STUDIO_PROXY_SECRET_FILE", "value": "/run/secrets/studio/studio_secret"} in container["env"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_run_becomes_one_restricted_pod_with_the_codes_image(version: str, tmp_path: Path) -> None:
    job = _job_of_a_run(tmp_path, image="registry.example.com/ingest-project:1")
    _validate(job, version)
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["image"] == "registry.example.com/ingest-project:1"
    assert pod["serviceAccountName"] == "ingest-run"
    assert pod["automountServiceAccountToken"] is False
    assert pod["restartPolicy"] == "Never"
    assert job["spec"]["ttlSecondsAfterFinished"] == 86400
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted == {"/var/lib/ingest/state", "/tmp"}
    assert {"configMapRef": {"name": "ingest-settings"}} in container["envFrom"]
    assert {"secretRef": {"name": "ingest"}} in container["envFrom"]
    _is_restricted(pod)


def _is_restricted(pod: dict[str, Any]) -> None:
    """What the namespace's pod security standard `restricted` asks for, and a read-only root besides."""
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        allowed = container["securityContext"]
        assert allowed["allowPrivilegeEscalation"] is False
        assert allowed["readOnlyRootFilesystem"] is True
        assert allowed["capabilities"] == {"drop": ["ALL"]}


def _job_of_a_run(folder: Path, image: str) -> dict[str, Any]:
    """The Kubernetes job that Dagster's launcher makes of a run, with the launcher of our dagster.yaml."""
    from dagster_k8s.container_context import K8sContainerContext
    from dagster_k8s.job import construct_dagster_k8s_job
    from dagster_k8s.launcher import K8sRunLauncher

    cluster = folder / "kubeconfig"
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "none",
        "users": [{"name": "none", "user": {}}],
        "clusters": [{"name": "none", "cluster": {"server": "https://127.0.0.1:1"}}],
        "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
    }
    cluster.write_text(yaml.safe_dump(kubeconfig))
    profile = yaml.safe_load((DEPLOY / "kubernetes" / "dagster.yaml").read_text())
    config = profile["run_launcher"]["config"]
    launcher = K8sRunLauncher(**config, load_incluster_config=False, kubeconfig_file=str(cluster))
    run = DagsterRun(job_name="__ASSET_JOB", run_id="00000000-0000-4000-8000-000000000000")
    context = K8sContainerContext.create_for_run(run, launcher, include_run_tags=True)
    job_config = context.get_k8s_job_config(job_image=image, run_launcher=launcher)
    job = construct_dagster_k8s_job(
        job_config,
        args=["dagster", "api", "execute_run", "{}"],
        job_name="dagster-run-1",
        component="run_worker",
        user_defined_k8s_config=context.run_k8s_config,
    )
    made: dict[str, Any] = launcher._api_client.batch_api.api_client.sanitize_for_serialization(job)
    return made
