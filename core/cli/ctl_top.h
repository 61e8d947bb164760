// SPDX-License-Identifier: Apache-2.0
/* shardtunctl top: threads and the busiest sessions, live.
 *
 *   ctl_top.c          asks the daemon, and prints in turn when nobody looks (--batch)
 *   ctl_top_view.c     what there is to see, as lines of text
 *   ctl_top_screen.c   shows it in a terminal and takes keys (ncurses) */
#pragma once

#include "core/cli/ctl_command.h"

enum cli_status ctl_top(const struct cli_program *program, const struct ctl_options *options, char *const *words,
			int count);

/* --- what there is to see ----------------------------------------------------------------------------------------- */

/* The daemon at one moment. */
struct ctl_top_sample {
	uint64_t at;	/* monotonic ns; 0: nothing yet */
	json_t *status; /* owned */
	json_t *top;	/* the same; NULL: no gateway */
};

/* Orders of sessions, as the daemon calls them. */
extern const char *const ctl_top_orders[];
enum { CTL_TOP_ORDERS = 8, CTL_TOP_FILTER_MAX = 64, CTL_TOP_SESSIONS_MAX = 1000 };

struct ctl_top_view {
	struct ctl_top_sample before, now; /* rates of threads are of the time between them */
	unsigned order;			   /* of ctl_top_orders */
	char filter[CTL_TOP_FILTER_MAX];   /* "": none */
	unsigned width;			   /* columns to write to; at least 40 */
	unsigned rows;			   /* sessions to show */
	unsigned first;			   /* how many of them to leave out before */
};

/* Writes lines of text, none wider than the view; headings of tables begin with CTL_TOP_HEADING. */
enum { CTL_TOP_HEADING = '\001' };
void ctl_top_write(FILE *out, const struct ctl_top_view *view);

/* --- asking ------------------------------------------------------------------------------------------------------- */

struct ctl_top {
	struct ctl_target target;
	uint64_t interval; /* ns */
	struct ctl_top_view view;
};

/* What was now is before, and the daemon is asked what is now. On failure all stays as it was. */
int ctl_top_ask(struct ctl_top *top, struct error *error);

/* Whether there are rates to show: of two samples, and of two looks that the gateway had at its sessions. */
bool ctl_top_ready(const struct ctl_top *top);

/* Until q, ^C or SIGTERM. The terminal is as before then; a signal is the caller's to die of. Returns it, or 0;
 * negative: no terminal. */
int ctl_top_screen(struct ctl_top *top, struct error *error);
