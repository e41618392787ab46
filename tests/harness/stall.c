/* Takes the processor from a program for $STALL_MS right after the $STALL_AT-th time that its first thread
 * reads the monotonic clock, for those who preload this library: cc -shared -fPIC. At its end the
 * program's reads are counted into the file $STALL_COUNT. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static long reads;

static long number(const char *name)
{
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    static __typeof__(clock_gettime) *real;
    if (!real)
        real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, time);
    if (clock == CLOCK_MONOTONIC && gettid() == getpid() && ++reads == number("STALL_AT"))
        usleep(number("STALL_MS") * 1000);
    return failed;
}

__attribute__((destructor)) static void tell(void)
{
    FILE *file = fopen(getenv("STALL_COUNT"), "w");
    if (file) {
        fprintf(file, "%ld", reads);
        fclose(file);
    }
}
