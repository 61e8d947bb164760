// SPDX-License-Identifier: Apache-2.0
#include "core/base/rcu.h"

#ifdef RCU_TSAN
char rcu_tsan_order;
#endif
