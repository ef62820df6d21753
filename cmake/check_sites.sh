#!/usr/bin/env bash
# Every site of base/sometimes.h stands somewhere in shipping code, or where the simulator acts by itself. (That every name that is used is
# in the list, and of the right kind, the compiler says.)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
rooms=(raft txn shardmaster shardkv client io cmd tests/sim)

missing=0
count=0
while read -r kind name; do
    count=$((count + 1))
    if ! grep -rqF --include='*.c' "$kind($name)" "${rooms[@]/#/$root/}"; then
        echo "check_sites: $kind($name) stands nowhere"
        missing=1
    fi
done < <(sed -nE 's/^ *X\((RARE|COVER), ([A-Z_]+),.*/\1 \2/p' "$root/base/sometimes.h")
[ "$missing" -eq 0 ] || exit 1
[ "$count" -gt 0 ] || { echo "check_sites: found no list" && exit 1; }
echo "check_sites: $count sites stand where they say"
