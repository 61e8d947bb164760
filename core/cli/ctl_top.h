// SPDX-License-Identifier: Apache-2.0
/* shardtunctl top: threads and the busiest sessions, live.
 *
 *   ctl_top.c          takes samples from the daemon, and prints them (--batch)
 *   ctl_top_view.c     formats a sample as lines of text
 *   ctl_top_queues.c   formats what waits at each worker
 *   ctl_top_screen.c   shows them in a terminal and handles keys (ncurses) */
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "core/cli/ctl_options.h"

enum cli_status ctl_top(const struct cli_program *program, const struct ctl_options *options, char *const *words,
			int count);

/* --- the view ----------------------------------------------------------------------------------------------------- */

/* The daemon's answers at one moment. */
struct ctl_top_sample {
	uint64_t at;	/* monotonic ns; 0: nothing yet */
	json_t *status; /* owned */
	json_t *top;	/* owned; NULL: not a gateway */
};

/* Orders of sessions, as the daemon calls them. */
extern const char *const ctl_top_orders[];
enum { CTL_TOP_ORDERS = 8, CTL_TOP_FILTER_MAX = 64, CTL_TOP_SESSIONS_MAX = 1000 };

struct ctl_top_view {
	struct ctl_top_sample before, now; /* rates of threads are computed from both */
	unsigned order;			   /* of ctl_top_orders */
	char filter[CTL_TOP_FILTER_MAX];   /* "": none */
	unsigned width;			   /* columns, at least 40 */
	unsigned rows;			   /* sessions to show */
	unsigned first;			   /* sessions to skip before them */
	bool brief;			   /* there is no room for the table of queues */
};

/* Writes lines of text, none wider than the view; headings of tables begin with CTL_TOP_HEADING. */
enum { CTL_TOP_HEADING = '\001' };
void ctl_top_write(FILE *out, const struct ctl_top_view *view);

/* Parts of it. Text: 1234 or 12.3 M; "-" for 0, so that what is busy stands out. */
enum { CTL_TOP_CELL = 96 };
const char *ctl_top_rate_text(char text[CTL_TOP_CELL], double value);

/* What happened a second between the two samples, of a number that both have. */
double ctl_top_rate(const struct ctl_top_view *view, const json_t *before, const json_t *now, const char *key);

/* A thread of the sample before; NULL: it is not there. Threads keep their place in the array while a daemon runs. */
const json_t *ctl_top_thread_before(const struct ctl_top_view *view, const json_t *thread, size_t place);

/* A line, cut to the view's width without cutting a character. */
void ctl_top_write_line(FILE *out, const struct ctl_top_view *view, const char *line);

/* For each worker a line about its queues: how long packets waited in the socket and in the rings to it (p50 and p99
 * of the time between the samples), packets and datagrams of those that send little, sessions that wait at their limits
 * and with how much, and packets dropped from queues. */
void ctl_top_write_queues(FILE *out, const struct ctl_top_view *view);

/* How many lines these are: an empty one and a heading included; 0: there are no workers. */
unsigned ctl_top_queue_lines(const json_t *status);

/* --- sampling ----------------------------------------------------------------------------------------------------- */

struct ctl_top {
	struct ctl_target target;
	uint64_t interval; /* ns */
	struct ctl_top_view view;
};

/* Takes a new sample; the last one becomes the one before. On failure nothing changes. */
int ctl_top_ask(struct ctl_top *top, struct error *error);

/* Whether rates are known: there are two samples, and the gateway has measured its sessions twice. */
bool ctl_top_ready(const struct ctl_top *top);

/* Runs until q, ^C or SIGTERM, and restores the terminal. Returns 0, or the signal, which the caller should raise
 * again, or a negative errno: no terminal. */
int ctl_top_screen(struct ctl_top *top, struct error *error);
