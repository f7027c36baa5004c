# Sourced: programs written in Go for tests and benchmarks, built by a Go that is new enough.

# Debian 12's Go is 1.19 and cannot switch toolchains by itself; what our programs import asks for more.
GO_VERSION=1.26.8
INTEROP_AT=$TOP/build/interop

# A module's files come without execute bits, and with the go.mod of the library under another name,
# since a module must not hold a second one. Newer versions of Go put that right in the same way.
_finish_toolchain() {
    local root=$1
    chmod u+w "$root/src"
    cp "$root/src/_go.mod" "$root/src/go.mod"
    find "$root/bin" "$root/pkg/tool" -type f -exec chmod 0755 {} +
}

# go_command: prints the command to use: the machine's own Go, or the pinned one, which comes as a
# module (checked against the checksum database like any other) into the module cache.
go_command() {
    local own module root
    command -v go >/dev/null || die "no Go compiler (apt-get install golang-go)"
    own=$(GOTOOLCHAIN=local go env GOVERSION)
    if [ "$(printf '%s\n' "$GO_VERSION" "${own#go}" | sort -V | head -n 1)" = "$GO_VERSION" ]; then
        command -v go
        return
    fi
    module=golang.org/toolchain@v0.0.1-go$GO_VERSION.linux-$(go env GOARCH)
    # From the top folder, where there is no go.mod: a newer one would be refused here.
    (cd "$TOP" && GOTOOLCHAIN=local GOFLAGS="" go mod download "$module" </dev/null) || die "go could not fetch $module"
    root=$(go env GOMODCACHE)/$module
    [ -x "$root/bin/go" ] && cmp -s "$root/src/_go.mod" "$root/src/go.mod" || _finish_toolchain "$root"
    echo "$root/bin/go"
}

# run_go ARGUMENT...: the go command with nothing of the caller's settings that would change the result.
run_go() {
    local go
    go=$(go_command) || return 1
    GOROOT="" GOTOOLCHAIN=local GOFLAGS=-buildvcs=false GO111MODULE=on GOWORK=off CGO_ENABLED=0 "$go" "$@" </dev/null
}

# is_interop FOLDER: whether it says what it is made of, in Go, Python or JavaScript.
is_interop() { [ -f "$1/go.mod" ] || [ -f "$1/requirements.txt" ] || [ -f "$1/package.json" ]; }

# interop_names: the programs of tests/interop, but for those that are built on request only.
interop_names() {
    local folder
    for folder in "$TOP"/tests/interop/*/; do
        ! is_interop "$folder" || [ -f "$folder/on-request" ] || basename "$folder"
    done
}

_interop_sum() { (cd "$TOP/tests/interop/$1" && { echo "$GO_VERSION"; find . -type f | LC_ALL=C sort | xargs sha256sum; } | sha256sum); }

has_interop() { [ "$(_interop_sum "$1")" = "$(cat "$INTEROP_AT/$1.sum" 2>/dev/null)" ]; }

_install_python() {
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
        --only-binary :all: --target "$INTEROP_AT/$1/python" -r "$TOP/tests/interop/$1/requirements.txt" </dev/null ||
        die "pip could not install what tests/interop/$1 needs"
}

# Nothing that a package brings is run.
_install_node() {
    mkdir -p "$INTEROP_AT/$1/node"
    cp "$TOP/tests/interop/$1"/package*.json "$INTEROP_AT/$1/node"
    (cd "$INTEROP_AT/$1/node" && npm ci --silent --ignore-scripts --no-audit --no-fund --no-update-notifier </dev/null) ||
        die "npm could not install what tests/interop/$1 needs"
}

# install_interop NAME: builds what tests/interop/NAME holds, and the tools that its go.mod names, into
# build/interop/bin. A program is called as its folder, a tool as the last part of its package. What
# requirements.txt and package.json name comes into build/interop/NAME.
install_interop() {
    local folder=$TOP/tests/interop/$1
    say "building tests/interop/$1"
    rm -rf "${INTEROP_AT:?}/$1"
    [ ! -f "$folder/requirements.txt" ] || _install_python "$1"
    [ ! -f "$folder/package.json" ] || _install_node "$1"
    [ ! -f "$folder/go.mod" ] || _install_go "$1"
    mkdir -p "$INTEROP_AT"
    _interop_sum "$1" >"$INTEROP_AT/$1.sum"
}

_install_go() {
    local folder=$TOP/tests/interop/$1 packages=()
    ! compgen -G "$folder/*.go" >/dev/null || packages+=(.)
    ! grep -q '^tool' "$folder/go.mod" || packages+=(tool)
    mkdir -p "$INTEROP_AT/bin"
    (cd "$folder" && run_go build -mod=readonly -trimpath -ldflags '-s -w' -o "$INTEROP_AT/bin/" "${packages[@]}") ||
        die "tests/interop/$1 could not be built"
}
