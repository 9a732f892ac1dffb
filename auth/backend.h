/* backend.h - a backend that vouches for users and answers questions about their rights: HTTP, OAuth 2.
 * Asking takes time, so each backend has threads of its own. A question goes to them by mailbox and comes
 * back answered by another; the loop never waits for either. */
#ifndef AUTH_BACKEND_H
#define AUTH_BACKEND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/mailbox.h"
#include "base/slice.h"

struct backend;
struct grant;

enum question_kind {
    QUESTION_LOGIN,    /* is this the user's password? */
    QUESTION_USER,     /* does this user, whom somebody else has checked, exist here? */
    QUESTION_VHOST,    /* may he enter the vhost? */
    QUESTION_RESOURCE, /* may he configure, write or read this exchange or queue? */
    QUESTION_TOPIC,    /* may he write or read with this routing key? */
};

enum verdict { VERDICT_DENY, VERDICT_ALLOW, VERDICT_ERROR };

/* What is asked; slices that do not matter to the kind are empty. */
struct inquiry {
    enum question_kind kind;
    struct slice user, password;
    struct slice vhost, ip, tags;
    struct slice resource, name, permission; /* "queue", its name, "read" */
    struct slice key;
};

/* A question and its answer, in memory of its own. Between backend_ask and backend_answered it belongs to
 * the backend's threads, but for `asker`. */
struct question {
    struct list link;
    void *asker; /* the loop's; NULL when nobody waits for it any more */
    atomic_bool forgotten; /* the same for the threads: it need not be answered */
    struct inquiry about; /* its slices point into `bytes` */
    enum verdict verdict;
    struct slice user, tags; /* who it was and what he is, for QUESTION_LOGIN and USER; own memory */
    struct slice said;       /* why it was denied, in the backend's words, UTF-8; own memory */
    struct grant *grant;     /* rights that came with the login; own memory until taken out */
    char reason[200];        /* half a sentence for the log, without secrets */
    void *note; /* not a question but a note to the thread: see backend_note */
    size_t size;
    uint8_t bytes[];
};

/* Writes what tells this inquiry from all others; of a password only its SHA-256. */
void inquiry_key(const struct inquiry *about, struct buf *key);

/* Copies what is asked. */
struct question *question_new(const struct inquiry *about, void *asker);
/* Wipes the password. */
void question_free(struct question **question);
/* Sets verdict and reason. */
void question_decide(struct question *question, enum verdict verdict, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* What makes a backend. `thread` is what `start` returned; each thread has its own. */
struct backend_type {
    const char *name;
    void *(*start)(struct backend *backend, const void *settings);
    /* True when the question is answered; else the thread keeps it, for backend_give or question_free. */
    bool (*answer)(void *thread, struct question *question);
    void (*stop)(void *thread);
    void (*noted)(void *thread, void *note); /* NULL = it gets no notes */
};

enum { BACKEND_THREADS_MAX = 8, BACKEND_QUESTIONS_MAX = 4096 };

struct backend_options {
    const struct backend_type *type;
    const void *settings; /* of that type; outlives the backend */
    unsigned threads;
    void (*wake)(void *arg); /* called from a thread when an answer is there */
    void *wake_arg;
};

struct backend *backend_new(const struct backend_options *options);
/* Waits for its threads, which give up what they do; unanswered questions are freed. */
void backend_free(struct backend **backend);
/* Takes over the question. False, and the question answered with VERDICT_ERROR, when too many wait. */
bool backend_ask(struct backend *backend, struct question *question);
/* Nobody waits for the question any more; it comes back all the same, perhaps without a look at it. */
void backend_forget(struct question *question);
/* An answered question, which goes over to the caller; NULL when there is none. */
struct question *backend_answered(struct backend *backend);
/* For the types: an answer to a question that was kept. */
void backend_give(struct backend *backend, struct question *question);
/* For the types: from any thread to one of the backend's, in turn with the questions. */
void backend_note(struct backend *backend, void *note);
/* For the types: true when the server stops and nobody wants the answer. */
bool backend_is_stopping(const struct backend *backend);

extern const struct backend_type backend_http, backend_oauth2;

#endif
