/* value.c - the texts of configuration values. */
#include "broker/value.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/slice.h"

/* Reads digits up to `*end`; false without any or above 2^64 - 1. */
static bool read_digits(const char *text, uint64_t *number, const char **end)
{
    uint64_t n = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        uint64_t digit = (uint64_t)(*at - '0');
        if (n > (UINT64_MAX - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    *end = at;
    if (at == text)
        return false;
    *number = n;
    return true;
}

bool value_number(const char *text, uint64_t *number)
{
    const char *end;
    uint64_t n;
    if (!read_digits(text, &n, &end) || *end)
        return false;
    *number = n;
    return true;
}

bool value_size(const char *text, uint64_t *bytes)
{
    static const struct {
        const char *name, *binary;
        unsigned shift;
    } units[] = {{"", "B", 0}, {"KB", "KiB", 10}, {"MB", "MiB", 20}, {"GB", "GiB", 30}};
    const char *unit;
    uint64_t n;
    if (!read_digits(text, &n, &unit))
        return false;
    for (size_t i = 0; i < array_size(units); i++)
        if (strcasecmp(unit, units[i].name) == 0 || strcasecmp(unit, units[i].binary) == 0) {
            if (n > UINT64_MAX >> units[i].shift)
                return false;
            *bytes = n << units[i].shift;
            return true;
        }
    return false;
}

bool value_amount(const char *text, uint64_t *bytes)
{
    static const struct {
        const char *name;
        uint64_t factor;
    } units[] = {
        {"", 1},
        {"KB", 1000},
        {"MB", 1000000},
        {"GB", 1000000000},
        {"TB", 1000000000000},
        {"KiB", UINT64_C(1) << 10},
        {"MiB", UINT64_C(1) << 20},
        {"GiB", UINT64_C(1) << 30},
        {"TiB", UINT64_C(1) << 40},
    };
    const char *unit;
    uint64_t n;
    if (!read_digits(text, &n, &unit))
        return false;
    for (size_t i = 0; i < array_size(units); i++)
        if (strcasecmp(unit, units[i].name) == 0) {
            if (n > UINT64_MAX / units[i].factor)
                return false;
            *bytes = n * units[i].factor;
            return true;
        }
    return false;
}

bool value_fraction(const char *text, uint64_t *millionths)
{
    enum { ONE = 1000000 };
    uint64_t whole, part = 0;
    const char *point, *end;
    if (!read_digits(text, &whole, &point) || whole > UINT64_MAX / ONE - 1)
        return false;
    end = point;
    if (*point == '.') {
        if (!read_digits(point + 1, &part, &end) || end - point > 7)
            return false;
        for (const char *at = end; at - point <= 6; at++)
            part *= 10;
    }
    if (*end)
        return false;
    assert(part < ONE);
    *millionths = whole * ONE + part;
    return true;
}

bool value_flag(const char *text, bool *flag)
{
    bool yes = strcmp(text, "true") == 0;
    if (!yes && strcmp(text, "false") != 0)
        return false;
    *flag = yes;
    return true;
}

static bool is_address(const char *host)
{
    unsigned char raw[16];
    return inet_pton(AF_INET, host, raw) == 1 || inet_pton(AF_INET6, host, raw) == 1;
}

bool value_address(const char *text, char *host, size_t host_size, uint16_t *port)
{
    char address[INET6_ADDRSTRLEN] = "";
    const char *colon = strrchr(text, ':');
    if (colon) {
        bool bracketed = text[0] == '[' && colon > text + 1 && colon[-1] == ']';
        const char *from = bracketed ? text + 1 : text;
        size_t len = (size_t)(colon - from) - (bracketed ? 1 : 0);
        if (len == 0 || len >= sizeof(address) || len >= host_size)
            return false;
        memcpy(address, from, len);
        address[len] = 0;
        if (!is_address(address))
            return false;
    }
    uint64_t number;
    if (!value_number(colon ? colon + 1 : text, &number) || number > UINT16_MAX)
        return false;
    assert(strlen(address) < host_size);
    snprintf(host, host_size, "%s", address);
    *port = (uint16_t)number;
    return true;
}

bool value_printable(const char *text)
{
    for (const char *at = text; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7F)
            return false;
    return slice_is_utf8(slice_of_string(text));
}

bool value_has_password(const char *text)
{
    const char *host = strstr(text, "://");
    return host && memchr(host, '@', 3 + strcspn(host + 3, "/?")) != NULL;
}

/* Where the name is in the list, NULL when it is not there. */
static char *find_name(const char *list, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = list; *at;) {
        size_t word = strcspn(at, ",");
        if (word == len && memcmp(at, name, len) == 0)
            return (char *)(uintptr_t)at;
        at += word + (at[word] == ',');
    }
    return NULL;
}

bool value_list_has(const char *list, const char *name)
{
    return find_name(list, name) != NULL;
}

bool value_list_add(char *list, size_t size, const char *name)
{
    size_t used = strlen(list);
    assert(used < size);
    if (!*name || strchr(name, ','))
        return false;
    if (find_name(list, name))
        return true;
    if (used + 1 + strlen(name) + 1 > size)
        return false;
    snprintf(list + used, size - used, "%s%s", used ? "," : "", name);
    return true;
}

void value_list_remove(char *list, const char *name)
{
    char *at = find_name(list, name);
    if (!at)
        return;
    char *after = at + strlen(name);
    if (*after == ',')
        after++;
    else if (at > list)
        at--; /* the last of several: the comma before it goes */
    memmove(at, after, strlen(after) + 1);
    assert(!find_name(list, name));
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

unsigned value_distance(const char *a, const char *b)
{
    enum { LENGTH_MAX = 63 };
    unsigned rows[3][LENGTH_MAX + 1]; /* the row before the last, the last, this one; by turns */
    size_t a_len = strnlen(a, LENGTH_MAX), b_len = strnlen(b, LENGTH_MAX);
    for (size_t j = 0; j <= b_len; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= a_len; i++) {
        unsigned *row = rows[i % 3];
        const unsigned *above = rows[(i - 1) % 3], *before = rows[(i + 1) % 3];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            row[j] = least(above[j], row[j - 1]) + 1;
            row[j] = least(row[j], above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], before[j - 2] + 1);
        }
    }
    return rows[a_len % 3][b_len];
}
