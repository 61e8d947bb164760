// SPDX-License-Identifier: Apache-2.0
/* The code that each packet runs through.
 *
 * After some milliseconds of sleep none of it is in the CPU's caches any more, and a packet that comes alone pays for
 * one miss after another: on a virtual machine that took longer than all the work. In a section of its own the code
 * lies together, and it can be fetched as a whole, many lines at a time, when a thread wakes up. */
#pragma once

#include "core/base/clock.h"

#define HOT	    __attribute__((section("hot")))
#define HOT_COLD_NS NS_PER_MS /* after a sleep of this length the code is fetched */

/* Begins to fetch the whole section, and does not wait for it. Any thread. */
void hot_fetch(void);
