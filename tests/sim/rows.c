#define _GNU_SOURCE /* nftw, mkdtemp */

#include "tests/sim/rows.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOT_BYTES_MAX 256
#define PATH_BYTES_MAX (2 * ROOT_BYTES_MAX)
#define WHY_BYTES      256
#define OPEN_FILES_MAX 16
/* Never full: which block goes first, and when a buffer is full, is not the same in each run. */
#define BLOCK_CACHE_BYTES  (1u << 30)
#define WRITE_BUFFER_BYTES (16u << 20)

/* --- Directories
 * ------------------------------------------------------------------------------------- */

static char root[ROOT_BYTES_MAX]; /* "": not made yet */
static uint64_t directories_count;

static void must(bool is_done, const char *what, const char *path)
{
    if (is_done)
        return;
    fprintf(stderr, "ostraka-sim: cannot %s %s: %s\n", what, path, strerror(errno));
    abort();
}

static int entry_remove(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

static void tree_remove(const char *path)
{
    nftw(path, entry_remove, OPEN_FILES_MAX, FTW_DEPTH | FTW_PHYS);
}

/* A process that does nothing but wait for the end of this one, be it a failed assertion or a
 * SIGKILL: then nobody writes to the pipe any more. It keeps the other files open, so who waits for
 * the end of what we print waits for it as well. */
static void cleaner_start(void)
{
    int fds[2];
    must(pipe2(fds, O_CLOEXEC) == 0, "make a pipe for", root);
    fflush(NULL);
    pid_t pid = fork();
    must(pid >= 0, "fork for", root);
    if (pid > 0) {
        close(fds[0]);
        return;
    }
    setsid(); /* a signal from the terminal is not for it */
    close(fds[1]);
    char byte;
    while (read(fds[0], &byte, 1) < 0 && errno == EINTR)
        continue;
    tree_remove(root);
    _exit(EXIT_SUCCESS);
}

static void root_make(void)
{
    const char *base = getenv("TMPDIR");
    if (!base || !*base)
        base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    int count = snprintf(root, sizeof root, "%s/ostraka-sim.XXXXXX", base);
    errno = ENAMETOOLONG;
    must(count > 0 && (size_t)count < sizeof root, "use", base);
    must(mkdtemp(root), "make", root);
    cleaner_start();
}

static void directory_path(uint64_t directory, char *path)
{
    snprintf(path, PATH_BYTES_MAX, "%s/%" PRIu64, root, directory);
}

static void directory_remove(uint64_t directory)
{
    char path[PATH_BYTES_MAX];
    directory_path(directory, path);
    tree_remove(path);
}

static void file_copy(int from, int to, const char *name)
{
    int source = openat(from, name, O_RDONLY | O_CLOEXEC);
    if (source < 0 && errno == ENOENT)
        return;
    must(source >= 0, "open", name);
    int copy = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    must(copy >= 0, "make a copy of", name);
    struct stat status;
    must(fstat(source, &status) == 0, "look at", name);
    for (off_t offset = 0; offset < status.st_size;)
        must(sendfile(copy, source, &offset, (size_t)(status.st_size - offset)) > 0, "copy", name);
    close(source);
    close(copy);
}

static bool has_suffix(const char *name, const char *suffix)
{
    size_t name_bytes = strlen(name), suffix_bytes = strlen(suffix);
    return name_bytes >= suffix_bytes && strcmp(name + name_bytes - suffix_bytes, suffix) == 0;
}

/* Nothing is being written: flushes have ended when store_flush returns, and compaction is a part
 * of them. Only files that nobody needs any more may still be on their way out. */
static void directory_copy(uint64_t directory, uint64_t to_directory)
{
    char from_path[PATH_BYTES_MAX], to_path[PATH_BYTES_MAX];
    directory_path(directory, from_path);
    directory_path(to_directory, to_path);
    must(mkdir(to_path, 0700) == 0, "make", to_path);
    DIR *from = opendir(from_path);
    must(from, "open", from_path);
    int to = open(to_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    must(to >= 0, "open", to_path);
    struct dirent *entry;
    while ((entry = readdir(from))) {
        const char *name = entry->d_name;
        if (name[0] == '.' || strcmp(name, "LOCK") == 0 || strncmp(name, "LOG", 3) == 0)
            continue;
        if (has_suffix(name, ".sst"))
            must(linkat(dirfd(from), name, to, name, 0) == 0 || errno == ENOENT, "link", name);
        else
            file_copy(dirfd(from), to, name);
    }
    closedir(from);
    close(to);
}

/* --- Rows
 * -------------------------------------------------------------------------------------------- */

void rows_init(struct rows *rows, bool is_rocksdb)
{
    *rows = (struct rows){.is_rocksdb = is_rocksdb};
    if (!is_rocksdb) {
        rows->store = store_new_memory();
        return;
    }
    if (!root[0])
        root_make();
    rows->directory = ++directories_count;
}

void rows_fini(struct rows *rows)
{
    store_close(rows->store);
    if (rows->is_rocksdb)
        directory_remove(rows->directory);
}

struct store *rows_open(struct rows *rows)
{
    if (rows->store)
        return rows->store;
    struct store_options options;
    store_options_default(&options);
    options.block_cache_bytes = BLOCK_CACHE_BYTES;
    options.write_buffer_bytes = WRITE_BUFFER_BYTES;
    options.is_compacting_in_flush = true;
    char path[PATH_BYTES_MAX], why[WHY_BYTES];
    directory_path(rows->directory, path);
    if (store_open_rocksdb(path, &options, &rows->store, why) != OST_OK) {
        fprintf(stderr, "ostraka-sim: cannot open %s: %s\n", path, why);
        abort();
    }
    return rows->store;
}

void rows_crash(struct rows *rows)
{
    if (rows->is_rocksdb) {
        rows->directory_left = ++directories_count;
        directory_copy(rows->directory, rows->directory_left);
        return;
    }
    rows->left = store_memory_after_crash(rows->store);
    store_memory_hinder(rows->store, false, false);
}

void rows_close(struct rows *rows)
{
    ASSERT(rows->left || rows->directory_left);
    store_close(rows->store);
    rows->store = rows->left;
    rows->left = NULL;
    if (!rows->is_rocksdb)
        return;
    directory_remove(rows->directory);
    rows->directory = rows->directory_left;
    rows->directory_left = 0;
}

void rows_hinder(struct rows *rows, bool is_stalled, bool is_cold)
{
    if (!rows->is_rocksdb) {
        store_memory_hinder(rows->store, is_stalled, is_cold);
    } else if (is_cold && rows->store) {
        int status = store_flush(rows->store);
        ASSERT(status == OST_OK);
    }
}
