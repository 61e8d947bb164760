// SPDX-License-Identifier: Apache-2.0
/* The state of a process at the start of main(): descriptors and signals. */
#pragma once

#include <signal.h>

/* First in every main(). Descriptors 0, 1 and 2 are open afterwards: a socket or a device that became "standard
 * error" would get log lines. A program that was started without standard output still fails when it prints. SIGPIPE
 * and SIGCHLD have their default action, whatever the parent ignored: `| head` ends a tool, and commands have an
 * exit status. */
void process_begin(void);

/* The signals that a daemon acts on: HUP, INT, TERM, QUIT, USR1 and USR2. */
void process_signals(sigset_t *set);

/* Next in the main() of a daemon, while there is one thread: from here on these signals stay pending until the
 * control loop reads them, so that none interrupts the start or is lost. PIPE, TTIN and TTOU are ignored: a closed
 * pipe is an error of write(2), and a terminal that suspends its background writers does not stop a daemon. */
void process_hold_signals(void);
