/* steps.h - what something costs, in instructions: a figure that no other load on the machine changes.
 * The work is done by a forked child, which is stopped after each instruction (ptrace). Only for little: some
 * hundred thousand instructions take a second. */
#ifndef TESTS_UNIT_STEPS_H
#define TESTS_UNIT_STEPS_H

#include <check.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

/* Stepper and child take turns after each instruction: on one processor, and before everybody else, so that
 * neither waits for what others do on the machine. Who may not have that (it is root's) is slower, not
 * wrong. */
static inline void be_undisturbed(bool on)
{
    static cpu_set_t before;
    struct sched_param priority = {.sched_priority = on ? 1 : 0};
    int processor = sched_getcpu();
    if (on && processor >= 0 && sched_getaffinity(0, sizeof(before), &before) == 0) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(processor, &one);
        (void)!sched_setaffinity(0, sizeof(one), &one);
    }
    (void)!sched_setscheduler(0, on ? SCHED_FIFO : SCHED_OTHER, &priority);
    if (!on)
        (void)!sched_setaffinity(0, sizeof(before), &before);
}

/* How many instructions work(arg) takes; nothing of what it does is seen by the caller. 0: this system lets
 * no process trace another. */
static inline uint64_t steps_of(void (*work)(void *), void *arg)
{
    be_undisturbed(true);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(2);
        (void)mallopt(M_PERTURB, 0); /* else each byte of new memory is filled, and counted */
        raise(SIGSTOP);
        work(arg);
        _exit(0);
    }
    uint64_t steps = 0;
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    while (WIFSTOPPED(status)) {
        int number = WSTOPSIG(status);
        bool ours = number == SIGTRAP || number == SIGSTOP;
        ck_assert_int_eq(ptrace(PTRACE_SINGLESTEP, child, NULL, (void *)(intptr_t)(ours ? 0 : number)), 0);
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        steps++;
    }
    be_undisturbed(false);
    ck_assert_msg(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 2),
                  "the work ended with status %d", status);
    return WEXITSTATUS(status) == 2 ? 0 : steps;
}

#endif
