/* Counts the moments at which a process could die, and kills it with SIGKILL at a chosen one.
 *
 * Preloaded (LD_PRELOAD). A moment is just before a call that makes something durable (fsync, rename, unlink ...), and
 * just before a call of a PKCS#11 module whose function list was wrapped. Nothing is counted until rig_arm is called.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOMENTS_MAX 100000
#define PKCS11_FUNCTIONS 68
#define PKCS11_BASE 100

enum { FSYNC, FDATASYNC, RENAME, RENAMEAT, RENAMEAT2, LINK, LINKAT, UNLINK, UNLINKAT, FTRUNCATE, MKDIR };

static unsigned char kinds[MOMENTS_MAX];
static long count;
static long kill_at;
static int armed;

static void moment(int kind)
{
    if (!armed)
        return;
    if (count < MOMENTS_MAX)
        kinds[count] = (unsigned char)kind;
    count++;
    if (count == kill_at) {
        kill(getpid(), SIGKILL);
        for (;;)
            pause();
    }
}

/* kill_at counts from 1; 0 never kills. */
void rig_arm(long at) { kill_at = at; count = 0; armed = 1; }
void rig_disarm(void) { armed = 0; }
long rig_count(void) { return count; }
int rig_kind(long index) { return kinds[index]; }

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int fd) { moment(FSYNC); return NEXT(fsync)(fd); }
int fdatasync(int fd) { moment(FDATASYNC); return NEXT(fdatasync)(fd); }
int rename(const char *from, const char *to) { moment(RENAME); return NEXT(rename)(from, to); }
int renameat(int f, const char *from, int t, const char *to) { moment(RENAMEAT); return NEXT(renameat)(f, from, t, to); }
int renameat2(int f, const char *from, int t, const char *to, unsigned int flags)
{
    moment(RENAMEAT2);
    return NEXT(renameat2)(f, from, t, to, flags);
}
int link(const char *from, const char *to) { moment(LINK); return NEXT(link)(from, to); }
int linkat(int f, const char *from, int t, const char *to, int flags)
{
    moment(LINKAT);
    return NEXT(linkat)(f, from, t, to, flags);
}
int unlink(const char *path) { moment(UNLINK); return NEXT(unlink)(path); }
int unlinkat(int folder, const char *path, int flags) { moment(UNLINKAT); return NEXT(unlinkat)(folder, path, flags); }
int ftruncate(int fd, off_t size) { moment(FTRUNCATE); return NEXT(ftruncate)(fd, size); }
int ftruncate64(int fd, off64_t size) { moment(FTRUNCATE); return NEXT(ftruncate64)(fd, size); }
int mkdir(const char *path, mode_t mode) { moment(MKDIR); return NEXT(mkdir)(path, mode); }

/* Every function of PKCS#11 v2.40 takes at most eight integers or pointers; what it does not take it does not read. */
typedef unsigned long word;
typedef word (*pkcs11_function)(word, word, word, word, word, word, word, word);
static pkcs11_function originals[PKCS11_FUNCTIONS];

#define WRAPPER(i)                                                                   \
    static word wrapped_##i(word a, word b, word c, word d, word e, word f, word g, word h) \
    {                                                                                \
        moment(PKCS11_BASE + i);                                                     \
        return originals[i](a, b, c, d, e, f, g, h);                                 \
    }
#define EACH(x)                                                                                                     \
    x(0) x(1) x(2) x(3) x(4) x(5) x(6) x(7) x(8) x(9) x(10) x(11) x(12) x(13) x(14) x(15) x(16) x(17) x(18) x(19)    \
    x(20) x(21) x(22) x(23) x(24) x(25) x(26) x(27) x(28) x(29) x(30) x(31) x(32) x(33) x(34) x(35) x(36) x(37)      \
    x(38) x(39) x(40) x(41) x(42) x(43) x(44) x(45) x(46) x(47) x(48) x(49) x(50) x(51) x(52) x(53) x(54) x(55)      \
    x(56) x(57) x(58) x(59) x(60) x(61) x(62) x(63) x(64) x(65) x(66) x(67)
EACH(WRAPPER)

#define POINTER(i) wrapped_##i,
static const pkcs11_function wrappers[PKCS11_FUNCTIONS] = {EACH(POINTER)};

/* Wrap the functions of a module's list (CK_FUNCTION_LIST: a version, then 68 pointers). Returns 0 when done. */
int rig_wrap(void *list)
{
    pkcs11_function *slots = (pkcs11_function *)((char *)list + sizeof(void *));
    long page = sysconf(_SC_PAGESIZE);
    char *start = (char *)((word)slots & ~(word)(page - 1));
    size_t size = (size_t)((char *)(slots + PKCS11_FUNCTIONS) - start);
    if (slots[0] == wrappers[0])
        return 0;
    if (mprotect(start, size, PROT_READ | PROT_WRITE) != 0)
        return 1;
    for (int i = 0; i < PKCS11_FUNCTIONS; i++) {
        originals[i] = slots[i];
        slots[i] = wrappers[i];
    }
    return 0;
}
