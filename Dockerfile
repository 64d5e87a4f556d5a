# The demo:      docker build -t shiftsearch .
#                docker run --rm --shm-size=256m -v "$PWD/runs:/runs" shiftsearch
# For GPUs:      docker build -t shiftsearch:cuda --build-arg TORCH=cu130 .
# For clusters, see experiments/cluster/README.md; the image has `ray` and what KubeRay's probes need.
FROM python:3.11-slim
ARG TORCH=cpu
RUN apt-get update && apt-get install --yes --no-install-recommends wget rsync \
    && rm -rf /var/lib/apt/lists/*
COPY . /source
RUN pip install --no-cache-dir -c /source/constraints.txt \
    --extra-index-url "https://download.pytorch.org/whl/${TORCH}" "/source[cluster]"
WORKDIR /runs
VOLUME /runs
ENTRYPOINT ["shiftsearch"]
CMD ["search", "demo", "--run", "/runs/demo"]
