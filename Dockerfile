# syntax=docker/dockerfile:1

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked && \
    cp target/dist/tidegate /usr/local/bin/tidegate

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin tidegate && \
    install --directory --mode 0700 --owner 10001 --group 10001 /data
COPY --from=build /usr/local/bin/tidegate /usr/local/bin/tidegate
COPY LICENSE /usr/share/doc/tidegate/LICENSE

# A container is reached from outside or not at all. Who may do what is left unsaid on purpose: without users, the
# gateway refuses these addresses until somebody sets TIDEGATE_AUTH__ANONYMOUS=true.
ENV TIDEGATE_MQTT__BIND=0.0.0.0:1883 \
    TIDEGATE_HTTP__BIND=0.0.0.0:8080 \
    TIDEGATE_STORE__PATH=/data
EXPOSE 1883 8080
VOLUME /data
USER 10001:10001

# The image has no curl; bash, which it has, opens sockets itself.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /readyz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [ \"$status\" = 200 ]"]

ENTRYPOINT ["tidegate"]
CMD ["run"]
