# fitserve as a container: `docker run -p 8080:8080 -v fitserve:/workspace IMAGE` serves the workspace in the volume.
# What it shows, which variables it takes, how to run it read-only: docs/container.md.
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

# The wheels, ours and those it needs, are collected once; nothing of this stage but the finished environment is kept.
FROM ${PYTHON_IMAGE} AS build
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip wheel --disable-pip-version-check --wheel-dir /wheels '.[postgresql]'
RUN python -m venv --without-pip /opt/fitserve \
    && python -m pip --disable-pip-version-check --python /opt/fitserve/bin/python \
        install --no-cache-dir --no-index --find-links /wheels 'fitserve[postgresql]' \
    # The test suites of the large packages are a tenth of the image, and nothing imports them.
    && find /opt/fitserve/lib/python3*/site-packages/numpy /opt/fitserve/lib/python3*/site-packages/scipy \
        /opt/fitserve/lib/python3*/site-packages/sklearn /opt/fitserve/lib/python3*/site-packages/pandas \
        -type d -name tests -prune -exec rm -rf {} +

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fitserve" \
      org.opencontainers.image.description="A model serving gateway with no-code deployment for scikit-learn" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# Group 0 with the owner's rights: platforms that choose the user themselves (OpenShift) choose that group.
RUN useradd --uid 10001 --gid 0 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin fitserve \
    && mkdir -m 0770 /workspace /artifacts && chown 10001:0 /workspace /artifacts
COPY --from=build /opt/fitserve /opt/fitserve
COPY examples /fitserve/examples

# All that is written lies in the volume: records, artifacts, interpreters for other releases of scikit-learn, caches.
ENV PATH=/opt/fitserve/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    FITSERVE_WORKSPACE=/workspace \
    FITSERVE_WORKSPACE_FOLDER=/workspace \
    FITSERVE_HOST=0.0.0.0 \
    FITSERVE_PORT=8080 \
    FITSERVE_DRAIN_S=5 \
    HOME=/tmp \
    XDG_CACHE_HOME=/workspace/cache \
    UV_PYTHON_INSTALL_DIR=/workspace/.python
WORKDIR /fitserve
USER 10001:0
VOLUME /workspace
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["fitserve", "healthcheck"]
ENTRYPOINT ["fitserve"]
CMD ["serve"]
