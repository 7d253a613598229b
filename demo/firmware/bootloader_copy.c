/* What stands in a bootloader region of the simulated board. The simulation runs the reference bootloader (Python) in
 * its place, so this program only idles; what is real is its size, its link address and the genesis trust bundle that
 * every bootloader image carries as its last 2,304 bytes (docs/spec/trust-bundle.md). */
#include <stdint.h>

extern uint32_t stack_top;

void reset_handler(void);

void reset_handler(void)
{
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static const uintptr_t vectors[2] = {
    (uintptr_t)&stack_top,
    (uintptr_t)reset_handler,
};

__attribute__((section(".rodata"), used)) static const char version[] = "strongroom reference bootloader stand-in " VERSION;

__asm__(".section .genesis, \"a\"\n"
        ".incbin \"" GENESIS_BUNDLE "\"\n"
        ".previous\n");
