#include "address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

enum { PORT_DIGITS_MAX = 5, LABEL_MAX = 63 };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Decimal digits only, no sign, no leading blank. */
static bool parse_port(const char *text, uint16_t *ret_port)
{
    size_t digits = strspn(text, "0123456789");
    unsigned port = 0;

    if (digits == 0 || digits > PORT_DIGITS_MAX || text[digits] != '\0') {
        return false;
    }
    for (; *text != '\0'; text++) {
        port = port * 10 + (unsigned)(*text - '0');
    }
    if (port > UINT16_MAX) {
        return false;
    }
    *ret_port = (uint16_t)port;
    return true;
}

/* Labels of letters, digits, '-' and '_', with one dot at the end allowed. */
static bool is_name(const char *host)
{
    const char *label = host;

    for (const char *c = host;; c++) {
        bool letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z');

        if (letter || is_digit(*c) || *c == '-' || *c == '_') {
            continue;
        }
        if (c - label > LABEL_MAX || (c == label && (*c != '\0' || c == host))) {
            return false;
        }
        if (*c != '.') {
            return *c == '\0';
        }
        label = c + 1;
    }
}

/* A number at the end was meant as an IP address ("10.0.0.256", "127.1", "0x7f.1") and must not
 * become a question to a name server, or what the resolver makes of it. */
static bool ends_in_number(const char *host)
{
    const char *dot = strrchr(host, '.');
    const char *label = dot == NULL ? host : dot + 1;

    if (label[0] == '0' && (label[1] == 'x' || label[1] == 'X')) {
        return label[2 + strspn(label + 2, "0123456789abcdefABCDEF")] == '\0';
    }
    return label[0] != '\0' && label[strspn(label, "0123456789")] == '\0';
}

static bool host_valid(const char *host, bool v6)
{
    struct in6_addr any6;
    struct in_addr any4;

    if (v6) {
        return inet_pton(AF_INET6, host, &any6) == 1;
    }
    return inet_pton(AF_INET, host, &any4) == 1 || (is_name(host) && !ends_in_number(host));
}

bool address_parse(const char *text, struct address *ret_address)
{
    struct address a = {.v6 = text[0] == '['};
    const char *host = a.v6 ? text + 1 : text;
    const char *end = a.v6 ? strchr(text, ']') : strrchr(text, ':');
    size_t n;

    if (strlen(text) >= ADDRESS_TEXT_MAX || end == NULL || (a.v6 && end[1] != ':')) {
        return false;
    }
    n = (size_t)(end - host);
    if (n >= sizeof a.host) {
        return false;
    }
    memcpy(a.host, host, n);
    a.host[n] = '\0';
    if (!host_valid(a.host, a.v6) || !parse_port(end + (a.v6 ? 2 : 1), &a.port)) {
        return false;
    }
    *ret_address = a;
    return true;
}

bool address_is_numeric(const struct address *a)
{
    struct sockaddr_storage ignored;

    return address_to_sockaddr(a, &ignored);
}

bool address_is_loopback(const struct address *a)
{
    struct in6_addr v6;
    struct in_addr v4;

    if (a->v6) {
        return inet_pton(AF_INET6, a->host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
    }
    if (inet_pton(AF_INET, a->host, &v4) == 1) {
        return ntohl(v4.s_addr) >> 24 == 127;
    }
    return strcasecmp(a->host, "localhost") == 0;
}

bool address_to_sockaddr(const struct address *a, struct sockaddr_storage *ret_sockaddr)
{
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)ret_sockaddr;
    struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)ret_sockaddr;

    memset(ret_sockaddr, 0, sizeof *ret_sockaddr);
    if (a->v6) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(a->port);
        return inet_pton(AF_INET6, a->host, &v6->sin6_addr) == 1;
    }
    v4->sin_family = AF_INET;
    v4->sin_port = htons(a->port);
    return inet_pton(AF_INET, a->host, &v4->sin_addr) == 1;
}
