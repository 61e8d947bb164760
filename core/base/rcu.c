// SPDX-License-Identifier: Apache-2.0
#include "core/base/rcu.h"

#ifdef RCU_TSAN
char rcu_tsan_order;

/* liburcu frees on its own thread what it allocated on ours, ordered by atomics that ThreadSanitizer does not see. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
	return "race:liburcu\n";
}
#endif
