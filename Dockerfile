# A small image that runs as nobody, with one volume for config, notes, store and site:
#
#   docker build -t watchbell .
#   docker run -d --name status -p 8080:8080 -v watchbell:/data watchbell
#
# /data/watchbell.toml needs `server.listen = "0.0.0.0:8080"`; `docker run ... watchbell init` writes one
# to start from. packaging/prove-image.sh walks through the second stage without an engine.

FROM rust:1.95-slim-bookworm AS build
RUN apt-get -qq update && apt-get -qq install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked

# Not distroless: `command` checks want a shell and what people mount beside it, and the health check
# wants a client. bash is one, so the image needs no curl.
FROM debian:bookworm-slim
RUN apt-get -qq update && apt-get -qq install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/watchbell /usr/local/bin/watchbell
COPY packaging/health /usr/local/bin/watchbell-health
RUN install -d -o nobody -g nogroup -m 0750 /data
USER nobody
ENV WATCHBELL_CONFIG=/data/watchbell.toml
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["/usr/local/bin/watchbell-health"]
ENTRYPOINT ["/usr/local/bin/watchbell"]
CMD ["run"]
