/* Moves the clock ahead by $TESTS_AHEAD_S seconds in each process that preloads this library:
 * cc -shared -fPIC, LD_PRELOAD; tests/offline does that. Monotonic clocks and sleeps stay
 * as they are. libfaketime would do, but for two of its faults: timed waits of Java end at
 * once, and those by C11's cnd_timedwait (librdkafka) never. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>

/* A deadline past this many seconds is a time since 1970; before it, of a monotonic clock. */
#define CALENDAR_S 1000000000

static long ahead_s(void)
{
    static long ahead = -1;
    if (ahead < 0) {
        const char *text = getenv("TESTS_AHEAD_S");
        ahead = text ? atol(text) : 0;
    }
    return ahead;
}

static void *original(const char *name)
{
    /* On x86_64 there is an older one for conditions of another size. */
    void *found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");
    return found ? found : dlsym(RTLD_NEXT, name);
}

/* Declares `real` as the function of this name that is hidden by ours. */
#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) \
        real = original(#name)

/* The deadline on the kernel's clock. */
static struct timespec kernels(const struct timespec *deadline)
{
    struct timespec time = *deadline;
    if (time.tv_sec > CALENDAR_S)
        time.tv_sec -= ahead_s();
    return time;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    REAL(clock_gettime);
    int failed = real(clock, time);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        time->tv_sec += ahead_s();
    return failed;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone)
{
    REAL(gettimeofday);
    int failed = real(time, zone);
    if (!failed)
        time->tv_sec += ahead_s();
    return failed;
}

time_t time(time_t *place)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (place)
        *place = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *time, int base)
{
    return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, time) ? base : 0;
}

/* What Rust asks of a file: the program compares when it was written with the clock. */
int statx(int folder, const char *restrict path, int flags, unsigned mask,
          struct statx *restrict found)
{
    REAL(statx);
    int failed = real(folder, path, flags, mask, found);
    if (!failed) {
        found->stx_atime.tv_sec += ahead_s();
        found->stx_btime.tv_sec += ahead_s();
        found->stx_ctime.tv_sec += ahead_s();
        found->stx_mtime.tv_sec += ahead_s();
    }
    return failed;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict deadline)
{
    REAL(pthread_cond_timedwait);
    struct timespec time = kernels(deadline);
    return real(condition, mutex, &time);
}

int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex,
                  const struct timespec *restrict deadline)
{
    REAL(cnd_timedwait);
    struct timespec time = kernels(deadline);
    return real(condition, mutex, &time);
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex,
                            const struct timespec *restrict deadline)
{
    REAL(pthread_mutex_timedlock);
    struct timespec time = kernels(deadline);
    return real(mutex, &time);
}
