# onfly for CPUs: CHGNet and MACE as foundations, GFN-xTB as labeller.
#
#     docker build -t onfly .
#     docker run --rm -v $PWD:/work onfly demo
#
# Another set of families or labellers: --build-arg EXTRAS=chgnet,mace,tblite,pyscf. The e3nn pins of
# `mace` and `nequip` exclude each other. VASP is not in it: its licence does not allow that.
FROM python:3.11-slim

ARG EXTRAS=chgnet,mace,tblite
ARG TORCH=torch==2.13.0
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 OMP_NUM_THREADS=1 HOME=/work

# libgomp: OpenMP of torch and tblite
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /src
# The CPU build: 200 MB where the default one brings CUDA with 3 GB. Changes seldom, so it comes first.
RUN pip install "$TORCH" --index-url https://download.pytorch.org/whl/cpu
COPY pyproject.toml README.md LICENSE ./
COPY constraints constraints
COPY src src
RUN pip install -c constraints/main.txt ".[$EXTRAS]"

# The folder of the user: files, settings (.onfly.yaml), runs and the embedded store (.onfly) are there.
WORKDIR /work
ENTRYPOINT ["onfly"]
CMD ["--help"]
