# syntax=docker/dockerfile:1
# The scoring service: head, workers and autoscaler. From the repository's root:
#   docker build -f docker/serve.Dockerfile -t lang1-serve:0.1.0 [--build-arg TORCH_INDEX=URL] .
# TORCH_INDEX as in docker/install-python.sh: the CPU wheels' index for CPU pods, none for GPU pods.
ARG PYTHON_IMAGE=python:3.11-slim-trixie

FROM ${PYTHON_IMAGE} AS install
ARG TORCH_INDEX=""
WORKDIR /opt/lang1/app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY docker/install-python.sh docker/
COPY lang1 lang1
COPY fhir_adapters fhir_adapters
COPY monitoring monitoring
COPY serve serve
COPY training training
RUN PIP_NO_CACHE_DIR=1 TORCH_INDEX="$TORCH_INDEX" docker/install-python.sh /opt/lang1/venv \
    && /opt/lang1/venv/bin/python -m compileall -q lang1 fhir_adapters monitoring serve training

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 lang1 \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin lang1
COPY --from=install /opt/lang1 /opt/lang1
# KubeRay may start the containers in a login shell, which sets its own PATH.
RUN echo 'export PATH=/opt/lang1/venv/bin:$PATH' > /etc/profile.d/lang1.sh
ENV PATH=/opt/lang1/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
WORKDIR /opt/lang1/app
USER 10001:10001
CMD ["lang1", "--help"]
