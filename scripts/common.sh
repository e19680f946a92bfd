# What `./dev` and the scripts beside this file share. Sourced, never run.
# shellcheck shell=bash

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
note() { printf '    %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Plain text where colours are unwelcome.
if [[ ! -t 2 || -n ${NO_COLOR:-} ]]; then
    say() { printf '==> %s\n' "$*" >&2; }
fi

have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        die "this needs root: $* (run it as root, or install sudo)"
    fi
}

# Prints those of the given Debian packages that are not installed.
missing_packages() {
    local package installed
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null) || true
    for package in "$@"; do
        grep -qx "installed $package" <<<"$installed" || printf '%s\n' "$package"
    done
}

# Installs what is missing of the given Debian packages, and says so. Silent when all is there.
need_packages() {
    have apt-get || die "this script installs Debian and Ubuntu packages only; install these by hand: $*"
    local missing
    mapfile -t missing < <(missing_packages "$@")
    [[ ${#missing[@]} -eq 0 ]] && return
    say "Installing with apt: ${missing[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends "${missing[@]}" >/dev/null
}

need_rust() {
    have cargo || die "Rust is missing: install a stable toolchain with rustup, then open a new shell."
}
