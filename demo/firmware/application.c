/* A small application for a Cortex-M4: it greets on USART2 with its version, then counts.
 * Built by demo/firmware/build.py for the address where the bootloader starts it. */
#include <stdint.h>

#ifndef VERSION
#error "define VERSION, for example -DVERSION='\"1.0.0\"'"
#endif

#define USART2_SR (*(volatile uint32_t *)0x40004400u)
#define USART2_DR (*(volatile uint32_t *)0x40004404u)
#define USART_SR_TXE (1u << 7)

extern uint32_t stack_top;
extern uint32_t data_load, data_start, data_end, bss_start, bss_end;

void reset_handler(void);

static void hang(void)
{
    for (;;) {
    }
}

/* The first bytes of the image: initial stack pointer, then the handlers (ARMv7-M, B1.5.3). */
__attribute__((section(".vectors"), used)) static const uintptr_t vectors[16] = {
    (uintptr_t)&stack_top, (uintptr_t)reset_handler, (uintptr_t)hang, (uintptr_t)hang,
    (uintptr_t)hang,       (uintptr_t)hang,          (uintptr_t)hang, 0,
    0,                     0,                        0,               (uintptr_t)hang,
    (uintptr_t)hang,       0,                        (uintptr_t)hang, (uintptr_t)hang,
};

static const char greeting[] = "strongroom demo application " VERSION "\r\n";
static volatile uint32_t heartbeat_count = 1u;

static void print(const char *text)
{
    while (*text != '\0') {
        while ((USART2_SR & USART_SR_TXE) == 0u) {
        }
        USART2_DR = (uint8_t)*text++;
    }
}

void reset_handler(void)
{
    const uint32_t *from = &data_load;
    for (uint32_t *to = &data_start; to < &data_end; ++to) {
        *to = *from++;
    }
    for (uint32_t *to = &bss_start; to < &bss_end; ++to) {
        *to = 0u;
    }
    print(greeting);
    for (;;) {
        ++heartbeat_count;
    }
}
