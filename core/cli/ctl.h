// SPDX-License-Identifier: Apache-2.0
/* The other end of the control socket (core/control/control.h): asking a running daemon, and its answers for people. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/control/control.h"
#include "core/cli/ctl_target.h"
#include "core/base/error.h"

#define CTL_DIRECTORY CONTROL_DIRECTORY

/* The path of the only *.sock in `directory`. -ENOENT when there is none, -ENOTUNIQ when there are several: the text
 * names them. */
int ctl_find_socket(const char *directory, char path[CTL_PATH_MAX], struct error *error);

/* A request, word by word. It may hold a key: who knows that wipes it. */
struct ctl_line {
	char text[CONTROL_REQUEST_MAX];
	size_t length;
};

/* Adds a word of printable ASCII without spaces. False: it is none, or the request is full. */
bool ctl_line_add(struct ctl_line *line, const char *word);

enum {
	CTL_PATIENCE = 10,	   /* seconds: twice what a daemon gives those before us in its queue */
	CTL_PATIENCE_RELOAD = 600, /* a million peers on a slow disk */
};

/* Sends one request line (without its newline) and waits for the answer, `seconds` at most for all of it. On 0 the
 * caller owns *result, whose texts are escaped (core/cli/ctl_answer.h). -EREMOTEIO: the daemon said no, in its own
 * words; -EPERM: who answers there is not to be believed; anything else: it could not be asked. Blocks. */
int ctl_request_for(struct ctl_target *target, const char *request, unsigned seconds, json_t **result,
		    struct error *error);

/* The same, with CTL_PATIENCE. */
int ctl_request(struct ctl_target *target, const char *request, json_t **result, struct error *error);

/* Which sessions ctl_print_sessions() shows. */
struct ctl_sessions {
	const char *filters; /* as the request has them (" --state active"), or "" */
	uint32_t from;	     /* first slot */
	uint64_t count;	     /* at most so many */
};

/* Asks the gateway for one page of sessions after the other and prints each as it comes: a table, or one JSON object
 * {"sessions": [...], "next": slot to go on from or null}. Errors as of ctl_request(); some may be printed then. */
int ctl_print_sessions(FILE *out, struct ctl_target *target, const struct ctl_sessions *wanted, bool json,
		       struct error *error);

/* Any result, for programs. */
void ctl_print_json(FILE *out, const json_t *result);

/* Results of "status" and "stages" as text. A member that is missing, or one that is not known, does no harm: daemon
 * and tool may be of different versions. */
void ctl_print_status(FILE *out, json_t *status);
void ctl_print_stages(FILE *out, json_t *report);

/* Results of "identity", "kick", "peer" and "reload", the same. */
void ctl_print_identity(FILE *out, json_t *identity);
void ctl_print_kick(FILE *out, json_t *result);
void ctl_print_peer(FILE *out, json_t *result);
void ctl_print_reload(FILE *out, json_t *result);
