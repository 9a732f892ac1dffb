/* key_fetch.c - fetching the key set of an authorization server.
 *
 * Owner: the thread of the OAuth 2 backend. Invariant: while `busy`, all but `busy` and `due_ns` belongs to
 * the fetching thread; the order and the note hand it over. Who sends made-up key ids cannot keep it busy:
 * between two fetches there are ten seconds. */
#include "auth/key_fetch.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "auth/backend.h"
#include "auth/oauth2.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"

static const uint64_t pause_ns = 10ull * 1000 * 1000 * 1000; /* between two fetches */

struct key_fetch {
    struct backend *backend;
    const struct oauth2_provider *provider;
    void *note;
    struct mailbox orders;
    struct list order, end; /* to fetch; to end the thread */
    pthread_t thread;
    bool busy, good;
    uint64_t due_ns; /* monotonic */
    struct http *http;
    struct buf answer;
    char discovered[1024]; /* the key set's address; "" = not known yet */
    char reason[200];
};

/* --- the fetching thread --- */

static bool get(struct key_fetch *fetch, const char *url, const char *what)
{
    long status = 0;
    char error[150];
    if (!http_request(fetch->http, url, NULL, &status, &fetch->answer, error, sizeof(error)))
        snprintf(fetch->reason, sizeof(fetch->reason), "the %s cannot be fetched: %s", what, error);
    else if (status != 200)
        snprintf(fetch->reason, sizeof(fetch->reason), "the %s cannot be fetched: status %ld", what, status);
    else
        return true;
    return false;
}

/* Where the key set is: as configured, or as the issuer says; NULL when that cannot be known now. */
static const char *find_url(struct key_fetch *fetch)
{
    const struct oauth2_provider *provider = fetch->provider;
    if (*provider->jwks_url || fetch->discovered[0])
        return *provider->jwks_url ? provider->jwks_url : fetch->discovered;
    bool is_https = strncmp(provider->discovery, "https://", 8) == 0;
    bool found = get(fetch, provider->discovery, "OpenID configuration") &&
                 oauth2_read_discovery(buf_slice(&fetch->answer), is_https, fetch->discovered,
                                       sizeof(fetch->discovered), fetch->reason, sizeof(fetch->reason));
    return found ? fetch->discovered : NULL;
}

static void *run(void *arg)
{
    struct key_fetch *fetch = arg;
    while (mailbox_take(&fetch->orders) == &fetch->order) {
        const char *url = find_url(fetch);
        fetch->good = url && get(fetch, url, "key set");
        if (!fetch->good)
            fetch->discovered[0] = 0; /* it may have moved */
        backend_note(fetch->backend, fetch->note);
    }
    return NULL;
}

/* --- the backend's thread --- */

struct key_fetch *key_fetch_new(struct backend *backend, const struct oauth2_provider *provider, void *note)
{
    assert(note != NULL && (*provider->jwks_url || *provider->discovery));
    struct key_fetch *fetch = mem_zalloc(sizeof(*fetch));
    fetch->backend = backend;
    fetch->provider = provider;
    fetch->note = note;
    fetch->http = http_new(backend, &provider->http);
    mailbox_init(&fetch->orders);
    int failed = pthread_create(&fetch->thread, NULL, run, fetch);
    assertf(failed == 0, "a thread to fetch key sets: %s", strerror(failed));
    return fetch;
}

void key_fetch_free(struct key_fetch **holder)
{
    struct key_fetch *fetch = *holder;
    *holder = NULL;
    if (!fetch)
        return;
    mailbox_post(&fetch->orders, &fetch->end);
    pthread_join(fetch->thread, NULL);
    mailbox_free(&fetch->orders);
    http_free(&fetch->http);
    buf_free(&fetch->answer);
    mem_free(fetch);
}

bool key_fetch_start(struct key_fetch *fetch)
{
    if (fetch->busy || clock_now_ns() < fetch->due_ns)
        return false;
    fetch->busy = true;
    mailbox_post(&fetch->orders, &fetch->order);
    return true;
}

bool key_fetch_is_busy(const struct key_fetch *fetch)
{
    return fetch->busy;
}

bool key_fetch_take(struct key_fetch *fetch, struct slice *document, char *reason, size_t reason_size)
{
    assert(fetch->busy && !list_linked(&fetch->order));
    fetch->busy = false;
    fetch->due_ns = clock_now_ns() + pause_ns;
    *document = buf_slice(&fetch->answer);
    if (!fetch->good)
        snprintf(reason, reason_size, "%s", fetch->reason);
    return fetch->good;
}

void key_fetch_doubt(struct key_fetch *fetch)
{
    assert(!fetch->busy);
    fetch->discovered[0] = 0;
}
