// SPDX-License-Identifier: Apache-2.0
/* The code that each packet runs through.
 *
 * After some milliseconds of sleep none of it is in the CPU's caches any more, and a packet that comes alone pays for
 * one miss after another: on a virtual machine that took longer than all the work. In a section of its own the code
 * lies together, and it can be fetched as a whole, many lines at a time, when a thread wakes up. */
#pragma once

#include "core/base/clock.h"

/* Of functions that most packets run through. What packets need seldom, and what start-up does, stays outside. */
#define HOT __attribute__((section("hot")))

#define HOT_COLD_NS NS_PER_MS /* after so long a sleep the caches have other things */

/* To be called by a thread of the data path when it wakes up, with the length of its sleep in ns: begins to fetch the
 * section if that was HOT_COLD_NS or more, and does not wait for it. */
void hot_woke(uint64_t slept);
