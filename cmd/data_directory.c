#include "cmd/data_directory.h"

#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define WHY_BYTES 512

static int why_errno(char *out_why, const char *what, const char *path)
{
    int error = errno;
    snprintf(out_why, WHY_BYTES, "cannot %s %s: %s", what, path, strerror(error));
    return error == ENOSPC || error == EDQUOT ? OST_NO_SPACE : OST_IO;
}

static char *path_join(const char *directory, const char *name)
{
    size_t bytes = strlen(directory) + strlen(name) + 2;
    char *path = memory_alloc(bytes);
    snprintf(path, bytes, "%s/%s", directory, name);
    return path;
}

static int directory_make(const char *path, char *out_why)
{
    char partial[PATH_MAX];
    if ((size_t)snprintf(partial, sizeof partial, "%s", path) >= sizeof partial) {
        snprintf(out_why, WHY_BYTES, "the path of the data directory is longer than %d bytes",
                 PATH_MAX);
        return OST_INVALID_ARGUMENT;
    }
    for (char *slash = partial + 1; *slash; slash++) {
        if (*slash != '/')
            continue;
        *slash = '\0';
        if (mkdir(partial, 0755) != 0 && errno != EEXIST)
            return why_errno(out_why, "make directory", partial);
        *slash = '/';
    }
    if (mkdir(partial, 0700) != 0 && errno != EEXIST)
        return why_errno(out_why, "make directory", path);
    if (access(path, R_OK | W_OK | X_OK) != 0)
        return why_errno(out_why, "write to directory", path);
    return OST_OK;
}

/* --- The identity
 * ------------------------------------------------------------------------------------- */

struct identity {
    unsigned format;
    cluster_id_t cluster;
    store_id_t store;
};

static int identity_read(const char *directory, struct identity *out_identity, char *out_why)
{
    char *path = path_join(directory, "IDENTITY");
    FILE *file = fopen(path, "re");
    int status = OST_OK;
    if (!file) {
        status = errno == ENOENT ? OST_NOT_FOUND : why_errno(out_why, "read", path);
    } else {
        if (fscanf(file, "format=%u cluster=%" SCNx64 " store=%" SCNu64, &out_identity->format,
                   &out_identity->cluster, &out_identity->store) != 3) {
            snprintf(out_why, WHY_BYTES, "%s is damaged: it is not one that a store has written",
                     path);
            status = OST_CORRUPT;
        }
        fclose(file);
    }
    free(path);
    return status;
}

/* Written beside, synced, renamed, directory synced: it is there whole or not at all. */
static int identity_write(const char *directory, const struct identity *identity, char *out_why)
{
    char *path = path_join(directory, "IDENTITY");
    char *path_new = path_join(directory, "IDENTITY.new");
    int status = OST_OK;
    int directory_fd = -1;
    FILE *file = fopen(path_new, "we");
    if (!file) {
        status = why_errno(out_why, "write", path_new);
        goto out_free;
    }
    bool written = fprintf(file, "format=%u cluster=%016" PRIx64 " store=%" PRIu64 "\n",
                           identity->format, identity->cluster, identity->store) > 0 &&
                   fflush(file) == 0 && fsync(fileno(file)) == 0;
    if (!written)
        status = why_errno(out_why, "write", path_new);
    fclose(file);
    if (!written)
        goto out_free;
    directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (rename(path_new, path) != 0 || directory_fd < 0 || fsync(directory_fd) != 0)
        status = why_errno(out_why, "write", path);
    if (directory_fd >= 0)
        close(directory_fd);
out_free:
    free(path_new);
    free(path);
    return status;
}

static int identity_check(const char *directory, const struct identity *found,
                          const struct identity *wanted, char *out_why)
{
    if (found->format != wanted->format) {
        snprintf(out_why, WHY_BYTES,
                 "directory %s has format %u, this version reads format %u: run the version that "
                 "wrote it",
                 directory, found->format, wanted->format);
        return OST_WRONG_VERSION;
    }
    if (found->cluster != wanted->cluster) {
        snprintf(out_why, WHY_BYTES,
                 "directory %s belongs to cluster %016" PRIx64 ", not %016" PRIx64
                 ": check --cluster, --initial-stores or --join, or name another directory",
                 directory, found->cluster, wanted->cluster);
        return OST_WRONG_CLUSTER;
    }
    if (found->store != wanted->store) {
        snprintf(out_why, WHY_BYTES,
                 "directory %s belongs to store %" PRIu64 ", not %" PRIu64
                 ": check --store, or name another directory",
                 directory, found->store, wanted->store);
        return OST_WRONG_CLUSTER;
    }
    return OST_OK;
}

/* Has the log ever been written? (An unreadable directory was refused before.) */
static bool log_has_segments(const char *log_path)
{
    DIR *entries = opendir(log_path);
    bool found = false;
    struct dirent *entry;
    while (entries && !found && (entry = readdir(entries)) != NULL)
        found = strncmp(entry->d_name, "log-", 4) == 0;
    if (entries)
        closedir(entries);
    return found;
}

static int identities_open(const struct data_directory *directory, const struct identity *wanted,
                           char *out_why)
{
    struct identity data, log;
    int data_status = identity_read(directory->path, &data, out_why);
    if (data_status != OST_OK && data_status != OST_NOT_FOUND)
        return data_status;
    int log_status = identity_read(directory->log_path, &log, out_why);
    if (log_status != OST_OK && log_status != OST_NOT_FOUND)
        return log_status;
    /* The log's is written first, so a crash in between leaves a log alone, which is still empty.
     */
    if (data_status == OST_OK && log_status == OST_NOT_FOUND) {
        snprintf(out_why, WHY_BYTES,
                 "the log of store %" PRIu64
                 " is not in %s: without its log a store has lost what it "
                 "promised; give --log-dir as before, or start a new store in an empty directory",
                 data.store, directory->log_path);
        return OST_CORRUPT;
    }
    if (data_status == OST_OK) {
        int status = identity_check(directory->path, &data, wanted, out_why);
        return status != OST_OK ? status
                                : identity_check(directory->log_path, &log, wanted, out_why);
    }
    if (log_status == OST_OK) {
        int status = identity_check(directory->log_path, &log, wanted, out_why);
        if (status != OST_OK)
            return status;
        if (log_has_segments(directory->log_path)) {
            snprintf(out_why, WHY_BYTES,
                     "the data of store %" PRIu64
                     " is not in %s, but its log is in %s: give --data as "
                     "before, or start a new store in empty directories",
                     log.store, directory->path, directory->log_path);
            return OST_CORRUPT;
        }
    } else {
        int status = identity_write(directory->log_path, wanted, out_why);
        if (status != OST_OK)
            return status;
    }
    return identity_write(directory->path, wanted, out_why);
}

static int lock_take(struct data_directory *directory, char *out_why)
{
    char *path = path_join(directory->path, "LOCK");
    int status = OST_OK;
    directory->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (directory->lock_fd < 0) {
        status = why_errno(out_why, "open", path);
    } else if (flock(directory->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        snprintf(out_why, WHY_BYTES, "directory %s is in use by another ostrakad: stop it first",
                 directory->path);
        status = OST_EXISTS;
    }
    free(path);
    return status;
}

int data_directory_open(const char *path, const char *log_path, cluster_id_t cluster,
                        store_id_t store, struct data_directory *out_directory, char *out_why)
{
    *out_directory = (struct data_directory){.path = memory_copy_string(path),
                                             .log_path = log_path ? memory_copy_string(log_path)
                                                                  : path_join(path, "log"),
                                             .store_path = path_join(path, "store"),
                                             .lock_fd = -1};
    struct identity wanted = {.format = DATA_FORMAT_VERSION, .cluster = cluster, .store = store};
    int status = directory_make(out_directory->path, out_why);
    if (status == OST_OK)
        status = directory_make(out_directory->log_path, out_why);
    if (status == OST_OK)
        status = lock_take(out_directory, out_why);
    if (status == OST_OK)
        status = identities_open(out_directory, &wanted, out_why);
    if (status != OST_OK)
        data_directory_close(out_directory);
    return status;
}

void data_directory_close(struct data_directory *directory)
{
    if (directory->lock_fd >= 0)
        close(directory->lock_fd);
    free(directory->path);
    free(directory->log_path);
    free(directory->store_path);
    *directory = (struct data_directory){.lock_fd = -1};
}
