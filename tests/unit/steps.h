/* steps.h - what something costs, in instructions: a figure that no other load on the machine changes.
 * The work is done by a forked child, which is stopped after each instruction (ptrace). Only for little: some
 * hundred thousand instructions take a second. Both keep to one processor, as only one of them runs: half
 * of what a step takes is else to wake another one. */
#ifndef TESTS_UNIT_STEPS_H
#define TESTS_UNIT_STEPS_H

#include <check.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static inline void stay_on_this_processor(void)
{
    cpu_set_t set;
    int processor = sched_getcpu();
    if (processor < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    (void)!sched_setaffinity(0, sizeof(set), &set); /* slower without, and not wrong */
}

/* How many instructions work(arg) takes; nothing of what it does is seen by the caller. 0: this system lets
 * no process trace another. */
static inline uint64_t steps_of(void (*work)(void *), void *arg)
{
    stay_on_this_processor();
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(2);
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
    ck_assert_msg(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 2),
                  "the work ended with status %d", status);
    return WEXITSTATUS(status) == 2 ? 0 : steps;
}

#endif
