/* Preloaded into a process: once armed, it counts the calls that change files durably, and kills the process with
 * SIGKILL at the chosen one, just before it or just after. SQLite's calls are counted like Python's. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

static long kill_at = 0, count = 0;
static int kill_after = 0;

void cut_arm(long at, int after) { kill_at = at; kill_after = after; count = 0; }
long cut_count(void) { return count; }

static void die(void) { kill(getpid(), SIGKILL); for (;;) pause(); }

#define CUT(result, name, parameters, arguments)                         \
    result name parameters {                                             \
        static result (*real) parameters = 0;                            \
        if (!real) real = dlsym(RTLD_NEXT, #name);                       \
        int here = ++count == kill_at;                                   \
        if (here && !kill_after) die();                                  \
        result answer = real arguments;                                  \
        if (here) die();                                                 \
        return answer;                                                   \
    }

CUT(int, fsync, (int descriptor), (descriptor))
CUT(int, fdatasync, (int descriptor), (descriptor))
CUT(int, rename, (const char *from, const char *to), (from, to))
CUT(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to))
CUT(int, link, (const char *from, const char *to), (from, to))
CUT(int, linkat, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags))
CUT(int, unlink, (const char *path), (path))
CUT(int, unlinkat, (int a, const char *path, int flags), (a, path, flags))
CUT(int, mkdir, (const char *path, mode_t mode), (path, mode))
CUT(int, mkdirat, (int a, const char *path, mode_t mode), (a, path, mode))
CUT(int, ftruncate, (int descriptor, off_t size), (descriptor, size))
CUT(int, ftruncate64, (int descriptor, off64_t size), (descriptor, size))
CUT(ssize_t, pwrite, (int descriptor, const void *data, size_t size, off_t at), (descriptor, data, size, at))
CUT(ssize_t, pwrite64, (int descriptor, const void *data, size_t size, off64_t at), (descriptor, data, size, at))
