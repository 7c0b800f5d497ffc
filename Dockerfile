# An environment with everything but the data: docker build -t robust-transfer . && docker run --gpus all robust-transfer
FROM python:3.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends make git && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN python -m pip install --no-cache-dir '.[demo,autoattack]'
ENV OMP_NUM_THREADS=1
CMD ["rt-train", "--help"]
