/* A wall clock that is wrong until it is put right, for LD_PRELOAD: $CLOCK_FILE holds how many seconds it is behind and
 * whether the kernel holds it for synchronised, as "1790000000 0". Other clocks are as they are. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

static void told(long long *behind, int *synchronised) {
    *behind = 0;
    *synchronised = 1;
    const char *path = getenv("CLOCK_FILE");
    FILE *file = path ? fopen(path, "re") : NULL;
    if (file) {
        if (fscanf(file, "%lld %d", behind, synchronised) != 2)
            *behind = 0;
        fclose(file);
    }
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int answer = (int)syscall(SYS_clock_gettime, clock, now);
    if (answer == 0 && clock == CLOCK_REALTIME) {
        long long behind;
        int synchronised;
        told(&behind, &synchronised);
        now->tv_sec -= behind;
    }
    return answer;
}

int adjtimex(struct timex *unused) {
    (void)unused;
    long long behind;
    int synchronised;
    told(&behind, &synchronised);
    return synchronised ? TIME_OK : TIME_ERROR;
}
