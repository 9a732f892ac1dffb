/* address_range.c - ranges of IP addresses. */
#include "net/address_range.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "net/address.h"

static void map_v4(const void *v4, uint8_t bytes[16])
{
    memset(bytes, 0, 10);
    memset(bytes + 10, 0xff, 2);
    memcpy(bytes + 12, v4, 4);
}

bool address_range_read(const char *text, struct address_range *range)
{
    char host[INET6_ADDRSTRLEN];
    uint8_t v4[4];
    size_t len = strcspn(text, "/");
    if (len == 0 || len >= sizeof(host))
        return false;
    memcpy(host, text, len);
    host[len] = 0;
    bool is_v4 = inet_pton(AF_INET, host, v4) == 1;
    if (is_v4)
        map_v4(v4, range->bytes);
    else if (inet_pton(AF_INET6, host, range->bytes) != 1)
        return false;
    unsigned long most = is_v4 ? 32 : 128, bits = most;
    if (text[len] == '/') {
        char *end;
        if (text[len + 1] < '0' || text[len + 1] > '9')
            return false;
        bits = strtoul(text + len + 1, &end, 10);
        if (*end || bits > most)
            return false;
    }
    range->bits = (unsigned)bits + (is_v4 ? 96 : 0);
    assert(range->bits <= 128);
    return true;
}

bool address_range_has(const struct address_range *range, const union address *address)
{
    uint8_t bytes[16];
    assert(range->bits <= 128);
    if (address->any.sa_family == AF_INET)
        map_v4(&address->v4.sin_addr, bytes);
    else if (address->any.sa_family == AF_INET6)
        memcpy(bytes, &address->v6.sin6_addr, sizeof(bytes));
    else
        return false;
    size_t whole = range->bits / 8;
    unsigned rest = range->bits % 8;
    if (memcmp(bytes, range->bytes, whole) != 0)
        return false;
    return rest == 0 || (bytes[whole] ^ range->bytes[whole]) >> (8 - rest) == 0;
}
