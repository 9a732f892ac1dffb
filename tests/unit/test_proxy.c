/* test_proxy.c - headers of the PROXY protocol, and ranges of addresses. */
#include <arpa/inet.h>
#include <check.h>
#include <stdlib.h>

#include "base/mem.h"
#include "net/address_range.h"
#include "net/proxy.h"
#include "tests/unit/suite.h"

#define V2_START "\r\n\r\n\0\r\nQUIT\n"

static struct proxy_header header;
static const char *reason;
static size_t used;

static enum proxy_status parse(struct slice in)
{
    /* A copy of its own, so that a sanitizer sees who reads behind it. */
    uint8_t *copy = mem_copy(in.at, in.len);
    uint8_t *exact = mem_alloc(in.len ? in.len : 1);
    memcpy(exact, copy, in.len);
    enum proxy_status status = proxy_parse(slice_of(exact, in.len), &header, &used, &reason);
    mem_free(copy);
    mem_free(exact);
    return status;
}

/* Whole it is complete, each shorter piece needs more, and what follows is not touched. */
static void takes(struct slice in)
{
    for (size_t len = 0; len < in.len; len++)
        ck_assert_msg(parse(slice_of(in.at, len)) == PROXY_NEEDS_MORE, "after %zu of %zu", len, in.len);
    uint8_t longer[PROXY_HEADER_MAX + 8];
    memcpy(longer, in.at, in.len);
    memcpy(longer + in.len, "AMQP\0\0\x09\x01", 8);
    ck_assert_int_eq(parse(slice_of(longer, in.len + 8)), PROXY_COMPLETE);
    ck_assert_uint_eq(used, in.len);
    ck_assert_int_eq(parse(in), PROXY_COMPLETE);
    ck_assert_uint_eq(used, in.len);
}

static void says(const union address *address, const char *host, unsigned port)
{
    char text[64];
    ck_assert_uint_eq(address_text(address, text, sizeof(text)), port);
    ck_assert_str_eq(text, host);
}

static void is_bad(struct slice in)
{
    ck_assert_int_eq(parse(in), PROXY_BAD);
    ck_assert(reason && *reason);
}

START_TEST(version_1)
{
    takes(SLICE("PROXY TCP4 192.0.2.9 192.0.2.1 56324 5672\r\n"));
    ck_assert(!header.local);
    says(&header.source, "192.0.2.9", 56324);
    says(&header.destination, "192.0.2.1", 5672);
    takes(SLICE("PROXY TCP6 2001:db8::9 ::1 1 65535\r\n"));
    says(&header.source, "2001:db8::9", 1);
    says(&header.destination, "::1", 65535);
    ck_assert(address_is_loopback(&header.destination) && !address_is_loopback(&header.source));
    takes(SLICE("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"));
    takes(SLICE("PROXY UNKNOWN\r\n"));
    ck_assert(header.local && header.unknown);
    takes(SLICE("PROXY UNKNOWN ffff::1 what ever\r\n"));
    ck_assert(header.local && header.unknown);
}
END_TEST

START_TEST(version_1_malformed)
{
    const char *const bad[] = {
        "PROXY  TCP4 192.0.2.9 192.0.2.1 1 2\r\n",  "PROXY TCP4 192.0.2.9 192.0.2.1 1\r\n",
        "PROXY TCP4 192.0.2.9 192.0.2.1 1 2 3\r\n", "PROXY TCP4 192.0.2.9 192.0.2.1 1 2 \r\n",
        "PROXY TCP4 192.0.2.9 192.0.2.1 1 65536\r\n", "PROXY TCP4 192.0.2.9 192.0.2.1 01 2\r\n",
        "PROXY TCP4 192.0.2.9 192.0.2.1 -1 2\r\n",  "PROXY TCP4 192.0.2.9 ::1 1 2\r\n",
        "PROXY TCP6 192.0.2.9 ::1 1 2\r\n",         "PROXY TCP5 192.0.2.9 192.0.2.1 1 2\r\n",
        "PROXY TCP4 192.0.2.999 192.0.2.1 1 2\r\n", "PROXY TCP4 192.0.2.9 192.0.2.1 1 2\n",
        "PROXY TCP4 localhost 192.0.2.1 1 2\r\n",   "PROXY \r\n",
        "PROXY\tTCP4 1.1.1.1 1.1.1.1 1 1\r\n",      "proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n",
        "AMQP",                                     "\x16\x03\x01",
        "GET / HTTP/1.1\r\n",
    };
    for (size_t i = 0; i < array_size(bad); i++) {
        ck_assert_msg(parse(slice_of_string(bad[i])) == PROXY_BAD, "%s", bad[i]);
        ck_assert(reason && *reason);
    }
    char longest[107 + 1] = "PROXY ";
    memset(longest + 6, 'x', sizeof(longest) - 7);
    ck_assert_int_eq(parse(slice_of(longest, 106)), PROXY_NEEDS_MORE);
    is_bad(slice_of(longest, 107));
}
END_TEST

START_TEST(version_2)
{
    takes(SLICE(V2_START "\x21\x11\0\x0c\xc0\0\2\x09\xc0\0\2\1\xdc\4\x16\x28"));
    ck_assert(!header.local);
    says(&header.source, "192.0.2.9", 56324);
    says(&header.destination, "192.0.2.1", 5672);
    /* IPv6, with an extension behind. */
    takes(SLICE(V2_START "\x21\x21\0\x2a"
                         "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"
                         "\xdc\4\x16\x28\x04\0\3abc"));
    says(&header.source, "2001:db8::9", 56324);
    says(&header.destination, "::1", 5672);
    /* LOCAL, with and without something behind; no family; a Unix socket. */
    takes(SLICE(V2_START "\x20\0\0\0"));
    ck_assert(header.local && !header.unknown);
    takes(SLICE(V2_START "\x20\x11\0\x0c\xc0\0\2\x09\xc0\0\2\1\xdc\4\x16\x28"));
    ck_assert(header.local && !header.unknown);
    takes(SLICE(V2_START "\x21\0\0\2ab"));
    ck_assert(header.local && header.unknown);
    takes(SLICE(V2_START "\x21\x31\0\2ab"));
    ck_assert(header.local && header.unknown);
}
END_TEST

START_TEST(version_2_malformed)
{
    is_bad(SLICE(V2_START "\x11\x11\0\x0c\xc0\0\2\x09\xc0\0\2\1\xdc\4\x16\x28"));
    is_bad(SLICE(V2_START "\x22\x11\0\x0c\xc0\0\2\x09\xc0\0\2\1\xdc\4\x16\x28"));
    is_bad(SLICE(V2_START "\x21\x11\0\x0b\xc0\0\2\x09\xc0\0\2\1\xdc\4\x16"));
    is_bad(SLICE(V2_START "\x21\x12\0\x0c\xc0\0\2\x09\xc0\0\2\1\xdc\4\x16\x28"));
    is_bad(SLICE(V2_START "\x21\x41\0\x0c\xc0\0\2\x09\xc0\0\2\1\xdc\4\x16\x28"));
    is_bad(SLICE(V2_START "\x21\x21\0\x0c\xc0\0\2\x09\xc0\0\2\1\xdc\4\x16\x28"));
    is_bad(SLICE(V2_START "\x21\x11\xff\xff")); /* refused before it is waited for */
    is_bad(SLICE("\r\n\r\n\1"));
    is_bad(SLICE("\r\nQUIT"));
}
END_TEST

static bool in_range(const char *range_text, const char *text)
{
    struct address_range range;
    union address address = {0};
    ck_assert_msg(address_range_read(range_text, &range), "%s", range_text);
    bool v6 = strchr(text, ':') != NULL;
    address.any.sa_family = v6 ? AF_INET6 : AF_INET;
    int read = inet_pton(v6 ? AF_INET6 : AF_INET, text,
                         v6 ? (void *)&address.v6.sin6_addr : (void *)&address.v4.sin_addr);
    ck_assert_int_eq(read, 1);
    return address_range_has(&range, &address);
}

START_TEST(ranges)
{
    ck_assert(in_range("10.0.0.0/8", "10.255.1.2") && !in_range("10.0.0.0/8", "11.0.0.0"));
    ck_assert(in_range("10.0.0.0/8", "::ffff:10.1.2.3")); /* as a socket of both families has it */
    ck_assert(in_range("192.0.2.128/25", "192.0.2.255") && !in_range("192.0.2.128/25", "192.0.2.127"));
    ck_assert(in_range("192.0.2.7", "192.0.2.7") && !in_range("192.0.2.7", "192.0.2.6"));
    ck_assert(in_range("0.0.0.0/0", "8.8.8.8") && !in_range("0.0.0.0/0", "2001:db8::1"));
    ck_assert(in_range("::/0", "8.8.8.8") && in_range("::1", "::1") && !in_range("::1/128", "::2"));
    ck_assert(in_range("2001:db8::/33", "2001:db8:7fff::1"));
    ck_assert(!in_range("2001:db8::/33", "2001:db8:8000::1"));
    struct address_range range;
    const char *const bad[] = {"", "/", "/8", "1.2.3", "1.2.3.4/", "1.2.3.4/33", "1.2.3.4/ 8", "::/129",
                               "1.2.3.4/+8", "1.2.3.4/8/8", "host", "1.2.3.4 ", "::1%lo"};
    for (size_t i = 0; i < array_size(bad); i++)
        ck_assert_msg(!address_range_read(bad[i], &range), "%s", bad[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy");
    TCase *tcase = tcase_create("proxy");
    tcase_add_test(tcase, version_1);
    tcase_add_test(tcase, version_1_malformed);
    tcase_add_test(tcase, version_2);
    tcase_add_test(tcase, version_2_malformed);
    tcase_add_test(tcase, ranges);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
