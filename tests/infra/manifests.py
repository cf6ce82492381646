"""Kubernetes manifests, the compose file and the Containerfile, offline.

usage: manifests.py      in the repository's root

Core kinds are validated against Kubernetes' own schemas (kubernetes-validate). Knative's are not published in a form that can be had
offline: its Service is held against the core schema of the pod that it wraps, and against the fields of Knative's own that it uses.
The compose file and the Containerfile are checked for their shape: that every name leads somewhere, every image has a version, and
nobody is root.
"""

import copy
import json
import pathlib
import re
import shutil
import subprocess
import sys

import kubernetes_validate
import yaml

KUBERNETES = pathlib.Path("infra/kubernetes")
# The oldest that knows everything that is used (backoffLimitPerIndex), and the newest that the validator has.
VERSIONS = ["1.29", "1.36"]
PLAIN = ["account.yaml", "searcher.yaml", "nightly.yaml"]
SHARDS = [
    KUBERNETES / "build-shards", "--store", "s3://bucket/cairn", "--input", "s3://bucket/points/", "--collection", "docs",
    "--distance", "cosine", "--shards", "8", "--print",
]


def fail(why):
    sys.exit(f"manifests.py: {why}")


def check(holds, why):
    if not holds:
        fail(why)


def validate(manifest):
    for version in VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)


def is_refused(manifest):
    try:
        validate(manifest)
    except kubernetes_validate.ValidationError:
        return True
    return False


def pods(manifest):
    """The pod specs inside a manifest, each with its labels."""
    spec = manifest.get("spec", {})
    if manifest["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    if "template" in spec:
        template = spec["template"]
        yield template["spec"], template.get("metadata", {}).get("labels", {})


def check_pod(where, pod, pod_level=True):
    check(pod.get("serviceAccountName"), f"{where}: the default service account")
    outer = pod.get("securityContext", {})
    if pod_level:
        check(outer.get("runAsNonRoot") and outer.get("seccompProfile"), f"{where}: may be root, or without seccomp")
        check(pod.get("automountServiceAccountToken") is False, f"{where}: brings a token that nobody needs")
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    for container in pod["containers"]:
        inner = container["securityContext"]
        check(inner["allowPrivilegeEscalation"] is False and inner["readOnlyRootFilesystem"] is True, f"{where}: too free")
        check(inner["capabilities"] == {"drop": ["ALL"]}, f"{where}: keeps capabilities")
        check("memory" in container["resources"]["limits"] and container["resources"]["requests"], f"{where}: no limit")
        for mount in container.get("volumeMounts", []):
            check(mount["name"] in volumes, f"{where}: mounts {mount['name']}, which is no volume")
            check(volumes[mount["name"]]["emptyDir"].get("sizeLimit"), f"{where}: {mount['name']} has no limit")


def check_kubernetes():
    manifests = []
    for name in PLAIN:
        manifests += [(name, manifest) for manifest in yaml.safe_load_all((KUBERNETES / name).read_text())]
    printed = subprocess.run(SHARDS, check=True, capture_output=True, text=True).stdout
    manifests += [("build-shards", manifest) for manifest in yaml.safe_load_all(printed)]
    for name, manifest in manifests:
        validate(manifest)
        damaged = copy.deepcopy(manifest)
        damaged["metadata"]["nmae"] = "x"
        check(is_refused(damaged), f"{name}: the validator takes anything")
        for pod, labels in pods(manifest):
            check_pod(f"{name} {manifest['kind']}", pod)
            if "selector" in manifest["spec"]:
                selector = manifest["spec"]["selector"]["matchLabels"]
                check(selector.items() <= labels.items(), f"{name}: selects {selector}, which its pods are not")
    kinds = [manifest["kind"] for _, manifest in manifests]
    for kind in ("ServiceAccount", "Deployment", "Service", "PodDisruptionBudget", "CronJob", "Job"):
        check(kind in kinds, f"no {kind}")

    by_kind = {manifest["kind"]: manifest for _, manifest in manifests}
    deployed = by_kind["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for kind in ("Service", "PodDisruptionBudget"):
        selector = by_kind[kind]["spec"]["selector"]
        selector = selector.get("matchLabels", selector)
        check(selector.items() <= deployed.items(), f"the {kind} selects {selector}, but searchers are {deployed}")
    ports = [port["name"] for port in by_kind["Deployment"]["spec"]["template"]["spec"]["containers"][0]["ports"]]
    check(by_kind["Service"]["spec"]["ports"][0]["targetPort"] in ports, "the Service leads to no port")
    shards, publish = [manifest for name, manifest in manifests if name == "build-shards"]
    check(shards["spec"]["completionMode"] == "Indexed" and shards["spec"]["completions"] == 8, "no indexed job of 8")
    check(shards["metadata"]["labels"]["cairn/generation"] == publish["metadata"]["labels"]["cairn/generation"], "two generations")
    accounts = {manifest["metadata"]["name"] for _, manifest in manifests if manifest["kind"] == "ServiceAccount"}
    for name, manifest in manifests:
        for pod, _ in pods(manifest):
            check(pod["serviceAccountName"] in accounts, f"{name}: {pod['serviceAccountName']} is no account of ours")
    return len(manifests)


def check_kustomization():
    """Rendered by kubectl where it is there; its files and images in any case."""
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    check(sorted(kustomization["resources"]) == sorted(PLAIN), f"it names {kustomization['resources']}")
    images = {image["name"]: image for image in kustomization["images"]}
    check(all(image.get("newTag", "latest") != "latest" for image in images.values()), "an image without a version")
    if not shutil.which("kubectl"):
        return "kubectl is not installed, not rendered"
    rendered = subprocess.run(["kubectl", "kustomize", KUBERNETES], check=True, capture_output=True, text=True).stdout
    manifests = list(yaml.safe_load_all(rendered))
    stores = [manifest["metadata"]["name"] for manifest in manifests if manifest["kind"] == "ConfigMap"]
    for manifest in manifests:
        validate(manifest)
        for pod, _ in pods(manifest):
            for container in pod["containers"]:
                check(re.search(r"/[a-z-]+:\d+\.\d+", container["image"]), f"the image {container['image']}")
                named = [source["configMapRef"]["name"] for source in container["envFrom"] if "configMapRef" in source]
                check(named and set(named) <= set(stores), f"{named} is no config map of {stores}")
    return f"{len(manifests)} manifests rendered"


def check_knative():
    service = yaml.safe_load((KUBERNETES / "knative.yaml").read_text())
    check((service["apiVersion"], service["kind"]) == ("serving.knative.dev/v1", "Service"), "not Knative's Service")
    check(set(service) == {"apiVersion", "kind", "metadata", "spec"} and set(service["spec"]) <= {"template", "traffic"}, "keys")
    template = service["spec"]["template"]
    annotations = template["metadata"]["annotations"]
    check(all(key.startswith("autoscaling.knative.dev/") and isinstance(value, str) for key, value in annotations.items()),
          f"annotations are texts: {annotations}")
    check(int(annotations["autoscaling.knative.dev/min-scale"]) <= int(annotations["autoscaling.knative.dev/max-scale"]), "scale")
    own = {"containerConcurrency", "timeoutSeconds", "responseStartTimeoutSeconds", "idleTimeoutSeconds"}
    pod = {key: value for key, value in template["spec"].items() if key not in own}
    (container,) = pod["containers"]
    check(len(container["ports"]) == 1 and container["ports"][0].get("name") in (None, "http1", "h2c"), "one port of HTTP")
    check_pod("knative.yaml", pod, pod_level=False)
    check(container["securityContext"]["runAsNonRoot"], "knative.yaml: may be root")
    wrapped = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod}
    validate(wrapped)
    wrapped["spec"]["containers"][0]["prots"] = []
    check(is_refused(wrapped), "knative.yaml: the validator takes anything")


def check_compose():
    compose = yaml.safe_load(pathlib.Path("localstack/compose.yaml").read_text())
    check(set(compose) <= {"services", "volumes"}, f"compose: {set(compose)}")
    volumes = set(compose.get("volumes", {}))
    for name, service in compose["services"].items():
        known = {"image", "ports", "environment", "healthcheck", "depends_on", "command", "volumes"}
        check(set(service) <= known, f"compose: {name} has {set(service) - known}")
        check(not service["image"].endswith(":latest") and ":" in service["image"], f"compose: {name} has no version")
        for port in service.get("ports", []):
            check(port.startswith("127.0.0.1:"), f"compose: {name} listens on every address: {port}")
        for other, how in service.get("depends_on", {}).items():
            check(other in compose["services"], f"compose: {name} waits for {other}, which is no service")
            healthy = how["condition"] != "service_healthy" or "healthcheck" in compose["services"][other]
            check(healthy, f"compose: {name} waits for the health of {other}, which has no check")
        for volume in service.get("volumes", []):
            check(volume.split(":")[0] in volumes or volume.startswith("."), f"compose: {volume} is no volume")
    for store in ("localstack", "minio"):
        check(f"{store}-bucket" in compose["services"], f"compose: nobody makes the bucket in {store}")
    return json.dumps(sorted(compose["services"]))


def check_containerfile():
    lines = pathlib.Path("Containerfile").read_text().replace("\\\n", " ").splitlines()
    steps = [line.split(None, 1) for line in lines if line.strip() and not line.startswith("#")]
    stages, images = {}, []
    for word, rest in steps:
        if word == "FROM":
            image, name = re.fullmatch(r"(\S+) AS (\S+)", rest).groups()
            images.append(image)
            check(":" in image and not image.endswith(":latest"), f"Containerfile: {image} has no version")
            stage = stages.setdefault(name, [])
        else:
            stage.append((word, rest))
    for role, program in (("searcher", "/searcher"), ("indexer", "/cairn")):
        stage = dict(stages[role])
        check("distroless" in images[list(stages).index(role)], f"Containerfile: {role} brings a system")
        check("RUN" not in stage, f"Containerfile: {role} has no shell to run anything")
        uid = stage["USER"].split(":")[0]
        check(uid.isdigit() and uid != "0", f"Containerfile: {role} is {stage['USER']}: not a number that is not root")
        check(json.loads(stage["ENTRYPOINT"])[0] == program, f"Containerfile: {role} starts {stage['ENTRYPOINT']}")
        source = re.fullmatch(r"--from=(\S+) (\S+) (\S+)", stage["COPY"])
        check(source and source[1] in stages and source[3] == program, f"Containerfile: {role} copies {stage['COPY']}")
        check(any(source[2].rsplit("/", 1)[1] in rest for _, rest in stages[source[1]]), f"Containerfile: {source[2]} is not built")
    build = " ".join(rest for _, rest in stages["build"])
    check("--locked" in build, "Containerfile: other dependencies than those that were tested")
    for path in re.findall(r"--(?:package|bin) (\S+)", build):
        check(path in pathlib.Path("Cargo.toml").read_text(), f"Containerfile: {path} is no package or program")


def main():
    print(f"{check_kubernetes()} manifests hold for Kubernetes {' and '.join(VERSIONS)}; {check_kustomization()}")
    check_knative()
    print("knative.yaml: its pod holds for Kubernetes, its own fields have Knative's shape")
    print(f"compose.yaml: {check_compose()}")
    check_containerfile()
    print("Containerfile: pinned, without root, with nothing but programs")


main()
