// SPDX-License-Identifier: Apache-2.0
/* The client's side of the control socket (core/control/control.h): finds a running daemon and sends it requests. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/cli/ctl_target.h"
#include "core/control/control.h"

#define CTL_DIRECTORY CONTROL_DIRECTORY

/* The path of the only *.sock in `directory`. -ENOENT when there is none, -ENOTUNIQ when there are several: the text
 * names them. */
int ctl_find_socket(const char *directory, char path[CTL_PATH_MAX], struct error *error);

/* A request, built word by word. It may contain a key, which the caller has to wipe then. */
struct ctl_line {
	char text[CONTROL_REQUEST_MAX];
	size_t length;
};

/* Adds a word of printable ASCII without spaces. False: it is not such a word, or the request is full. */
bool ctl_line_add(struct ctl_line *line, const char *word);

enum {
	CTL_TIMEOUT = 10,	  /* s: twice what the daemon gives a connection that is served before ours */
	CTL_TIMEOUT_RELOAD = 600, /* a million peers on a slow disk */
};

/* Sends one request line (without its newline) and reads the answer, within `seconds` in all. On 0 the caller owns
 * *result, whose texts are escaped (core/cli/ctl_answer.h). -EREMOTEIO: the daemon refused, and `error` has its text;
 * -EPERM: the listener is not trusted (core/cli/ctl_target.h); others: there is no answer. Blocks. */
int ctl_request_for(struct ctl_target *target, const char *request, unsigned seconds, json_t **result,
		    struct error *error);

/* The same, within CTL_TIMEOUT. */
int ctl_request(struct ctl_target *target, const char *request, json_t **result, struct error *error);

/* Sleeps; false when a signal came in between. */
bool ctl_sleep(uint64_t ns);
