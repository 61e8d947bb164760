// SPDX-License-Identifier: Apache-2.0
/* What a run came to, for people and as JSON. */
#pragma once

#include <jansson.h>

#include "perf/stgun/options.h"
#include "perf/record/histogram.h"

enum { REPORT_VERSION = 1 /* of the JSON: members are added, not changed */ };

/* Whose limit a step met. */
enum gun_limit { LIMIT_NONE, LIMIT_GENERATOR, LIMIT_REFLECTOR };

/* All sessions connected once. */
struct gun_round {
	double seconds; /* until all were up, or it ended */
	uint64_t up, hellos, cookies, welcomes, unexpected;
	struct histogram_sum latency; /* ns from when HELLO was meant to leave until the gateway confirmed */
	json_t *samples;
};

/* Sessions that stayed. */
struct gun_stay {
	double seconds;
	uint64_t ended;		   /* sessions that the gateway ended or did not know */
	uint64_t resets, silences; /* of them those that it did not know; those that it did not answer */
	uint64_t back;		   /* that are connected again */
	uint64_t hellos, cookies, unexpected;
	struct histogram_sum latency; /* ns from when that was noticed until they were back */
	json_t *samples;
};

/* Packets at one rate. */
struct gun_step {
	double rate;	/* packets per second; 0: as fast as it went */
	double seconds; /* of sending */
	uint64_t offered, sent, refused;
	bool windowed; /* never more than some trains were under way: nobody's limit, but the loop's */
	bool known;    /* received and lost are */
	uint64_t received, lost;
	uint64_t arrived;	 /* at the reflector, on the way up; 0 when it was not asked */
	uint64_t reflector_lost; /* that its sockets lost */
	uint64_t sent_bytes;	 /* of inner packets that we sent: down, of those that ask */
	uint64_t received_bytes; /* of inner packets that were received */
	uint64_t ended, unexpected;
	enum gun_limit limit;
	struct histogram_sum latency; /* ns of round trips */
	json_t *samples;
};

/* The share that was lost; 0 when it is not known. */
double gun_step_loss(const struct gun_step *step);

/* Decides step->limit. `bound`: the loss that counts as none. */
void gun_step_judge(struct gun_step *step, double bound);

/* The report without results: versions, command line, machine, parameters. NULL: no memory. */
json_t *report_new(const struct gun_options *options, int argc, char **argv);

/* Appends; takes over the samples. */
void report_round(json_t *report, const struct gun_round *round);
void report_step(json_t *report, const struct gun_step *step);
void report_stay(json_t *report, const struct gun_stay *stay);

void report_print_round(FILE *out, const struct gun_options *options, const struct gun_round *round);
void report_print_step(FILE *out, const struct gun_options *options, const struct gun_step *step);
void report_print_stay(FILE *out, const struct gun_stay *stay);

/* Writes to the file, "-" for standard output. */
int report_write(json_t *report, const char *path, struct error *error);
