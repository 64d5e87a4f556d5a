# docker build -t shiftsearch .
# docker run --rm --shm-size=256m -v "$PWD/runs:/runs" shiftsearch
FROM python:3.11-slim
COPY . /source
RUN pip install --no-cache-dir -c /source/constraints.txt \
    --extra-index-url https://download.pytorch.org/whl/cpu /source
WORKDIR /runs
VOLUME /runs
ENTRYPOINT ["shiftsearch"]
CMD ["search", "demo", "--run", "/runs/demo"]
