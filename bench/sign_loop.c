/* How fast a PKCS#11 module signs when nothing stands between it and C: C_SignInit and C_Sign in a loop.
 *
 * Arguments: module, token serial, key label, PIN file. Then, for each line on standard input with a count, signs so
 * often and prints the nanoseconds of processor time that it took; so the bench can interleave it with other loops.
 * Declarations are the few that are needed from PKCS#11 v2.40 base, section 3; types as on Linux. */
#define _POSIX_C_SOURCE 200809L
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef unsigned long ulong_t;
typedef ulong_t (*function_t)();
typedef struct { unsigned char major, minor; function_t slot[68]; } function_list_t;
typedef struct { ulong_t type; void *value; ulong_t size_bytes; } attribute_t;
typedef struct { ulong_t mechanism; void *parameter; ulong_t size_bytes; } mechanism_t;
typedef struct {
    unsigned char label[32], manufacturer[32], model[16], serial[16];
    ulong_t flags, counts[10];
    unsigned char rest[20];
} token_info_t;

/* Places in CK_FUNCTION_LIST, in the order of pkcs11f.h. */
enum { INITIALIZE = 0, GET_SLOT_LIST = 4, GET_TOKEN_INFO = 6, OPEN_SESSION = 12, LOGIN = 18, FIND_OBJECTS_INIT = 26,
       FIND_OBJECTS = 27, FIND_OBJECTS_FINAL = 28, SIGN_INIT = 42, SIGN = 43 };
enum { CKF_SERIAL_SESSION = 4, CKU_USER = 1, CKA_CLASS = 0, CKA_LABEL = 3, CKO_PRIVATE_KEY = 3, CKM_ECDSA = 0x1041 };
enum { SLOTS_MAX = 64, DIGEST_SIZE_BYTES = 32, SIGNATURE_SIZE_BYTES = 64, COUNT_MAX = 1000000 };

static function_list_t *functions;
#define CALL(name, ...) check(#name, functions->slot[name](__VA_ARGS__))

static void fail(const char *what) { fprintf(stderr, "sign_loop: %s\n", what); exit(1); }

static void check(const char *what, ulong_t return_code) {
    if (return_code != 0) {
        fprintf(stderr, "sign_loop: %s returned 0x%lx\n", what, return_code);
        exit(1);
    }
}

static void load(const char *path) {
    void *module = dlopen(path, RTLD_NOW);
    function_t get_list;
    if (module == NULL) fail("the module cannot be loaded");
    *(void **)&get_list = dlsym(module, "C_GetFunctionList");
    if (get_list == NULL) fail("the module has no C_GetFunctionList");
    check("C_GetFunctionList", get_list(&functions));
    CALL(INITIALIZE, NULL);
}

static ulong_t find_slot(const char *serial) {
    ulong_t slots[SLOTS_MAX], count = SLOTS_MAX;
    CALL(GET_SLOT_LIST, (unsigned char)1, slots, &count);
    for (ulong_t i = 0; i < count; i++) {
        token_info_t info;
        CALL(GET_TOKEN_INFO, slots[i], &info);
        if (strlen(serial) <= sizeof info.serial && memcmp(info.serial, serial, strlen(serial)) == 0) return slots[i];
    }
    fail("no token has this serial");
    return 0;
}

static ulong_t log_in(ulong_t slot, const char *pin_path) {
    char pin[256];
    ulong_t session;
    FILE *file = fopen(pin_path, "r");
    if (file == NULL || fgets(pin, sizeof pin, file) == NULL) fail("the PIN file cannot be read");
    fclose(file);
    pin[strcspn(pin, "\n")] = '\0';
    CALL(OPEN_SESSION, slot, (ulong_t)CKF_SERIAL_SESSION, NULL, NULL, &session);
    CALL(LOGIN, session, (ulong_t)CKU_USER, pin, (ulong_t)strlen(pin));
    return session;
}

static ulong_t find_key(ulong_t session, char *label) {
    ulong_t key_class = CKO_PRIVATE_KEY, found[2], count = 0;
    attribute_t wanted[] = {{CKA_CLASS, &key_class, sizeof key_class}, {CKA_LABEL, label, strlen(label)}};
    CALL(FIND_OBJECTS_INIT, session, wanted, 2UL);
    CALL(FIND_OBJECTS, session, found, 2UL, &count);
    CALL(FIND_OBJECTS_FINAL, session);
    if (count != 1) fail("not exactly one key has this label");
    return found[0];
}

static long long now_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static long long sign(ulong_t session, ulong_t key, long count) {
    unsigned char digest[DIGEST_SIZE_BYTES], signature[SIGNATURE_SIZE_BYTES];
    mechanism_t ecdsa = {CKM_ECDSA, NULL, 0};
    long long begun = now_nanoseconds();
    memset(digest, 0xA5, sizeof digest);
    for (long i = 0; i < count; i++) {
        ulong_t size_bytes = sizeof signature;
        CALL(SIGN_INIT, session, &ecdsa, key);
        CALL(SIGN, session, digest, (ulong_t)sizeof digest, signature, &size_bytes);
        if (size_bytes != sizeof signature) fail("a signature is not 64 bytes long");
    }
    return now_nanoseconds() - begun;
}

int main(int argc, char **argv) {
    char line[32];
    if (argc != 5) fail("usage: sign_loop MODULE SERIAL LABEL PIN_FILE");
    load(argv[1]);
    ulong_t session = log_in(find_slot(argv[2]), argv[4]);
    ulong_t key = find_key(session, argv[3]);
    while (fgets(line, sizeof line, stdin) != NULL) {
        long count = strtol(line, NULL, 10);
        if (count < 1 || count > COUNT_MAX) fail("a count from 1 to 1000000 is expected");
        printf("%lld\n", sign(session, key, count));
        fflush(stdout);
    }
    return 0;
}
