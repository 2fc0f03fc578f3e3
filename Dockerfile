# Orthanc with orthanc-liver and its weights; see docs/INSTALL.md.
ARG BASE=debian:trixie-slim

FROM ${BASE} AS environment
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    binutils ca-certificates python3-venv

# Where pip finds PyTorch for CPU alone, a tenth of the size; empty: PyTorch for NVIDIA GPUs.
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
ARG PIP_FIND_LINKS=
# "[cluster]" for what docs/SCALE.md tells of.
ARG EXTRAS=

WORKDIR /opt/orthanc-liver
COPY pyproject.toml constraints.txt README.md ./
COPY model model
COPY plugin plugin
COPY docker docker
RUN python3 -m venv .venv \
 && .venv/bin/pip install --no-cache-dir --no-compile --quiet --constraint constraints.txt \
    --editable ".${EXTRAS}"
# For the CPU alone: with PyTorch for GPUs nobody has tried it. The imports and the made-up patient
# show that nothing is missing, and leave the bytecode of what is loaded.
RUN if [ -n "$PIP_EXTRA_INDEX_URL$PIP_FIND_LINKS" ]; then docker/trim.sh .venv; fi \
 && .venv/bin/python -c "from orthanc_liver.engine import document_process, inference_process; \
    import fontTools.misc.bezierTools, fpdf, jpeg_ls, libjpeg, openjpeg" \
 && .venv/bin/orthanc-liver constancy --accept --record /tmp/constancy

FROM ${BASE}
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    ca-certificates orthanc orthanc-dicomweb orthanc-python python3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
WORKDIR /opt/orthanc-liver
COPY --from=environment /opt/orthanc-liver ./

# Orthanc reads every *.json of this folder; mount your own beside it.
RUN mkdir /etc/orthanc-liver \
 && cp docker/orthanc.json /etc/orthanc-liver/ \
 && install -d -o orthanc -g orthanc /var/lib/orthanc
# Debian's DCMTK else holds back the second half of each answer to a C-STORE until the sender's
# kernel has acknowledged the first, 40 ms a slice.
ENV TCP_NODELAY=1
USER orthanc
VOLUME /var/lib/orthanc
EXPOSE 8042 4242
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s CMD ["docker/healthy.py"]
CMD ["docker/start.sh"]
