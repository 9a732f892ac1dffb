/* proxy.c - the PROXY protocol.
 *
 * What follows the header may lie in `in` already; it is never looked at. Both versions are told apart by
 * their first byte: "PROXY " and CR LF CR LF NUL CR LF Q U I T LF. */
#include "net/proxy.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

enum { V1_MAX = 107, V2_HEAD = 16 };

static const uint8_t v1_start[6] = "PROXY ";
static const uint8_t v2_start[12] = {13, 10, 13, 10, 0, 13, 10, 'Q', 'U', 'I', 'T', 10};

static enum proxy_status bad(const char **reason, const char *text)
{
    *reason = text;
    return PROXY_BAD;
}

/* ---- version 1: PROXY TCP4 192.0.2.1 192.0.2.2 56324 5672 CR LF ---- */

/* Cuts the next word, which ends at one blank or at the end, off the front. */
static bool cut_word(struct slice *line, char *word, size_t size)
{
    const uint8_t *blank = line->len ? memchr(line->at, ' ', line->len) : NULL;
    size_t len = blank ? (size_t)(blank - line->at) : line->len;
    if (len == 0 || len >= size || memchr(line->at, 0, len))
        return false;
    memcpy(word, line->at, len);
    word[len] = 0;
    len += blank ? 1 : 0;
    *line = slice_of(line->at + len, line->len - len);
    return true;
}

static bool read_address(const char *text, bool v6, union address *address)
{
    *address = (union address){0};
    address->any.sa_family = v6 ? AF_INET6 : AF_INET;
    return inet_pton(v6 ? AF_INET6 : AF_INET, text,
                     v6 ? (void *)&address->v6.sin6_addr : (void *)&address->v4.sin_addr) == 1;
}

/* Decimal, without signs and leading zeros. */
static bool read_port(const char *text, union address *address)
{
    unsigned port = 0;
    size_t len = strlen(text);
    if (len > 5 || strspn(text, "0123456789") != len || (text[0] == '0' && len > 1))
        return false;
    for (; *text; text++)
        port = port * 10 + (unsigned)(*text - '0');
    if (port > UINT16_MAX)
        return false;
    if (address->any.sa_family == AF_INET6)
        address->v6.sin6_port = htons((uint16_t)port);
    else
        address->v4.sin_port = htons((uint16_t)port);
    return true;
}

static enum proxy_status parse_line(struct slice line, struct proxy_header *header, const char **reason)
{
    char word[5][INET6_ADDRSTRLEN];
    bool ends_blank = line.len > 0 && line.at[line.len - 1] == ' ';
    if (!cut_word(&line, word[0], sizeof(word[0])))
        return bad(reason, "its protocol is missing");
    if (strcmp(word[0], "UNKNOWN") == 0) {
        header->local = header->unknown = true; /* whatever else the line says */
        return PROXY_COMPLETE;
    }
    bool v6 = strcmp(word[0], "TCP6") == 0;
    if (!v6 && strcmp(word[0], "TCP4") != 0)
        return bad(reason, "its protocol is not TCP4, TCP6 or UNKNOWN");
    for (size_t i = 1; i < array_size(word); i++)
        if (!cut_word(&line, word[i], sizeof(word[i])))
            return bad(reason, "it does not have two addresses and two ports");
    if (line.len > 0 || ends_blank)
        return bad(reason, "there is more behind its ports");
    if (!read_address(word[1], v6, &header->source) || !read_address(word[2], v6, &header->destination))
        return bad(reason, "an address is none");
    if (!read_port(word[3], &header->source) || !read_port(word[4], &header->destination))
        return bad(reason, "a port is none");
    return PROXY_COMPLETE;
}

static enum proxy_status parse_v1(struct slice in, struct proxy_header *header, size_t *used,
                                  const char **reason)
{
    size_t have = in.len < V1_MAX ? in.len : V1_MAX;
    const uint8_t *feed = memchr(in.at, '\n', have);
    if (!feed)
        return have < V1_MAX ? PROXY_NEEDS_MORE : bad(reason, "its line is too long");
    size_t len = (size_t)(feed - in.at);
    if (feed[-1] != '\r')
        return bad(reason, "its line does not end with CR LF");
    *used = len + 1;
    struct slice line = slice_of(in.at + sizeof(v1_start), len - 1 - sizeof(v1_start));
    return parse_line(line, header, reason);
}

/* ---- version 2: start, version and command, family and protocol, length, addresses, extensions ---- */

static enum proxy_status take_addresses(const uint8_t *at, size_t len, bool v6, struct proxy_header *header,
                                        const char **reason)
{
    size_t size = v6 ? 16 : 4;
    if (len < 2 * size + 4)
        return bad(reason, "it is too short for its addresses");
    union address *ends[] = {&header->source, &header->destination};
    for (size_t i = 0; i < array_size(ends); i++) {
        const uint8_t *address = at + i * size, *port = at + 2 * size + i * 2;
        *ends[i] = (union address){0};
        ends[i]->any.sa_family = v6 ? AF_INET6 : AF_INET;
        if (v6) {
            memcpy(&ends[i]->v6.sin6_addr, address, size);
            memcpy(&ends[i]->v6.sin6_port, port, 2);
        } else {
            memcpy(&ends[i]->v4.sin_addr, address, size);
            memcpy(&ends[i]->v4.sin_port, port, 2);
        }
    }
    return PROXY_COMPLETE;
}

static enum proxy_status parse_v2(struct slice in, struct proxy_header *header, size_t *used,
                                  const char **reason)
{
    if (in.len < V2_HEAD)
        return PROXY_NEEDS_MORE;
    size_t len = (size_t)in.at[14] << 8 | in.at[15];
    unsigned version = in.at[12] >> 4, command = in.at[12] & 15;
    unsigned family = in.at[13] >> 4, protocol = in.at[13] & 15;
    if (version != 2)
        return bad(reason, "its version is not 2");
    if (command > 1)
        return bad(reason, "its command is neither LOCAL nor PROXY");
    if (len > PROXY_HEADER_MAX - V2_HEAD)
        return bad(reason, "it is too long");
    if (in.len < V2_HEAD + len)
        return PROXY_NEEDS_MORE;
    *used = V2_HEAD + len;
    /* LOCAL is a health check; of no family (0) and of a Unix socket (3) there is no address. */
    header->local = command == 0 || family == 0 || family == 3;
    header->unknown = header->local && command != 0;
    if (header->local)
        return PROXY_COMPLETE;
    if (family > 3 || protocol != 1)
        return bad(reason, "it is not about a TCP connection");
    return take_addresses(in.at + V2_HEAD, len, family == 2, header, reason);
}

enum proxy_status proxy_parse(struct slice in, struct proxy_header *header, size_t *used,
                              const char **reason)
{
    *header = (struct proxy_header){0};
    *used = 0;
    *reason = NULL;
    if (in.len == 0)
        return PROXY_NEEDS_MORE;
    bool v2 = in.at[0] == v2_start[0];
    const uint8_t *start = v2 ? v2_start : v1_start;
    size_t size = v2 ? sizeof(v2_start) : sizeof(v1_start);
    if (memcmp(in.at, start, in.len < size ? in.len : size) != 0)
        return bad(reason, "it does not begin like one");
    if (in.len < size)
        return PROXY_NEEDS_MORE;
    enum proxy_status status =
        v2 ? parse_v2(in, header, used, reason) : parse_v1(in, header, used, reason);
    assert(status != PROXY_COMPLETE || (*used > 0 && *used <= in.len));
    assert((status == PROXY_BAD) == (*reason != NULL));
    return status;
}
