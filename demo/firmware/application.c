/* A small application for a Cortex-M4: it greets on USART2 with its version, then adds up what a pump would deliver.
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

/* Volume delivered at each position of the plunger, in nanolitres per microstep: a calibration curve, one entry per
 * encoder count. It makes the image several blocks of 4,096 bytes, as a real one is. */
#define VOLUME_1(n) ((uint16_t)(52000u + (n) / 3u - ((n) * (n)) / 9000u))
#define VOLUME_4(n) VOLUME_1(n), VOLUME_1((n) + 1u), VOLUME_1((n) + 2u), VOLUME_1((n) + 3u)
#define VOLUME_16(n) VOLUME_4(n), VOLUME_4((n) + 4u), VOLUME_4((n) + 8u), VOLUME_4((n) + 12u)
#define VOLUME_64(n) VOLUME_16(n), VOLUME_16((n) + 16u), VOLUME_16((n) + 32u), VOLUME_16((n) + 48u)
#define VOLUME_256(n) VOLUME_64(n), VOLUME_64((n) + 64u), VOLUME_64((n) + 128u), VOLUME_64((n) + 192u)
#define VOLUME_1024(n) VOLUME_256(n), VOLUME_256((n) + 256u), VOLUME_256((n) + 512u), VOLUME_256((n) + 768u)

static const uint16_t volume_per_microstep_nl[] = {
    VOLUME_1024(0u), VOLUME_1024(1024u), VOLUME_1024(2048u), VOLUME_1024(3072u), VOLUME_1024(4096u),
};
#define POSITION_COUNT (sizeof volume_per_microstep_nl / sizeof volume_per_microstep_nl[0])

static const char greeting[] = "strongroom demo application " VERSION "\r\n";
static volatile uint32_t position = 1u;
static volatile uint32_t delivered_nl;

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
        delivered_nl += volume_per_microstep_nl[position % POSITION_COUNT];
        ++position;
    }
}
