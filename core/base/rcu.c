// SPDX-License-Identifier: Apache-2.0
#include "core/base/rcu.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* liburcu told why; a core dump would tell nothing more. */
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
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	(void)sigaction(SIGABRT, &ending, &abort_before);
	(void)get_default_call_rcu_data();
	(void)sigaction(SIGABRT, &abort_before, NULL);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

#ifdef RCU_TSAN
char rcu_tsan_order;

/* liburcu frees on its own thread what it allocated on ours, ordered by atomics that ThreadSanitizer does not see. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
	return "race:liburcu\n";
}
#endif
