# shellcheck shell=bash
# Sourced by the scripts beside it: what is needed, and how a step is told.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-auto}"

# heading TEXT
heading() {
    printf '\n=== %s\n' "$1"
}

# step TITLE COMMAND...: runs it under a heading, and says how long it took. The first that fails ends the script.
step() {
    local title=$1 start=$SECONDS
    shift
    heading "$title"
    if ! "$@"; then
        printf '=== %s: FAILED after %s s\n' "$title" "$((SECONDS - start))" >&2
        exit 1
    fi
    printf '=== %s: ok, %s s\n' "$title" "$((SECONDS - start))"
}

has() {
    command -v "$1" >/dev/null 2>&1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# need_apt COMMAND=PACKAGE...: installs the packages whose commands are missing.
need_apt() {
    local pair missing=()
    for pair in "$@"; do
        has "${pair%%=*}" || missing+=("${pair#*=}")
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    echo "missing, installing with apt-get: ${missing[*]}"
    has apt-get || { echo "there is no apt-get here: install ${missing[*]} by hand" >&2; return 1; }
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

# need_rust: a toolchain cannot be had from a registry, so its lack is only told.
need_rust() {
    has cargo || { echo "missing: a Rust toolchain (cargo, rustc) of version $(rust_version) or newer" >&2; return 1; }
    # AWS-LC and SQLite are C: they are compiled here.
    need_apt cc=build-essential
}

# need_component COMMAND COMPONENT: a part of the toolchain.
need_component() {
    has "$1" && return 0
    echo "missing, adding with rustup: $2"
    rustup component add "$2"
}

rust_version() {
    sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml
}
