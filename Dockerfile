# syntax=docker/dockerfile:1
# One image with every process of the fleet; the compose file says which one a container runs.

FROM rust:1.95-bookworm AS build
WORKDIR /payfleet
COPY Cargo.toml Cargo.lock ./
COPY .sqlx .sqlx
COPY bins bins
COPY lib lib
COPY migrations migrations
# Statements are checked against .sqlx: a build needs no database.
ENV SQLX_OFFLINE=true
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/payfleet/target \
    cargo build --release --locked --bins \
 && mkdir /out \
 && cp target/release/ingress target/release/relay target/release/gateway-worker target/release/gateway-sim target/release/payfleet /out/

FROM debian:bookworm-slim
# Gateways are called over TLS.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates zlib1g && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin payfleet \
 && install -d -o payfleet -g payfleet /var/lib/payfleet
COPY --from=build /out/ /usr/local/bin/
COPY LICENSE /usr/share/doc/payfleet/LICENSE
USER payfleet
WORKDIR /
# The admin port of every process, where `payfleet health` asks by default.
ENV PAYFLEET_PROCESS__ADMIN_LISTEN=0.0.0.0:15002
EXPOSE 15001 15002 15010
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD ["payfleet", "health"]
CMD ["payfleet", "--help"]
