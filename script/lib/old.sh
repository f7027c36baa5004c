# Sourced by script/test --upgrade: an earlier Tulle, built once into build/old, to stand beside this one.
# From before TCP between sidecars became streams, and before clients other than our own were served. Who
# changes it picks one whose protocols or store differ from today's.
OLD_COMMIT=8107ac7b00d283262e36560baa665951cb179d30
OLD_AT=build/old

need_old() {
    [ "$(cat "$OLD_AT/commit" 2>/dev/null)" = "$OLD_COMMIT" ] && return
    git cat-file -e "$OLD_COMMIT^{commit}" 2>/dev/null ||
        die "commit $OLD_COMMIT is not in this clone: git fetch --unshallow"
    say "building Tulle of $OLD_COMMIT into $OLD_AT"
    rm -rf "$OLD_AT"
    mkdir -p "$OLD_AT/source"
    git archive "$OLD_COMMIT" meson.build meson_options.txt VERSION src proto tests bench | tar -x -C "$OLD_AT/source"
    meson setup "$OLD_AT/build" "$OLD_AT/source" -Dtests=false >"$OLD_AT/log" 2>&1 </dev/null &&
        ninja -C "$OLD_AT/build" -j "$JOBS" src/main/tulle src/main/tulled src/main/tulle-proxy >>"$OLD_AT/log" 2>&1 ||
        die "it does not build: $OLD_AT/log"
    echo "$OLD_COMMIT" >"$OLD_AT/commit"
}
