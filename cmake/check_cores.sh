#!/usr/bin/env bash
# Logic does no I/O: the objects of raft, txn, shardmaster, shardkv and the node use no function that
# reads a clock, opens a socket or a file, sleeps, starts a thread, or draws a random number of its own.
# The one file that is excepted is the one that knows RocksDB.
#
# usage: check_cores.sh BUILD_DIRECTORY
set -euo pipefail

build=${1:?usage: check_cores.sh BUILD_DIRECTORY}
archives=(raft/libraft.a txn/libtxn.a shardmaster/libshardmaster.a shardkv/libshardkv.a
    cmd/libcmd_node.a)
excepted='store_rocksdb\.c\.o'

denied=(
    # clocks
    clock_gettime clock_getres clock gettimeofday time ftime timespec_get times getrusage
    timer_create timer_settime timerfd_create setitimer alarm
    # sleeping
    sleep usleep nanosleep clock_nanosleep select pselect poll ppoll epoll_create epoll_create1
    epoll_ctl epoll_wait epoll_pwait eventfd
    # sockets
    socket socketpair connect bind listen accept accept4 send sendto sendmsg sendmmsg recv recvfrom
    recvmsg recvmmsg setsockopt getsockopt getaddrinfo
    # files
    open openat creat fopen fdopen freopen read pread readv preadv write pwrite writev pwritev
    fsync fdatasync sync_file_range fallocate posix_fallocate ftruncate truncate rename renameat
    renameat2 unlink unlinkat remove mkdir mkdirat rmdir opendir readdir stat fstat lstat fstatat
    mmap mkstemp mkdtemp tmpfile ioctl fcntl close dup dup2 pipe pipe2 syscall
    # chance
    rand rand_r srand random srandom random_r drand48 lrand48 mrand48 srand48 arc4random
    arc4random_buf arc4random_uniform getrandom getentropy
    # the environment, processes, threads
    getenv secure_getenv getpid gettid fork vfork execve execv system popen kill raise signal
    sigaction pthread_create pthread_self
)
pattern="^($(
    IFS='|'
    echo "${denied[*]}"
))(64|_chk|64_2|_2)?$"

found=0
checked=0
for archive in "${archives[@]}"; do
    path=$(find "$build" -name "$(basename "$archive")" -print -quit)
    if [ -z "$path" ]; then
        echo "check_cores: $(basename "$archive") has not been built" >&2
        exit 1
    fi
    # nm -A: "archive:member:   U symbol"; glibc's fortified names begin with __ (__read_chk, __isoc99_).
    while read -r member symbol; do
        echo "check_cores: $member of $(basename "$archive") uses $symbol"
        found=1
    done < <(nm -A -u "$path" 2>/dev/null | grep -Ev ":$excepted:" |
        sed -E 's/^.*:([^:]+\.o): +U ([^@]+).*/\1 \2/' |
        awk -v pattern="$pattern" '{ name = $2; sub(/^__/, "", name); if (name ~ pattern) print $1, $2 }')
    # io_uring and RocksDB have too many functions to list.
    while read -r member symbol; do
        echo "check_cores: $member of $(basename "$archive") uses $symbol"
        found=1
    done < <(nm -A -u "$path" 2>/dev/null | grep -Ev ":$excepted:" |
        sed -E 's/^.*:([^:]+\.o): +U ([^@]+).*/\1 \2/' | grep -E ' (io_|rocksdb_)' || true)
    checked=$((checked + 1))
done
[ "$found" -eq 0 ] || exit 1
echo "check_cores: $checked libraries use no clock, socket, file or random call"
