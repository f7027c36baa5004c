# Sourced by the commands beside it: where things are, how to speak, what to install.
set -euo pipefail
TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$TOP"
export PATH="$PATH:/usr/sbin:/sbin:/usr/local/go/bin"
PYTHON=/usr/bin/python3 # Debian's own: its packages (grpcio, pytest) belong to it
JOBS=${JOBS:-$(nproc)}

say() { printf '\033[1m== %s\033[0m\n' "$*" | if [ -t 1 ]; then cat; else sed 's/\x1b\[[0-9;]*m//g'; fi; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# help_if_asked "$@": prints the comment at the head of the command and leaves.
help_if_asked() {
    local arg
    for arg in "$@"; do
        case $arg in
        -h | --help)
            sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$TOP/script/$(basename "$0")"
            exit 0
            ;;
        esac
    done
}

# need SET...: the packages of these sets are there, or are installed now.
need() { "$TOP/script/bootstrap" --quiet "$@"; }
