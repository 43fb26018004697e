#include "utf8.h"

#include <stdint.h>
#include <string.h>

/* The lead bytes of a longer form, from Unicode's table of well-formed byte
 * sequences (3-7). Limits on the second byte are what excludes overlong forms
 * (E0, F0), surrogates (ED) and code points above U+10FFFF (F4). */
struct form {
    uint8_t lead_min;
    uint8_t lead_max;
    uint8_t second_min;
    uint8_t second_max;
    uint8_t bytes; /* of the whole sequence */
};

static const struct form forms[] = {
    {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
    {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
    {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
};

/* The high bit of each of eight bytes: set in none of them, they are ASCII. */
static const uint64_t high_bits = 0x8080808080808080;

/* How many of the n bytes at `at` are ASCII in steps of eight. */
static size_t skip_ascii(const uint8_t *at, size_t n)
{
    size_t skipped = 0;
    uint64_t eight;

    while (n - skipped >= sizeof eight) {
        memcpy(&eight, at + skipped, sizeof eight);
        if ((eight & high_bits) != 0) {
            break;
        }
        skipped += sizeof eight;
    }
    return skipped;
}

static const struct form *find_form(uint8_t lead)
{
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (lead >= forms[i].lead_min && lead <= forms[i].lead_max) {
            return &forms[i];
        }
    }
    return NULL;
}

/* Bytes of the well-formed sequence of two or more at `at`; 0 when there is none. */
static size_t match_sequence(const uint8_t *at, size_t n)
{
    const struct form *f = find_form(at[0]);

    if (f == NULL || n < f->bytes || at[1] < f->second_min || at[1] > f->second_max) {
        return 0;
    }
    for (size_t i = 2; i < f->bytes; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return f->bytes;
}

bool utf8_valid(const void *bytes, size_t n)
{
    const uint8_t *text = bytes;
    size_t at = 0;

    while (at < n) {
        size_t step;

        if (text[at] < 0x80) {
            step = skip_ascii(text + at, n - at);
            at += step != 0 ? step : 1;
            continue;
        }
        step = match_sequence(text + at, n - at);
        if (step == 0) {
            return false;
        }
        at += step;
    }
    return true;
}
