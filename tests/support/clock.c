/* The wall clock of a program that loads this before libc: as wrong as the file OPENVOLT_CLOCK says, at any moment.
 * The file has a number of nanoseconds, which may change at any time: the clock jumps then. What counts elapsed time
 * (CLOCK_MONOTONIC) stays right, as it does when a machine's clock is set. See tests/support/clocks.py. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define SLICE 20000000LL

static const volatile int64_t *ahead;
static int (*real_gettime)(clockid_t, struct timespec *);
static int (*real_timedwait)(sem_t *, const struct timespec *);

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("OPENVOLT_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    real_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    real_timedwait = (int (*)(sem_t *, const struct timespec *))dlsym(RTLD_NEXT, "sem_timedwait");
    if (file < 0)
        return;
    void *mapped = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED)
        ahead = mapped;
    close(file);
}

static struct timespec moved(const struct timespec *moment, int64_t by) {
    int64_t whole = (int64_t)moment->tv_sec * SECOND + moment->tv_nsec + by;
    return (struct timespec){.tv_sec = whole / SECOND, .tv_nsec = whole % SECOND};
}

int clock_gettime(clockid_t id, struct timespec *moment) {
    int failed = real_gettime ? real_gettime(id, moment) : (int)syscall(SYS_clock_gettime, id, moment);
    if (!failed && ahead && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        *moment = moved(moment, *ahead);
    return failed;
}

int gettimeofday(struct timeval *moment, void *zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now))
        return -1;
    moment->tv_sec = now.tv_sec;
    moment->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *seconds) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (seconds)
        *seconds = now.tv_sec;
    return now.tv_sec;
}

/* Its deadline is one of the wall clock. In slices: the kernel's own would wake it up, were it set. */
int sem_timedwait(sem_t *semaphore, const struct timespec *until) {
    for (;;) {
        struct timespec now, slice;
        real_gettime(CLOCK_REALTIME, &now);
        slice = moved(&now, SLICE);
        struct timespec end = moved(until, ahead ? -*ahead : 0);
        int is_last = end.tv_sec < slice.tv_sec || (end.tv_sec == slice.tv_sec && end.tv_nsec <= slice.tv_nsec);
        int failed = real_timedwait(semaphore, is_last ? &end : &slice);
        if (!failed || errno != ETIMEDOUT || is_last)
            return failed;
    }
}
