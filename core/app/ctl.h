// SPDX-License-Identifier: Apache-2.0
/* The other end of the control socket (core/app/control.h): asking a running daemon, and its answers for people. */
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "core/base/error.h"

#define CTL_DIRECTORY "/run/shardtun"
enum { CTL_PATH_MAX = 256 };

/* The path of the only *.sock in `directory`. -ENOENT when there is none, -ENOTUNIQ when there are several: the text
 * names them. */
int ctl_find_socket(const char *directory, char path[CTL_PATH_MAX], struct error *error);

/* Sends one request line (without its newline) and waits for the answer, 10 s at most. On 0 the caller owns *result.
 * -EREMOTEIO: the daemon said no, in its own words; anything else: it could not be asked. Blocks. */
int ctl_request(const char *path, const char *request, json_t **result, struct error *error);

/* Results of "status" and "stages" as text. A member that is missing, or one that is not known, does no harm: daemon
 * and tool may be of different versions. */
void ctl_print_status(FILE *out, json_t *status);
void ctl_print_stages(FILE *out, json_t *report);
