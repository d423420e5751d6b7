#!/usr/bin/env bash
# Proves the image without a container engine: walks through the second stage of the Dockerfile in a
# root made by mmdebstrap, with networking of its own, and asks the result what an orchestrator would.
#
#   packaging/prove-image.sh PATH-OF-A-BUILT-WATCHBELL
#
# Needs root, mmdebstrap and unshare.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$(realpath "${1:?which binary? e.g. target/release/watchbell}")

if [[ ${PROVING:-} != inside ]]; then
    [[ $(id -u) == 0 ]] || { echo 'this needs root' >&2; exit 3; }
    work=$(mktemp -d)
    trap 'rm -rf --one-file-system "$work"' EXIT
    # The base before networking is cut off; then everything else inside, where it cannot outlive us.
    echo "== FROM debian:bookworm-slim"
    packages=$(sed -n '/^FROM debian/,$ s/.*install -y --no-install-recommends \([^&]*\) &&.*/\1/p' Dockerfile | tr -s ' ' ,)
    mmdebstrap --quiet --mode=root --variant=minbase --include="${packages%,}" bookworm "$work/root"
    # What the slim image leaves out.
    rm -rf "$work"/root/usr/share/{doc,man,info,locale}/* "$work"/root/var/{cache,lib}/apt/* "$work"/root/var/log/*
    PROVING=inside work=$work unshare --net --pid --mount --fork --mount-proc "$0" "$binary"
    exit
fi

root=$work/root
ip link set lo up 2>/dev/null || { echo 'no loopback here: iproute2 is missing' >&2; exit 3; }
mount --bind /dev "$root/dev"
mount -t proc proc "$root/proc"

# The steps of the second stage, in their order. Its apt step was the base above.
declare -A env=()
user=root workdir=/ entry=() command=() health=()
json() { # ["a", "b"] to one word a line
    tr -d '[]"' <<<"$1" | tr ',' '\n' | sed 's/^ *//; s/ *$//'
}
while read -r verb rest; do
    [[ $verb == RUN && $rest == apt-get* ]] && continue
    case $verb in
    RUN) echo "== $verb $rest"; chroot "$root" /bin/sh -ec "$rest" ;;
    COPY)
        echo "== $verb $rest"
        if [[ $rest == --from=build* ]]; then set -- "$binary" "${rest##* }"; else set -- ${rest}; fi
        install -D -m "$(stat -c %a "$1")" "$1" "$root$2"
        ;;
    USER) user=$rest ;;
    ENV) env[${rest%%=*}]=${rest#*=} ;;
    WORKDIR) workdir=$rest; mkdir -p "$root$rest" ;;
    HEALTHCHECK) mapfile -t health < <(json "${rest##*CMD }") ;;
    ENTRYPOINT) mapfile -t entry < <(json "$rest") ;;
    CMD) mapfile -t command < <(json "$rest") ;;
    VOLUME | EXPOSE | STOPSIGNAL) ;;
    *) echo "unknown step: $verb $rest" >&2; exit 1 ;;
    esac
done < <(sed -n '/^FROM debian/,$ { /^FROM/d; /^#/d; /^$/d; p }' Dockerfile)

assignments=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
for name in "${!env[@]}"; do assignments+=("$name=${env[$name]}"); done
within=(chroot --userspec="$user" "$root" /usr/bin/env -i "${assignments[@]}" /bin/sh -c "cd $workdir && exec \"\$@\"" sh)
as_user() { "${within[@]}" "$@"; }
fail() { echo "FAILED: $*" >&2; sed 's/^/  log: /' "$work/log" >&2 || true; exit 1; }

cat >"$root/data/watchbell.toml" <<'TOML'
[site]
title = "Proof"
url = "http://localhost:8080/"

[server]
listen = "0.0.0.0:8080"

[[service]]
id = "itself"
name = "Itself"
[[service.check]]
tcp = "127.0.0.1:8080"
every = "10s"
TOML

echo "== ${entry[*]} ${command[*]} as $user"
! as_user "${health[@]}" >/dev/null 2>&1 || fail 'the health check is content before anything runs'
"${within[@]}" "${entry[@]}" "${command[@]}" >"$work/log" 2>&1 &  # a plain command, so that $! is watchbell
pid=$!
for _ in $(seq 60); do
    as_user "${health[@]}" >"$work/health" 2>/dev/null && break
    kill -0 "$pid" 2>/dev/null || fail 'it ended'
    sleep 0.5
done
[[ $(cat "$work/health") == ok* ]] || fail "the health check says: $(cat "$work/health")"
echo "health: $(cat "$work/health")"

[[ $(stat -c %U "/proc/$pid") == "$user" ]] || fail "it runs as $(stat -c %U "/proc/$pid")"
strangers=$(find "$root/data" -newer "$root/data/watchbell.toml" ! -user "$user")
[[ -z $strangers ]] || fail "not $user's: $strangers"
page=$(as_user bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080; printf "GET / HTTP/1.0\r\n\r\n" >&3; cat <&3')
[[ $page == *'200 OK'*'</html>'* ]] || fail 'there is no page'

began=$SECONDS
kill -TERM "$pid"
status=0
wait "$pid" || status=$?
((status == 0)) || fail "it ended with status $status"
((SECONDS - began < 5)) || fail "it took $((SECONDS - began)) s to end"
! as_user "${health[@]}" >/dev/null 2>&1 || fail 'the health check is content after the end'

umount "$root/proc" "$root/dev"
echo "stopped in $((SECONDS - began)) s; the image holds $(du -sm "$root" | cut -f1) MB, of them $(du -sm "$root/usr/local/bin/watchbell" | cut -f1) MB watchbell"
