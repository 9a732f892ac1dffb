/* certificate.h - who a peer is by its verified certificate: what SASL EXTERNAL may take a user's name
 * from. Texts as RabbitMQ prints them (rabbitmq.com/docs/ssl#peer-verification, auth_mechanism_ssl). */
#ifndef NET_CERTIFICATE_H
#define NET_CERTIFICATE_H

#include <stddef.h>

struct x509_st; /* OpenSSL's X509 */

enum san_kind { SAN_DNS, SAN_IP, SAN_EMAIL, SAN_URI, SAN_OTHER };

struct san {
    enum san_kind kind;
    const char *text; /* of SAN_OTHER the text value, of SAN_IP like 192.0.2.1 or 2001:db8::1 */
};

/* What a certificate may have at most; one with more says nothing (NULL). */
enum { CERTIFICATE_SANS_MAX = 64, CERTIFICATE_TEXT_MAX = 8192 };

/* One block. All texts are UTF-8 without zero bytes inside; what is not is left out (""), never cut. */
struct certificate {
    const char *subject;     /* RFC 2253: "CN=client,O=Example"; "" = the certificate has none */
    const char *common_name; /* all of them, most significant first, with commas between; "" = none */
    const char *issuer;      /* as subject */
    const char *serial;      /* hexadecimal */
    size_t san_count;
    struct san sans[]; /* in the certificate's order */
};

/* What a verified certificate says; NULL when it is beyond the limits. */
struct certificate *certificate_new(struct x509_st *x509);
/* NULL is allowed. */
void certificate_free(struct certificate **certificate);

/* The `index`-th (from 0) subject alternative name of the kind, NULL when there are fewer. */
const char *certificate_san(const struct certificate *certificate, enum san_kind kind, size_t index);

#endif
