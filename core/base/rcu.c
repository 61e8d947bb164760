// SPDX-License-Identifier: Apache-2.0
#include "core/base/rcu.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* liburcu has printed the reason; a core dump would add nothing. */
static void give_up(int number)
{
	(void)number;
	_exit(EXIT_FAILURE);
}

void rcu_start(void)
{
	struct sigaction ending = {.sa_handler = give_up}, abort_before;
	sigset_t all, before;
	sigfillset(&all);
	sigdelset(&all, SIGSYS); /* a system call filter sends it to the thread that made the call */
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	(void)sigaction(SIGABRT, &ending, &abort_before);
	(void)get_default_call_rcu_data();
	(void)sigaction(SIGABRT, &abort_before, NULL);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

struct errand {
	struct rcu_head head;
	void (*run)(void *context);
	void *context;
};

static void run_errand(struct rcu_head *head)
{
	rcu_after_readers_begin();
	struct errand *errand = caa_container_of(head, struct errand, head);
	errand->run(errand->context);
}

void rcu_run_on_thread(void (*run)(void *context), void *context)
{
	struct errand errand = {.run = run, .context = context};
	rcu_after_readers(&errand.head, run_errand);
	rcu_offline();
	rcu_after_readers_barrier();
	rcu_online();
}

#ifdef RCU_TSAN
char rcu_tsan_order;

/* liburcu frees on its own thread what it allocated on the calling one, ordered by atomics that ThreadSanitizer does
 * not see. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
	return "race:liburcu\n";
}
#endif
