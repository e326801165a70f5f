# knetsim in an image: `docker run -it --privileged --rm knetsim` ends in the prompt of a lab.
#
#   docker build -t knetsim .
#   docker build -t knetsim --build-arg SKROUTERD=none .    without skrouterd: topo has its own router
#   … --build-arg SKUPPER_ROUTER_IMAGE=debian:bookworm-slim  and without fetching its image
#
# Everything is Debian's, except flanneld, the flannel CNI plugin and skrouterd, which come from the
# images that their projects publish. The arguments below take mirrors and other versions.

ARG RUST_IMAGE=rust:1-bookworm
ARG DEBIAN_IMAGE=debian:bookworm-slim
# This pair stands in flannel's own kube-flannel.yml of v0.28.9.
ARG FLANNEL_IMAGE=ghcr.io/flannel-io/flannel:v0.28.9
ARG FLANNEL_CNI_IMAGE=ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel3
ARG SKUPPER_ROUTER_IMAGE=quay.io/skupper/skupper-router:3.5.1
# real or none
ARG SKROUTERD=real

# --- topo ----------------------------------------------------------------------------------------
FROM ${RUST_IMAGE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
      libmnl-dev \
      libnftnl-dev \
      libprotobuf-dev \
      pkg-config \
      protobuf-compiler \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY conf conf
COPY crates crates
RUN cargo build --release --locked -p topo

# --- flannel: both programs are linked statically, Alpine's C library is not needed ---------------
FROM ${FLANNEL_IMAGE} AS flannel
FROM ${FLANNEL_CNI_IMAGE} AS flannel-cni

# --- skrouterd: built on Red Hat's UBI 9, it runs here with that image's C library and Python -----
FROM ${SKUPPER_ROUTER_IMAGE} AS skupper-router

FROM ${DEBIAN_IMAGE} AS skrouterd
ARG SKROUTERD
RUN apt-get update && apt-get install -y --no-install-recommends \
      patchelf \
 && rm -rf /var/lib/apt/lists/*
COPY --from=skupper-router / /image
COPY deploy/collect-skrouterd deploy/skrouterd /usr/local/bin/
# collect-skrouterd ends with a start of what it collected; where that fails, so does the build.
RUN mkdir -p /out/opt /out/usr/local/bin \
 && if [ "$SKROUTERD" = real ]; then \
      collect-skrouterd /image /opt/skrouterd \
   && mv /opt/skrouterd /out/opt/ \
   && ln -s /opt/skrouterd/bin/skrouterd /out/usr/local/bin/; \
    fi

# --- the image -----------------------------------------------------------------------------------
FROM ${DEBIAN_IMAGE}
# iptables: flanneld wants it on PATH even where it makes no rules.
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      bind9-dnsutils \
      bridge-utils \
      containernetworking-plugins \
      curl \
      etcd-client \
      etcd-server \
      iproute2 \
      iptables \
      iputils-ping \
      less \
      libmnl0 \
      libnftnl11 \
      net-tools \
      nftables \
      nginx-light \
      procps \
      tcpdump \
      vim-tiny \
 && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log
COPY --from=flannel /opt/bin/flanneld /usr/local/bin/flanneld
COPY --from=flannel-cni /flannel /usr/lib/cni/flannel
COPY --from=skrouterd /out/ /
COPY conf /usr/share/knetsim/conf
COPY --from=build /src/target/release/topo /usr/local/bin/topo
WORKDIR /root
ENTRYPOINT ["topo"]
CMD ["up", "--shell"]
