"""`lftool export compose` and `k8s`: manifests that run an image of a bundle, with resources computed from the model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.bundle.contents import weights_header
from lftool.bundle.model_size import model_size
from lftool.bundle.reader import opened
from lftool.host.registry import Registry
from lftool.models.digest import Digest
from lftool.ops.bundles.claims import runtime_name
from lftool.ops.export.container import PORT, USER, entry_name, require_native, require_reference
from lftool.ops.run.integrity import check_opened

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.api import ModelSize
    from lftool.bundle.reader import Bundle
    from lftool.store.store import Store

_MIB = 1024 * 1024
_WORKING = 256 * _MIB  # buffers of a computation, the HTTP server and the executable itself
_COLD_READ = 50 * 1000 * 1000  # bytes a second at which the slowest disk is expected to deliver the weights
_PERIOD = 5
_LABEL = 63  # letters that a label may have


@frozen(kw_only=True)
class Deployment:
    """What manifests need to know.

    Attributes:
        name: A DNS label.
        image: Reference of the image.
        entry: Name of the executable in it.
        memory: MiB: weights, which are mapped and should stay in memory, KV cache, companions, and working memory.
        accelerator: Resource name of a GPU, where the bundle's backend needs one.
        start_tries: How many probes, `_PERIOD` seconds apart, until a start counts as failed.
    """

    name: str
    image: str
    entry: str
    memory: int
    accelerator: str | None
    start_tries: int


_ACCELERATORS = {"cuda": "nvidia.com/gpu", "rocm": "amd.com/gpu"}


def memory_of(size: ModelSize, companions: int = 0) -> int:
    """Return how much memory a model needs to run, in MiB, rounded up to 64.

    Args:
        size: Of the model.
        companions: Bytes of what is loaded beside its weights.
    """
    needed = -(-(size.total + companions + _WORKING) // _MIB)
    return -(-needed // 64) * 64


def label_of(name: str, target: str) -> str:
    """Return a name for Kubernetes: a label of RFC 1035, which begins with a letter, as names of services must.

    A long one is cut, and ends in eight digits of a digest, so that no two are the same.
    """
    whole = f"{name}-{target}"
    label = "".join(char if char.isalnum() else "-" for char in whole.lower()).strip("-")
    label = label if label[0].isalpha() else f"m-{label}"
    if len(label) > _LABEL:
        label = f"{label[: _LABEL - 9].strip('-')}-{Digest.of(whole.encode()).hex[:8]}"
    return label


def _companions(bundle: Bundle) -> int:
    """Return bytes of memory that a projector and an adapter take: the projector twice, since it is loaded from a copy."""
    held = {"projector": 2, "adapter": 1}
    return sum(held.get(member.role, 0) * member.size for member in bundle.manifest.members)


def deployment_of(path: Path, image: str, store: Store) -> Deployment:
    """Return what manifests of a bundle need to know; every byte of it is checked first.

    Raises:
        IntegrityError: The bundle is not what it says.
        UsageError: It has no native runtime, or there is no reference of an image.
    """
    require_reference(image)
    with opened(path) as bundle:
        require_native(bundle)
        check_opened(bundle, store)
        manifest, companions = bundle.manifest, _companions(bundle)
        runtime = Registry.discovered().pinned_runtime(runtime_name(bundle) or "")
        size = model_size(weights_header(bundle), manifest.run).served(runtime.record.requests)
    return Deployment(
        name=label_of(manifest.name, manifest.target),
        image=image,
        entry=entry_name(manifest),
        memory=memory_of(size, companions),
        accelerator=_ACCELERATORS.get(manifest.backend),
        start_tries=12 + size.weights // (_COLD_READ * _PERIOD),
    )


def compose(deployment: Deployment) -> str:
    """Return a Compose file (compose-spec). The image has no shell: the executable asks itself whether it is well."""
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


def kubernetes(deployment: Deployment) -> str:
    """Return a Secret to fill in, a Deployment and a Service (Kubernetes API v1, apps/v1)."""
    name, image = deployment.name, json.dumps(deployment.image)
    # The executable asks itself: there is no other program in the image, and engines that play this file without Kubernetes run
    # probes inside of it. Of a livenessProbe, podman 4.3.1 makes a command for a shell, which is not there, and restarts for ever;
    # a server that hangs is not ready, one that ends is started again.
    asked = f'exec: {{command: [/{deployment.entry}, --healthy, "{PORT}"]}}'
    gpu = f"\n              {deployment.accelerator}: 1" if deployment.accelerator else ""
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
      automountServiceAccountToken: false
      securityContext:
        runAsNonRoot: true
        runAsUser: {USER}
        seccompProfile: {{type: RuntimeDefault}}
      containers:
        - name: model
          image: {image}
          env:
            - name: LLAMA_API_KEY
              valueFrom:
                secretKeyRef: {{name: {name}, key: api-key}}
          ports:
            - {{name: http, containerPort: {PORT}}}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {{drop: [ALL]}}
          startupProbe:
            {asked}
            periodSeconds: {_PERIOD}
            failureThreshold: {deployment.start_tries}
          readinessProbe:
            {asked}
            periodSeconds: {_PERIOD}
          resources:
            requests:
              cpu: "1"
              memory: {deployment.memory}Mi
            limits:
              memory: {deployment.memory}Mi{gpu}
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
