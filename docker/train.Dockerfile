# syntax=docker/dockerfile:1
# The training commands, on top of the service's image, so that Python, Ray and torch are the same. From the
# repository's root, after docker/serve.Dockerfile:
#   docker build -f docker/train.Dockerfile -t lang1-train:0.1.0 [--build-arg SERVE_IMAGE=…] .
ARG SERVE_IMAGE=lang1-serve:0.1.0

FROM ${SERVE_IMAGE}
USER 0:0
RUN PIP_NO_CACHE_DIR=1 docker/install-python.sh /opt/lang1/venv train
USER 10001:10001
