#include "http/decimal.h"

#include <string.h>

bool decimal_parse(const char *text, size_t len, uint64_t *ret_value)
{
    uint64_t value = 0;

    if (len == 0 || len >= DECIMAL_MAX || (text[0] == '0' && len > 1)) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        unsigned digit = (unsigned)(unsigned char)text[i] - '0';

        if (digit > 9 || __builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)digit, &value)) {
            return false;
        }
    }
    *ret_value = value;
    return true;
}

size_t decimal_format(uint64_t value, char ret_text[DECIMAL_MAX])
{
    char digits[DECIMAL_MAX];
    size_t at = sizeof(digits);
    size_t len;

    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    len = sizeof(digits) - at;
    memcpy(ret_text, digits + at, len);
    ret_text[len] = '\0';
    return len;
}
