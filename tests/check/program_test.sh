#!/usr/bin/env bash
# What ostraka-check says and with which status it exits.
#
# usage: program_test.sh OSTRAKA-CHECK
set -euo pipefail

program=${1:?usage: program_test.sh OSTRAKA-CHECK}
directory=$(mktemp -d)
trap 'rm -r "$directory"' EXIT
cd "$directory"

event() { # PROCESS TYPE FUNCTION VALUE
    echo "{\"time\":0,\"process\":$1,\"type\":\"$2\",\"f\":\"$3\",\"value\":$4}"
}
{
    event 0 invoke txn '[["append",1,1]]'
    event 0 ok txn '[["append",1,1]]'
    event 1 invoke txn '[["r",1,null]]'
} >begin.jsonl
{ cat begin.jsonl && event 1 ok txn '[["r",1,[1]]]'; } >lists.jsonl
{ cat begin.jsonl && event 1 ok txn '[["r",1,[]]]'; } >stale.jsonl
{ cat begin.jsonl && event 2 info txn null; } >broken.jsonl
{ event 0 invoke txn '[["w",1,1]]' && event 0 ok txn '[["w",1,1]]'; } >registers.jsonl
{ event 0 invoke read null && event 0 ok read '{"1":5}'; } >bank.jsonl
cat lists.jsonl >mixed.jsonl
event 5 invoke read null >>mixed.jsonl
: >empty.jsonl

failures=0
expect() { # STATUS PATTERN ARGUMENTS...
    local wanted=$1 pattern=$2 status=0 output
    shift 2
    output=$("$program" "$@" 2>&1) || status=$?
    if [ "$status" -ne "$wanted" ] || ! grep -q -- "$pattern" <<<"$output"; then
        echo "ostraka-check $*: status $status, expected $wanted and '$pattern' in: $output"
        failures=$((failures + 1))
    fi
}

expect 0 '^lists.jsonl: ok: list-append, 4 events, 2 operations, 0 of unknown outcome$' lists.jsonl
expect 0 '^registers.jsonl: ok: register' lists.jsonl registers.jsonl bank.jsonl
expect 0 '^bank.jsonl: ok: bank' bank.jsonl
expect 1 'G-single-realtime' lists.jsonl stale.jsonl
expect 1 'T1 read key 1 as empty, without 1, which T2 appended (rw)' stale.jsonl
expect 0 '^stale.jsonl: ok' --serializable stale.jsonl
expect 1 '"verdict":"violation","anomaly":"G-single-realtime"' --json stale.jsonl
expect 1 'adds up to 5 instead of 6' --total=6 bank.jsonl
expect 2 '^broken.jsonl:4: process 2 completes what it did not invoke$' broken.jsonl
expect 2 '^lists.jsonl: ok' broken.jsonl lists.jsonl
expect 2 '^mixed.jsonl: mixes bank, lists and registers' mixed.jsonl
expect 2 '^empty.jsonl: no operation to judge$' empty.jsonl
expect 2 '^absent.jsonl: cannot open: No such file or directory$' absent.jsonl
expect 0 '^standard input: ok' - <lists.jsonl
expect 64 'name a history'

[ "$failures" -eq 0 ] || exit 1
echo "ostraka-check: 15 runs as expected"
