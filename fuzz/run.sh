#!/usr/bin/env bash
# Runs each fuzz target, or those named: fuzz/run.sh [--dev] [SECONDS] [TARGET...]; as many at a time as there are cores.
#   --dev  built quickly and not optimised: fewer inputs a second
# With cargo-fuzz on the stable toolchain: there is no unsafe code that a sanitizer would watch, so none is needed
# and no nightly compiler. Begins with the seeds and what earlier runs found (target/fuzz-corpus).
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/target/tools/bin:$PATH"

options=(--sanitizer none --target-dir target/fuzz) profile=release
if [ "${1:-}" = --dev ]; then
    options+=(--dev) profile=debug
    shift
fi
export seconds=${1:-60}
shift || true
[ "$#" -gt 0 ] || set -- $(sed -n 's/^name = "\(.*\)"$/\1/p' fuzz/Cargo.toml | tail -n +2)

cargo fuzz build "${options[@]}"
# Not through `cargo fuzz run`: it would build once more, and ask for a corpus within fuzz/.
export built=target/fuzz/$(rustc -vV | sed -n 's/^host: //p')/$profile
one() {
    local target=$1 seeds=("fuzz/seeds/$1") log=target/fuzz-artifacts/$1.log
    # The golden files of mistakes are seeds, too.
    [ "$target" != config ] || seeds+=(tests/golden/config)
    mkdir -p "target/fuzz-corpus/$target" "target/fuzz-artifacts/$target"
    if ! "$built/$target" "target/fuzz-corpus/$target" "${seeds[@]}" \
        -artifact_prefix="target/fuzz-artifacts/$target/" -max_total_time="$seconds" \
        -rss_limit_mb=1024 -malloc_limit_mb=256 -timeout=10 -max_len=4096 -print_final_stats=1 >"$log" 2>&1; then
        tail -n 60 "$log"
        echo "FAIL fuzz target $target: the input is in target/fuzz-artifacts/$target"
        return 1
    fi
    printf 'fuzz %s for %s s: %s\n' "$target" "$seconds" "$(grep -E 'stat::(number_of_executed_units|peak_rss_mb)' "$log" \
        | sed 's/^stat::\([a-z_]*\): */\1 /' | paste -sd ' ')"
}
export -f one
printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} bash -c 'one {}'
