// SPDX-License-Identifier: Apache-2.0
/* What a run came to, for people and as JSON. */
#pragma once

#include <jansson.h>

#include "perf/record/histogram.h"
#include "perf/stgun/options.h"

enum { REPORT_VERSION = 1 /* of the JSON: members are added, not changed */ };

/* Whose limit a step met. */
enum stgun_limit { LIMIT_NONE, LIMIT_GENERATOR, LIMIT_REFLECTOR };

/* All sessions connected once. */
struct stgun_round {
	double seconds; /* until all were up, or it ended */
	uint64_t up, hellos, cookies, welcomes, unexpected;
	struct histogram_sum latency; /* ns from when HELLO was meant to leave until the gateway confirmed */
	json_t *samples;
};

/* Sessions that stayed. */
struct stgun_hold {
	double seconds;
	uint64_t ended;		   /* sessions that the gateway ended or did not know */
	uint64_t resets, silences; /* of them those that it did not know; those that it did not answer */
	uint64_t back;		   /* that are connected again */
	uint64_t hellos, cookies, unexpected;
	struct histogram_sum latency; /* ns from when that was noticed until they were back */
	json_t *samples;
};

/* Packets at one rate. */
struct stgun_step {
	double rate;	/* packets per second; 0: as fast as it went */
	double seconds; /* of sending */
	uint64_t offered, sent, refused;
	bool windowed; /* the number of trains in flight was bounded: a limit of the generator's loop alone */
	bool known;    /* received and lost are */
	uint64_t received, lost;
	uint64_t arrived;	 /* at the reflector, on the way up; 0 when it was not asked */
	uint64_t reflector_lost; /* that its sockets lost */
	uint64_t sent_bytes;	 /* of inner packets that we sent: down, of those that ask */
	uint64_t received_bytes; /* of inner packets that were received */
	uint64_t ended, misdelivered, unexpected;
	enum stgun_limit limit;
	struct histogram_sum latency; /* ns of round trips */
	json_t *samples;
};

/* The share that was lost; 0 when it is not known. */
double stgun_step_loss(const struct stgun_step *step);

/* Decides step->limit. `bound`: the loss that counts as none. */
void stgun_step_judge(struct stgun_step *step, double bound);

/* The report without results: versions, command line, machine, parameters. NULL: no memory. */
json_t *result_new(const struct stgun_options *options, int argc, char **argv);

/* Appends; takes over the samples. */
void result_round(json_t *result, const struct stgun_round *round);
void result_step(json_t *result, const struct stgun_step *step);
void result_hold(json_t *result, const struct stgun_hold *hold);

void result_print_round(FILE *out, const struct stgun_options *options, const struct stgun_round *round);
void result_print_step(FILE *out, const struct stgun_options *options, const struct stgun_step *step);
void result_print_hold(FILE *out, const struct stgun_hold *hold);

/* Writes to the file, "-" for standard output. */
int result_write(json_t *result, const char *path, struct error *error);
