#!/usr/bin/env bash
# Runs each fuzz target, or those named: fuzz/run.sh [SECONDS] [TARGET...].
# With cargo-fuzz on the stable toolchain: there is no unsafe code that a sanitizer would watch, so none is needed
# and no nightly compiler. Begins with the seeds and what earlier runs found (target/fuzz-corpus).
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/target/tools/bin:$PATH"

seconds=${1:-60}
shift || true
[ "$#" -gt 0 ] || set -- $(sed -n 's/^name = "\(.*\)"$/\1/p' fuzz/Cargo.toml | tail -n +2)
options=(--sanitizer none --target-dir target/fuzz)
triple=$(rustc -vV | sed -n 's/^host: //p')

cargo fuzz build "${options[@]}"
for target in "$@"; do
    seeds=("fuzz/seeds/$target")
    # The golden files of mistakes are seeds, too.
    [ "$target" != config ] || seeds+=(tests/golden/config)
    mkdir -p "target/fuzz-corpus/$target" "target/fuzz-artifacts/$target"
    printf '\n==> fuzz %s for %s s\n' "$target" "$seconds"
    # Not through `cargo fuzz run`: it would build once more, and ask for a corpus within fuzz/.
    if ! "target/fuzz/$triple/release/$target" "target/fuzz-corpus/$target" "${seeds[@]}" \
        -artifact_prefix="target/fuzz-artifacts/$target/" -max_total_time="$seconds" \
        -rss_limit_mb=1024 -malloc_limit_mb=256 -timeout=10 -max_len=4096 -print_final_stats=1 \
        >"target/fuzz-artifacts/$target.log" 2>&1; then
        tail -n 60 "target/fuzz-artifacts/$target.log"
        echo "FAIL fuzz target $target: the input is in target/fuzz-artifacts/$target"
        exit 1
    fi
    grep -E 'stat::(number_of_executed_units|average_exec_per_sec|peak_rss_mb)' "target/fuzz-artifacts/$target.log"
done
