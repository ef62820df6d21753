#!/usr/bin/env bash
# Checks each model exhaustively, and then with each of its rules taken away, one at a time: the first
# must hold, each of the others must not. run.sh MODEL.pml...
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "$1: $2" >&2
    exit 2
}

# check MODEL NAME [DEFINE]: sets `errors` and `states`.
check() {
    local model=$1 name=$2 directory=$work/$2
    shift 2
    mkdir "$directory"
    cp "$model" "$directory/model.pml"
    pushd "$directory" >/dev/null
    spin -a "$@" model.pml >spin.out || fail "$name" "$(cat spin.out)"
    cc -O2 -w -DSAFETY -DCOLLAPSE -DVECTORSZ=2048 -DMEMLIM=4000 -o pan pan.c || fail "$name" "no compiler?"
    ./pan -E -m1000000 >pan.out # -E: to come to rest is no error by itself
    popd >/dev/null
    if grep -q 'max search depth too small\|out of memory\|pan: reached' "$directory/pan.out"; then
        fail "$name" "the search was cut short"
    fi
    states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$directory/pan.out")
    errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' "$directory/pan.out")
    [ -n "$errors" ] || fail "$name" "the search said nothing"
}

failed=0
for model in "$@"; do
    name=$(basename "$model" .pml)
    check "$model" "$name"
    if [ "$errors" -eq 0 ]; then
        echo "$name: holds in all $states states"
    else
        echo "$name: FAILED: it does not hold"
        failed=1
    fi
    for rule in $(grep -o 'BREAK_[A-Z_]*' "$model" | grep -v '^BREAK_$' | sort -u); do
        check "$model" "$name-$rule" "-D$rule"
        if [ "$errors" -eq 0 ]; then
            echo "$name: FAILED: $rule goes unnoticed"
            failed=1
        else
            echo "$name: $rule is found"
        fi
    done
done
exit "$failed"
