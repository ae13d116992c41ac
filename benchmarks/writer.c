/* The system calls of one publication, in a loop of C: what the writer in Python is measured against.
 *
 * It makes the same calls on the same kinds of objects as secretbridge/generation does, and nothing
 * else: no comparison, no digest, no manifest text. Built as a shared library at bench time.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define NEW_FILE (O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC)
#define TRY(call) \
    do { \
        if ((call) < 0) \
            return -errno; \
    } while (0)

static int list(int directory)
{
    int copy, entries = 0;
    DIR *listing;

    TRY(copy = fcntl(directory, F_DUPFD_CLOEXEC, 0));
    listing = fdopendir(copy);
    while (readdir(listing))
        entries++;
    rewinddir(listing);
    closedir(listing);
    return entries;
}

static int put(int directory, const char *name, const char *content, long size)
{
    int file;

    TRY(file = openat(directory, name, NEW_FILE, 0400));
    if (size > 4096)
        TRY(-posix_fallocate(file, 0, size));
    if (write(file, content, size) != size)
        return -EIO;
    TRY(fchmod(file, 0440));
    TRY(close(file));
    return 0;
}

/* Publish `names` into `root`: the first `changed` of them written, the others linked from the
 * generation `old`. Returns 0 or a negative error number. */
int publish(int root, const char *path, const char *generation, const char *old, int files, int changed,
            const char *const *names, const char *const *contents, long size,
            const char *manifest, long manifest_size)
{
    char random[8];
    int new, previous = -1, error, i;
    struct stat status;
    struct statvfs space;
    struct timespec times[2] = {{1, 0}, {1, 0}};

    TRY(fstat(root, &status));
    TRY(lstat(path, &status));
    TRY(fstat(root, &status));
    TRY(getrandom(random, sizeof random, 0));
    TRY(fstatvfs(root, &space));
    TRY(mkdirat(root, generation, 0700));
    TRY(new = openat(root, generation, DIRECTORY));
    TRY(fchmod(new, 0700));
    if (changed < files) {
        TRY(previous = openat(root, old, DIRECTORY));
        TRY(fstat(previous, &status));
    }
    for (i = changed; i < files; i++)
        TRY(linkat(previous, names[i], new, names[i], 0));
    for (i = 0; i < changed; i++)
        if ((error = put(new, names[i], contents[i], size)) < 0)
            return error;
    if ((error = put(new, "..manifest", manifest, manifest_size)) < 0)
        return error;
    TRY(list(new));
    TRY(fstat(new, &status));
    TRY(futimens(new, times));
    TRY(fchmod(new, 0750));
    if (changed < files)
        TRY(close(previous));
    TRY(getrandom(random, sizeof random, 0));
    TRY(symlinkat(generation, root, "..tmp-0"));
    TRY(renameat(root, "..tmp-0", root, "..data"));
    TRY(fstat(new, &status));
    TRY(fstatat(root, "..data", &status, 0));
    TRY(close(new));
    TRY(futimens(root, times));
    return 0;
}

/* Remove a generation, outside of what is measured. */
int discard(int root, const char *generation, int files, const char *const *names)
{
    int directory, i;

    TRY(directory = openat(root, generation, DIRECTORY));
    for (i = 0; i < files; i++)
        TRY(unlinkat(directory, names[i], 0));
    TRY(unlinkat(directory, "..manifest", 0));
    TRY(close(directory));
    TRY(unlinkat(root, generation, AT_REMOVEDIR));
    return 0;
}
