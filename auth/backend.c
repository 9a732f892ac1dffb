/* backend.c - questions, and the threads that answer them.
 *
 * Owner: the server. Invariant: `asked` is what went in and did not come out again; it is the loop's, and
 * bounds what a slow backend can pile up. Failure modes: a thread that cannot be started ends the process
 * at its start. */
#include "auth/backend.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "auth/grant.h"
#include "base/assert.h"
#include "base/mem.h"

struct backend {
    const struct backend_type *type;
    const void *settings;
    void (*wake)(void *arg);
    void *wake_arg;
    struct mailbox questions, answers;
    pthread_t threads[BACKEND_THREADS_MAX];
    unsigned thread_count;
    size_t asked;
    atomic_bool stopping;
};

/* --- questions --- */

/* The slices of an inquiry, for what treats them all alike. */
static const size_t texts[] = {
    offsetof(struct inquiry, user),     offsetof(struct inquiry, password),
    offsetof(struct inquiry, vhost),    offsetof(struct inquiry, ip),
    offsetof(struct inquiry, tags),     offsetof(struct inquiry, resource),
    offsetof(struct inquiry, name),     offsetof(struct inquiry, permission),
    offsetof(struct inquiry, key),
};

struct question *question_new(const struct inquiry *about, void *asker)
{
    size_t size = 0;
    for (size_t i = 0; i < array_size(texts); i++)
        size += ((const struct slice *)((const char *)about + texts[i]))->len;
    struct question *question = mem_zalloc(sizeof(*question) + size);
    question->asker = asker;
    question->about = *about;
    question->size = size;
    question->verdict = VERDICT_ERROR;
    uint8_t *at = question->bytes;
    for (size_t i = 0; i < array_size(texts); i++) {
        struct slice *text = (struct slice *)((char *)&question->about + texts[i]);
        if (text->len)
            memcpy(at, text->at, text->len);
        text->at = at;
        at += text->len;
    }
    assert(at == question->bytes + size);
    return question;
}

void question_free(struct question **holder)
{
    struct question *question = *holder;
    *holder = NULL;
    assert(!list_linked(&question->link));
    OPENSSL_cleanse(question->bytes, question->size);
    slice_free(&question->user);
    slice_free(&question->tags);
    slice_free(&question->said);
    grant_drop(&question->grant);
    mem_free(question);
}

void question_decide(struct question *question, enum verdict verdict, const char *format, ...)
{
    va_list args;
    question->verdict = verdict;
    va_start(args, format);
    vsnprintf(question->reason, sizeof(question->reason), format, args);
    va_end(args);
}

/* --- threads --- */

static void *run(void *arg)
{
    struct backend *backend = arg;
    void *thread = backend->type->start(backend, backend->settings);
    for (;;) {
        struct list *letter = mailbox_take(&backend->questions);
        struct question *question = container_of(letter, struct question, link);
        if (backend_is_stopping(backend)) {
            mailbox_post(&backend->answers, &question->link);
            break;
        }
        if (question->note) {
            backend->type->noted(thread, question->note);
            question_free(&question);
        } else if (atomic_load(&question->forgotten) || backend->type->answer(thread, question)) {
            backend_give(backend, question);
        }
    }
    backend->type->stop(thread);
    return NULL;
}

void backend_give(struct backend *backend, struct question *question)
{
    assert(!question->note && !list_linked(&question->link));
    mailbox_post(&backend->answers, &question->link);
    backend->wake(backend->wake_arg);
}

void backend_note(struct backend *backend, void *note)
{
    struct question *letter = question_new(&(struct inquiry){0}, NULL);
    assert(note != NULL && backend->type->noted != NULL);
    letter->note = note;
    mailbox_post(&backend->questions, &letter->link);
}

struct backend *backend_new(const struct backend_options *options)
{
    assert(options->threads > 0 && options->threads <= BACKEND_THREADS_MAX);
    struct backend *backend = mem_zalloc(sizeof(*backend));
    backend->type = options->type;
    backend->settings = options->settings;
    backend->wake = options->wake;
    backend->wake_arg = options->wake_arg;
    mailbox_init(&backend->questions);
    mailbox_init(&backend->answers);
    for (; backend->thread_count < options->threads; backend->thread_count++) {
        int failed = pthread_create(&backend->threads[backend->thread_count], NULL, run, backend);
        assertf(failed == 0, "a thread for backend %s: %s", options->type->name, strerror(failed));
    }
    return backend;
}

static void drain(struct mailbox *box)
{
    for (struct list *letter; (letter = mailbox_poll(box));) {
        struct question *question = container_of(letter, struct question, link);
        question_free(&question);
    }
}

void backend_free(struct backend **holder)
{
    struct backend *backend = *holder;
    *holder = NULL;
    if (!backend)
        return;
    atomic_store(&backend->stopping, true);
    for (unsigned i = 0; i < backend->thread_count; i++) /* whoever takes one goes home */
        mailbox_post(&backend->questions, &question_new(&(struct inquiry){0}, NULL)->link);
    for (unsigned i = 0; i < backend->thread_count; i++)
        pthread_join(backend->threads[i], NULL);
    drain(&backend->questions);
    drain(&backend->answers);
    mailbox_free(&backend->questions);
    mailbox_free(&backend->answers);
    mem_free(backend);
}

bool backend_ask(struct backend *backend, struct question *question)
{
    if (backend->asked >= BACKEND_QUESTIONS_MAX) {
        question_decide(question, VERDICT_ERROR, "backend %s has %zu questions to answer already",
                        backend->type->name, backend->asked);
        return false;
    }
    backend->asked++;
    mailbox_post(&backend->questions, &question->link);
    return true;
}

void backend_forget(struct question *question)
{
    question->asker = NULL;
    atomic_store(&question->forgotten, true);
}

struct question *backend_answered(struct backend *backend)
{
    struct list *letter = backend->asked ? mailbox_poll(&backend->answers) : NULL;
    if (!letter)
        return NULL;
    backend->asked--;
    return container_of(letter, struct question, link);
}

bool backend_is_stopping(const struct backend *backend)
{
    return atomic_load(&backend->stopping);
}

void inquiry_key(const struct inquiry *about, struct buf *key)
{
    uint8_t kind = (uint8_t)about->kind, digest[32];
    unsigned size = 0;
    key->len = 0;
    buf_append(key, &kind, 1);
    for (size_t i = 0; i < array_size(texts); i++) {
        struct slice text = *(const struct slice *)((const char *)about + texts[i]);
        if (texts[i] == offsetof(struct inquiry, password) && text.len) {
            int done = EVP_Digest(text.at, text.len, digest, &size, EVP_sha256(), NULL);
            assertf(done == 1 && size == sizeof(digest), "SHA-256 gave %u bytes", size);
            text = slice_of(digest, sizeof(digest));
        }
        uint32_t len = (uint32_t)text.len;
        buf_append(key, &len, sizeof(len)); /* else two inquiries might read the same */
        buf_append_slice(key, text);
    }
}
