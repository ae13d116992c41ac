/* Moves the clocks of a process, for trials: LD_PRELOAD this, and name a file of two 64-bit numbers in
 * $MOVED_CLOCK, the nanoseconds by which the time of day and the monotonic clock are ahead. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int (*real)(clockid_t, struct timespec *);
static const volatile long long *ahead;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("MOVED_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    real = dlsym(RTLD_NEXT, "clock_gettime");
    if (file >= 0) {
        void *page = mmap(0, 16, PROT_READ, MAP_SHARED, file, 0);
        ahead = page == MAP_FAILED ? 0 : page;
        close(file);
    }
}

int clock_gettime(clockid_t which, struct timespec *now) {
    int result = real(which, now);
    int number = which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE ? 0 : 1;
    if (result == 0 && ahead && which != CLOCK_PROCESS_CPUTIME_ID && which != CLOCK_THREAD_CPUTIME_ID) {
        long long ns = now->tv_nsec + ahead[number] % 1000000000;
        now->tv_sec += ahead[number] / 1000000000 + (ns < 0 ? -1 : ns / 1000000000);
        now->tv_nsec = ns < 0 ? ns + 1000000000 : ns % 1000000000;
    }
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec found;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (now) *now = found.tv_sec;
    return found.tv_sec;
}

/* Whoever waits until a moment has read it off the clock that is ahead; the kernel waits by its own. */
static struct timespec behind(clockid_t which, const struct timespec *until) {
    struct timespec found = *until;
    if (ahead) {
        long long by = ahead[which == CLOCK_REALTIME ? 0 : 1];
        long long ns = found.tv_nsec - by % 1000000000;
        found.tv_sec -= by / 1000000000;
        if (ns < 0) { ns += 1000000000; found.tv_sec -= 1; }
        if (ns >= 1000000000) { ns -= 1000000000; found.tv_sec += 1; }
        found.tv_nsec = ns;
    }
    return found;
}

int sem_clockwait(sem_t *sem, clockid_t which, const struct timespec *until) {
    static int (*next)(sem_t *, clockid_t, const struct timespec *);
    if (!next) next = dlsym(RTLD_NEXT, "sem_clockwait");
    struct timespec moment = behind(which, until);
    return next(sem, which, &moment);
}

int sem_timedwait(sem_t *sem, const struct timespec *until) {
    static int (*next)(sem_t *, const struct timespec *);
    if (!next) next = dlsym(RTLD_NEXT, "sem_timedwait");
    struct timespec moment = behind(CLOCK_REALTIME, until);
    return next(sem, &moment);
}

int pthread_cond_clockwait(pthread_cond_t *c, pthread_mutex_t *m, clockid_t which,
                           const struct timespec *until) {
    static int (*next)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
    if (!next) next = dlsym(RTLD_NEXT, "pthread_cond_clockwait");
    struct timespec moment = behind(which, until);
    return next(c, m, which, &moment);
}

int pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until) {
    /* CPython makes its conditions on the monotonic clock, for the lock that threads share. */
    static int (*next)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!next) next = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!next) next = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    struct timespec moment = behind(CLOCK_MONOTONIC, until);
    return next(c, m, &moment);
}
