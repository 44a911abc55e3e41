"""`lftool export compose` and `k8s`: manifests that run a bundle's image, with resources computed from the model."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen
from attrs.validators import optional

from lftool.api import Digest, Export
from lftool.builtin.container import PORT, USER, entry_name, reference, require_native
from lftool.builtin.llama_arguments import llama_arguments, lost_notes

if TYPE_CHECKING:
    from lftool.api import ExportRequest, ModelSize

_MIB = 1024 * 1024
_WORKING = 256 * _MIB  # compute buffers, the HTTP server and the executable itself
_COLD_READ = 50 * 1000 * 1000  # bytes per second, assumed for the slowest disk
_PERIOD = 5
_MOUNTS = "CRI-O mounts artifacts since 1.33; containerd 2 mounts images only (issues 11381 and 11907)"
_LABEL = 63  # maximum length of a label
_SERVICE = len("-predictor")  # KServe appends it to the name of an InferenceService, for the name of its Service


@frozen(kw_only=True)
class Deployment:
    """The values in manifests.

    Attributes:
        name: A DNS label.
        image: Image reference.
        entry: Name of the executable in the image.
        memory: MiB for weights (mapped, and best kept in memory), KV cache, companions, and working memory.
        accelerator: Resource name of a GPU, if the bundle's backend needs one.
        start_tries: Number of probes, `_PERIOD` seconds apart, until a start counts as failed.
    """

    name: str
    image: str
    entry: str
    memory: int
    accelerator: str | None
    start_tries: int


_ACCELERATORS = {"cuda": "nvidia.com/gpu", "rocm": "amd.com/gpu"}


def memory_of(size: ModelSize, companions: int = 0) -> int:
    """Return the memory that a model needs to run, in MiB, rounded up to a multiple of 64.

    Args:
        size: Sizes of the model.
        companions: Bytes loaded besides its weights.
    """
    needed = -(-(size.total + companions + _WORKING) // _MIB)
    return -(-needed // 64) * 64


def label_of(name: str, target: str, *, most: int = _LABEL) -> str:
    """Return a name for Kubernetes: an RFC 1035 label, which begins with a letter, as service names must.

    A long name is cut to `most` characters and ends in eight digits of a digest, so that names stay distinct.
    """
    whole = f"{name}-{target}"
    label = "".join(char if char.isalnum() else "-" for char in whole.lower()).strip("-")
    label = label if label[0].isalpha() else f"m-{label}"
    if len(label) > most:
        label = f"{label[: most - 9].strip('-')}-{Digest.of(whole.encode()).hex[:8]}"
    return label


def deployment_of(request: ExportRequest, image: str) -> Deployment:
    """Return the values for the manifests of a bundle.

    Args:
        request: The bundle.
        image: Image reference.

    Raises:
        UsageError: The bundle has no native runtime.
    """
    require_native(request)
    held = {"projector": 2, "adapter": 1}  # a projector is loaded from a copy
    companions = sum(held.get(member.role, 0) * member.size for member in request.bundle.members)
    return Deployment(
        name=label_of(request.bundle.name, request.bundle.target),
        image=image,
        entry=entry_name(request),
        memory=memory_of(request.model, companions),
        accelerator=_ACCELERATORS.get(request.bundle.backend),
        start_tries=12 + request.model.weights // (_COLD_READ * _PERIOD),
    )


@frozen(kw_only=True)
class ImageOptions:
    """Options of `lftool export compose` and `k8s`."""

    image: str = field(
        validator=reference,
        metadata={"doc": "Image reference, such as registry.example.com/name:1.", "metavar": "REF"},
    )


@frozen(kw_only=True)
class KubernetesOptions(ImageOptions):
    """Options of `lftool export k8s`."""

    image_volume: str | None = field(
        default=None,
        validator=optional(reference),
        metadata={
            "doc": "Mount this artifact, as lftool push writes it, and let --image be one of llama.cpp's server (Kubernetes 1.36).",
            "metavar": "REF",
        },
    )
    kserve: bool = field(
        default=False,
        metadata={"doc": "Write an InferenceService of KServe instead of a Deployment and a Service."},
    )


@frozen
class ComposeExporter:
    """Writes a Compose file."""

    options: ImageOptions

    def export(self, request: ExportRequest) -> Export:
        """Return the Compose file. Raises UsageError if the bundle has no native runtime."""
        return Export(text=compose(deployment_of(request, self.options.image)))


@frozen
class KubernetesExporter:
    """Writes Kubernetes manifests."""

    options: KubernetesOptions

    def export(self, request: ExportRequest) -> Export:
        """Return the manifests. Without an image volume, raises UsageError if the bundle has no native runtime."""
        options = self.options
        notes = () if options.image_volume is None else (_MOUNTS, *lost_notes(request.bundle.run))
        if options.image_volume is None:
            pod = own_pod(deployment_of(request, options.image))
        else:
            pod = volume_pod(request, options.image, options.image_volume)
        if not options.kserve:
            return Export(text=kubernetes(pod), notes=notes)
        name = label_of(request.bundle.name, request.bundle.target, most=_LABEL - _SERVICE)
        return Export(text=inference_service(evolve(pod, name=name)), notes=notes)


@frozen(kw_only=True)
class Pod:
    """What a pod runs. Lines of YAML begin with a line break and have the indentation of the pod's own keys.

    Attributes:
        name: A DNS label; also of the Secret with the API key.
        image: Reference of the container's image.
        asked: What a probe does, as YAML.
        tries: Number of probes until a start counts as failed.
        memory: In MiB.
        accelerator: Resource name of a GPU; None for none.
        arguments: Lines with the container's arguments.
        mounts: Lines with the container's mounts.
        volumes: Lines with the pod's volumes.
    """

    name: str
    image: str
    asked: str
    tries: int
    memory: int
    accelerator: str | None
    arguments: str = ""
    mounts: str = ""
    volumes: str = ""


def own_pod(deployment: Deployment) -> Pod:
    """Return a pod of the bundle's own image.

    The executable probes itself: the image has no other program, and engines that play this file without Kubernetes run
    probes inside the container. Podman 4.3.1 runs a livenessProbe in a shell, which the image lacks, and restarts
    forever. A server that hangs is not ready; one that exits is restarted.
    """
    return Pod(
        name=deployment.name,
        image=deployment.image,
        asked=f'exec: {{command: [/{deployment.entry}, --healthy, "{PORT}"]}}',
        tries=deployment.start_tries,
        memory=deployment.memory,
        accelerator=deployment.accelerator,
    )


def volume_pod(request: ExportRequest, image: str, volume: str) -> Pod:
    """Return a pod in which llama.cpp's server reads the weights from an image volume.

    Args:
        request: The bundle.
        image: Reference of an image whose entry point is llama-server.
        volume: Reference of the artifact: the GGUF has the name that `lftool push` gives it.
    """
    bundle = request.bundle
    file = f"{bundle.name}-{bundle.version}-{bundle.target}.gguf"
    arguments = ["--model", f"/models/{file}", "--host", "0.0.0.0", "--port", str(PORT)]  # noqa: S104 - in a pod
    for option, value in llama_arguments(bundle.run).items():
        arguments += [f"--{option}", value.replace("$", "$$")]  # Kubernetes expands $(NAME), and makes $ of $$
    return Pod(
        name=label_of(bundle.name, bundle.target),
        image=image,
        asked="httpGet: {path: /health, port: http}",
        tries=12 + request.model.weights // (_COLD_READ * _PERIOD),
        memory=memory_of(request.model),
        accelerator=_ACCELERATORS.get(bundle.backend),
        arguments=f"\n    args: {json.dumps(arguments)}",
        mounts="\n    volumeMounts:\n      - {name: model, mountPath: /models, readOnly: true}",
        volumes=f"""
volumes:
  - name: model
    image:
      reference: {json.dumps(volume)}
      pullPolicy: IfNotPresent""",
    )


def compose(deployment: Deployment) -> str:
    """Return a Compose file (compose-spec). The image has no shell, so the executable checks its own health."""
    gpu = ""
    if deployment.accelerator == "nvidia.com/gpu":
        gpu = """
          devices:
            - driver: nvidia
              count: 1
              capabilities: [gpu]"""
    devices = "\n    devices: [/dev/kfd, /dev/dri]" if deployment.accelerator == "amd.com/gpu" else ""
    return f"""\
# docker compose up; the key comes from the environment: LLAMA_API_KEY=… docker compose up
services:
  {deployment.name}:
    image: {json.dumps(deployment.image)}
    restart: unless-stopped
    environment:
      LLAMA_API_KEY: ${{LLAMA_API_KEY:?what clients must send}}
    ports:
      - "127.0.0.1:{PORT}:{PORT}"
    read_only: true
    cap_drop: [ALL]
    security_opt: [no-new-privileges]{devices}
    healthcheck:
      test: [CMD, /{deployment.entry}, --healthy, "{PORT}"]
      interval: {_PERIOD}s
      timeout: 3s
      retries: 3
      start_period: {deployment.start_tries * _PERIOD}s
    deploy:
      resources:
        limits:
          memory: {deployment.memory}M
        reservations:
          memory: {deployment.memory}M{gpu}
"""


def kubernetes(pod: Pod) -> str:
    """Return a Deployment and a Service, and how to make the Secret (Kubernetes API v1, apps/v1)."""
    name = pod.name
    return f"""\
# kubectl create secret generic {name} --from-literal=api-key=… && kubectl apply -f this-file
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  labels: {{app.kubernetes.io/name: {name}}}
spec:
  replicas: 1
  selector:
    matchLabels: {{app.kubernetes.io/name: {name}}}
  template:
    metadata:
      labels: {{app.kubernetes.io/name: {name}}}
    spec:
{textwrap.indent(_pod_spec(pod, "model"), "      ")}
---
apiVersion: v1
kind: Service
metadata:
  name: {name}
spec:
  selector: {{app.kubernetes.io/name: {name}}}
  ports:
    - {{name: http, port: 80, targetPort: http}}
"""


def inference_service(pod: Pod) -> str:
    """Return an InferenceService with a container of its own, and how to make the Secret.

    An image volume stands in the pod, since `storageUri: oci+native://…` mounts only the folder `models` of an image,
    and an artifact that was pushed has none. Knative, KServe's other way to deploy, refuses image volumes.
    Source: KServe, docs/samples/storage/oci-image-volume/README.md, August 2026.
    """
    name = pod.name
    return f"""\
# kubectl create secret generic {name} --from-literal=api-key=… && kubectl apply -f this-file
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {name}
  annotations: {{serving.kserve.io/deploymentMode: Standard}}
spec:
  predictor:
    minReplicas: 1
{textwrap.indent(_pod_spec(pod, "kserve-container"), "    ")}
"""


def _pod_spec(pod: Pod, container: str) -> str:
    """Return the keys of a pod's specification."""
    gpu = f"\n        {pod.accelerator}: 1" if pod.accelerator else ""
    return f"""\
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: {USER}
  seccompProfile: {{type: RuntimeDefault}}
containers:
  - name: {container}
    image: {json.dumps(pod.image)}{pod.arguments}
    env:
      - name: LLAMA_API_KEY
        valueFrom:
          secretKeyRef: {{name: {pod.name}, key: api-key}}
    ports:
      - {{name: http, containerPort: {PORT}}}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {{drop: [ALL]}}
    startupProbe:
      {pod.asked}
      periodSeconds: {_PERIOD}
      failureThreshold: {pod.tries}
    readinessProbe:
      {pod.asked}
      periodSeconds: {_PERIOD}
    resources:
      requests:
        cpu: "1"
        memory: {pod.memory}Mi
      limits:
        memory: {pod.memory}Mi{gpu}{pod.mounts}{pod.volumes}"""
