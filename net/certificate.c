/* certificate.c - who a peer is by its verified certificate.
 *
 * Owner: the connection, by way of struct peer. Immutable. A name with a zero byte inside is a trick
 * ("admin\0.example.com"), and a cut one would be somebody else's: both count as absent. */
#include "net/certificate.h"

#include <arpa/inet.h>
#include <openssl/bn.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/slice.h"

/* Offsets into the texts, until the block is made: the buffer moves while it grows. */
struct found {
    struct buf texts;
    size_t subject, common_name, issuer, serial;
    size_t san_count;
    struct {
        enum san_kind kind;
        size_t text;
    } sans[CERTIFICATE_SANS_MAX];
};

/* Appends a text and its end; returns where it is. One that is not plain UTF-8 becomes "". */
static size_t put_text(struct buf *texts, struct slice text)
{
    size_t at = texts->len;
    if (text.len > 0 && !memchr(text.at, 0, text.len) && slice_is_utf8(text))
        buf_append(texts, text.at, text.len);
    buf_append(texts, "", 1);
    return at;
}

static size_t put_name(struct buf *texts, const X509_NAME *name)
{
    BIO *memory = BIO_new(BIO_s_mem());
    char *text = NULL;
    /* Letters beyond ASCII are kept as they are, as in RabbitMQ. */
    unsigned long flags = XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB;
    bool good = memory && name && X509_NAME_print_ex(memory, name, 0, flags) >= 0;
    long len = good ? BIO_get_mem_data(memory, &text) : 0;
    size_t at = put_text(texts, slice_of((const uint8_t *)text, len > 0 ? (size_t)len : 0));
    BIO_free(memory);
    return at;
}

/* All common names, "" when one of them is no plain text. */
static size_t put_common_names(struct buf *texts, const X509_NAME *name)
{
    struct buf all = {0};
    bool good = true;
    for (int i = -1; good && (i = X509_NAME_get_index_by_NID(name, NID_commonName, i)) >= 0;) {
        unsigned char *text = NULL;
        int len = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, i)));
        good = len > 0 && !memchr(text, 0, (size_t)len);
        if (good && all.len > 0)
            buf_append(&all, ",", 1);
        if (good)
            buf_append(&all, text, (size_t)len);
        OPENSSL_free(text);
    }
    size_t at = put_text(texts, good ? buf_slice(&all) : (struct slice){0});
    buf_free(&all);
    return at;
}

static struct slice slice_of_asn1(const ASN1_STRING *string)
{
    int len = ASN1_STRING_length(string);
    return slice_of(ASN1_STRING_get0_data(string), len > 0 ? (size_t)len : 0);
}

static size_t put_address(struct buf *texts, struct slice address)
{
    char text[INET6_ADDRSTRLEN] = "";
    if (address.len == 4)
        inet_ntop(AF_INET, address.at, text, sizeof(text));
    else if (address.len == 16)
        inet_ntop(AF_INET6, address.at, text, sizeof(text));
    return put_text(texts, slice_of_string(text));
}

/* The value of an otherName, which can be anything, if it is a text. */
static size_t put_other(struct buf *texts, const OTHERNAME *other)
{
    const ASN1_TYPE *value = other->value;
    bool is_text = value && (value->type == V_ASN1_UTF8STRING || value->type == V_ASN1_IA5STRING ||
                             value->type == V_ASN1_PRINTABLESTRING);
    return put_text(texts, is_text ? slice_of_asn1(value->value.asn1_string) : (struct slice){0});
}

/* False for a name of a kind nobody takes a user's name from. */
static bool find_san(struct found *found, const GENERAL_NAME *name)
{
    static const struct {
        int type;
        enum san_kind kind;
    } kinds[] = {{GEN_DNS, SAN_DNS}, {GEN_IPADD, SAN_IP}, {GEN_EMAIL, SAN_EMAIL},
                 {GEN_URI, SAN_URI}, {GEN_OTHERNAME, SAN_OTHER}};
    size_t i = 0;
    while (i < array_size(kinds) && kinds[i].type != name->type)
        i++;
    if (i == array_size(kinds))
        return false;
    struct buf *texts = &found->texts;
    found->sans[found->san_count].kind = kinds[i].kind;
    found->sans[found->san_count].text =
        name->type == GEN_IPADD       ? put_address(texts, slice_of_asn1(name->d.iPAddress))
        : name->type == GEN_OTHERNAME ? put_other(texts, name->d.otherName)
                                      : put_text(texts, slice_of_asn1(name->d.ia5));
    return true;
}

/* False when there are more than can be kept. */
static bool find_sans(struct found *found, const X509 *x509)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(x509, NID_subject_alt_name, NULL, NULL);
    bool good = true;
    for (int i = 0; good && i < sk_GENERAL_NAME_num(names); i++) {
        good = found->san_count < CERTIFICATE_SANS_MAX;
        if (good && find_san(found, sk_GENERAL_NAME_value(names, i)))
            found->san_count++;
    }
    GENERAL_NAMES_free(names);
    return good;
}

static size_t put_serial(struct buf *texts, X509 *x509)
{
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x509), NULL);
    char *text = number ? BN_bn2hex(number) : NULL;
    size_t at = put_text(texts, slice_of_string(text ? text : ""));
    OPENSSL_free(text);
    BN_free(number);
    return at;
}

static struct certificate *make(const struct found *found)
{
    size_t head = sizeof(struct certificate) + found->san_count * sizeof(struct san);
    struct certificate *certificate = mem_zalloc(head + found->texts.len);
    char *texts = (char *)certificate + head;
    memcpy(texts, found->texts.at, found->texts.len);
    certificate->subject = texts + found->subject;
    certificate->common_name = texts + found->common_name;
    certificate->issuer = texts + found->issuer;
    certificate->serial = texts + found->serial;
    certificate->san_count = found->san_count;
    for (size_t i = 0; i < found->san_count; i++)
        certificate->sans[i] = (struct san){found->sans[i].kind, texts + found->sans[i].text};
    return certificate;
}

struct certificate *certificate_new(struct x509_st *x509)
{
    assert(x509 != NULL);
    struct found found = {0};
    struct certificate *certificate = NULL;
    found.subject = put_name(&found.texts, X509_get_subject_name(x509));
    found.common_name = put_common_names(&found.texts, X509_get_subject_name(x509));
    found.issuer = put_name(&found.texts, X509_get_issuer_name(x509));
    found.serial = put_serial(&found.texts, x509);
    if (find_sans(&found, x509) && found.texts.len <= CERTIFICATE_TEXT_MAX)
        certificate = make(&found);
    buf_free(&found.texts);
    return certificate;
}

void certificate_free(struct certificate **certificate)
{
    mem_free(*certificate);
    *certificate = NULL;
}

const char *certificate_san(const struct certificate *certificate, enum san_kind kind, size_t index)
{
    assert(certificate != NULL);
    for (size_t i = 0; i < certificate->san_count; i++)
        if (certificate->sans[i].kind == kind && index-- == 0)
            return certificate->sans[i].text;
    return NULL;
}
